"""What each patch loses by each choice: squared errors for every scale and exit, computed once with the network frozen.

The finders can then learn in minutes on a CPU what masked execution of the whole network would teach them in days:
Eq. 13 on a table. One file for each clip, because frames of one clip have one size.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdyn import motion
from jaxdyn.data import clips
from jaxdyn.models import cain, cain_sd
from jaxdyn.models.carn import CARNM
from jaxdyn.ops import patches
from jaxdyn.types import SCALES


def build(
    model: cain_sd.CainSD,
    params: Any,
    root: str | Path,
    folder: Path,
    num_triplet: Sequence[int] = (24, 8),
    gaps: Sequence[int] = (1, 2),
    edge: int = 384,
    say: Callable[[str], None] = print,
) -> dict[str, dict[str, np.ndarray]]:
    """Tables of every clip under a folder, made or taken from `folder`.

    Args:
      model, params: frozen; its finders are not used. Of one that is not aligned CARN-M brings reduced patches back.
      root: folder of clips.
      folder: where the tables are kept; they belong to these params.
      num_triplet: of a clip at most, at each of `gaps` (frames).
      edge: short side of the motion's grid, in pixels.
      say: is told about each clip.

    Returns:
      By clip: small0, small1 [T, h, w, 3], flow01, flow10 [T, h, w, 2] at the router's size, errors [T, n_h, n_w, 3,
        K_d],
      averaged [T] (the whole frame's error at exit 0), size [2] = (H, W).
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {}
    for path in clips.find(root):
        file = folder / f"{path.name}.npz"
        if not file.is_file():
            frames = clips.read(path)
            found = [
                t for gap, limit in zip(gaps, num_triplet, strict=True) for t in clips.triplets(frames, gap, limit)
            ]
            if not found:
                continue
            rows = [row(model, params, frames[t.first], frames[t.middle], frames[t.last], edge) for t in found]
            partial = file.with_name(f"{path.name}.partial.npz")
            np.savez(partial, **{name: np.stack([r[name] for r in rows]) for name in rows[0]}, size=frames.shape[1:3])
            partial.rename(file)
            say(f"{path.name}: errors of {len(rows)} frames")
        with np.load(file) as stored:
            tables[path.name] = dict(stored)
    return tables


def row(
    model, params, first: np.ndarray, middle: np.ndarray, last: np.ndarray, edge: int = 384
) -> dict[str, np.ndarray]:
    """One triplet's entry, from frames uint8 [H, W, 3]."""
    flows = tuple(flow[None] for flow in motion.dis(first, last, edge))
    frame0, target, frame1 = (frame[None].astype(np.float32) / 255 for frame in (first, middle, last))
    found = jax.device_get(_row(model, params, frame0, frame1, target, flows))
    return {name: value[0] for name, value in found.items()}


@functools.partial(jax.jit, static_argnums=0)
def _row(model, params, frame0, frame1, target, flows):
    height, width = frame0.shape[1:3]
    grid = model.grid(height, width)

    def prepare(network):
        small0, small1 = network.router_image(frame0), network.router_image(frame1)
        stack = network.sources(frame0, frame1, network.displace(flows, (height, width)))
        pieces = patches.split(stack, grid)
        pieces = pieces.reshape(-1, *pieces.shape[3:])  # [N, P_h, P_w, S]
        return small0, small1, pieces, network.exits(pieces)

    small0, small1, stack, at_full = model.apply({"params": params}, method=prepare)
    upscale = None if model.is_aligned else carn_m(params)
    wanted = patches.split(target, grid).reshape(-1, *grid.patch, 3)
    error = lambda image: jnp.square(jnp.clip(image, 0, 1) - wanted).mean(axis=(1, 2, 3))  # noqa: E731
    table = [jnp.stack([error(image) for image in at_full], axis=-1)]  # [N, G + 1] each
    for scale in SCALES[1:]:
        levels = at_scale(params["cain"], stack, scale, model.num_group, upscale)
        table.append(jnp.stack([error(image) for image in (at_full[0], *levels)], axis=-1))
    errors = jnp.stack(table, axis=1)[..., model.first_exit :]  # [N, 3, K_d]
    small_flows = [cain_sd.resize_flow(flow, small0.shape[1:3]) for flow in flows]
    return {
        "small0": small0,
        "small1": small1,
        "flow01": small_flows[0],
        "flow10": small_flows[1],
        "errors": errors.reshape(1, *grid.shape, *errors.shape[1:]),
    }


def carn_m(params: Any) -> Callable:
    """(image, scale) -> image, by the CARN-M of a CAIN-SD's parameters."""
    return lambda image, scale: CARNM().apply({"params": params["carn_m"]}, image, scale)[0]


def at_scale(params, stack, scale: int, num_group: int, upscale: Callable | None = None) -> list:
    """Patches at a reduced scale, to every exit 1 to G: [N, P, P, S] -> G x [N, P, P, 3]; `upscale` as of
    `cain_sd.compute_patches`."""

    def to_exit(level, first):
        features = first
        for turn in range(level):
            features = cain.residual_group(params["body"], turn, features)
        return features

    return [
        cain_sd.compute_patches(params, upscale, stack, scale, functools.partial(to_exit, level))
        for level in range(1, num_group + 1)
    ]
