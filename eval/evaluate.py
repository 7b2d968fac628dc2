"""A network against true middle frames: records of plain numbers, one for each frame.

For every triplet: the mean of its two frames ("averaging"), the aligned mean ("exit 0"), every exit of the network
with all patches at scale 1 ("exit 1" ...), and what the finders choose, executed packed ("dynamic"), with its FLOPs
as a share of the static network's. PSNR is of 8-bit RGB whole frames; the mean is over the frames of a clip, then
over clips.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
from flax import linen as nn

from jaxdyn import flops, images, metrics, motion
from jaxdyn.data import clips
from jaxdyn.models import cain_sd
from jaxdyn.ops import patches
from jaxdyn.types import SCALES, Route

ALIGN_EDGE = 384
"""Short side of DIS motion's grid, in pixels."""


@dataclasses.dataclass(frozen=True)
class Triplet:
    """Two frames and the true one between them, uint8 [H, W, 3], and the name of their clip."""

    clip: str
    first: np.ndarray
    middle: np.ndarray
    last: np.ndarray


@dataclasses.dataclass(frozen=True)
class Record:
    """One frame's scores.

    Attributes:
      clip: where it is from.
      psnr: dB by way of making it.
      ssim: likewise, if asked for (Gaussian window).
      share: executed FLOPs of "dynamic" as a share of the dense network's, everything included.
      scales: how many patches the finders gave to each scale, of those that are computed at all.
      depths: how many patches they gave to each exit, from 0.
    """

    clip: str
    psnr: dict[str, float]
    ssim: dict[str, float]
    share: float
    scales: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()


def video_triplets(root: str | Path, num_frame: int = 41) -> Iterator[Triplet]:
    """Odd frames of each clip under a folder and their even neighbours, within the first `num_frame` frames."""
    for path in clips.find(root):
        frames = clips.read(path, num_frame)
        for middle in range(1, len(frames) - 1, 2):
            yield Triplet(path.stem, frames[middle - 1], frames[middle], frames[middle + 1])


def middlebury_triplets(root: str | Path) -> Iterator[Triplet]:
    """The triplets of Middlebury's OTHER set: frame10, frame10i11, frame11 in a folder each."""
    for folder in sorted(path for path in Path(root).iterdir() if path.is_dir()):
        names = ("frame10", "frame10i11", "frame11")
        yield Triplet(folder.name, *(images.read_image(folder / f"{name}.png")[..., :3] for name in names))


def evaluate(
    model: nn.Module, variables: Mapping[str, Any], triplets: Iterable[Triplet], has_ssim: bool = False
) -> Iterator[Record]:
    """Scores of a CAIN-SD network, frame by frame.

    Args:
      model, variables: as `jaxdyn.load` gives them.
      triplets: what to interpolate, and the truth.
      has_ssim: SSIM as well, which takes longer than the network.

    Raises:
      ValueError: another network.
    """
    if not isinstance(model, cain_sd.CainSD):
        raise ValueError(f"model is a {type(model).__name__}, expected a CAIN-SD, whose exits are scored")
    for triplet in triplets:
        yield score(model, variables, triplet, has_ssim)


def score(model: cain_sd.CainSD, variables: Mapping[str, Any], triplet: Triplet, has_ssim: bool = False) -> Record:
    """One triplet's record."""
    frame0, frame1 = (frame[None].astype(np.float32) / 255 for frame in (triplet.first, triplet.last))
    flows = None
    if model.motion == "dis":
        flows = tuple(flow[None] for flow in motion.dis(triplet.first, triplet.last, ALIGN_EDGE))
    output, route, exits = jax.device_get(_run(model, variables, frame0, frame1, flows))
    made = {"averaging": (frame0 + frame1) / 2}
    made |= {f"exit {level}": image for level, image in enumerate(exits)}
    made["dynamic"] = output
    height, width = triplet.middle.shape[:2]
    cost = flops.route_cost(model, route, height, width)
    computed = route.scale[route.depth > 0]
    return Record(
        triplet.clip,
        {name: float(metrics.psnr(image[0], triplet.middle)) for name, image in made.items()},
        {name: float(metrics.ssim(image[0], triplet.middle)) for name, image in made.items()} if has_ssim else {},
        cost.share(flops.dense_cain(model, height, width)),
        tuple(int(n) for n in np.bincount(computed, minlength=len(SCALES))),
        tuple(int(n) for n in np.bincount(route.depth.ravel(), minlength=model.num_group + 1)),
    )


@functools.partial(jax.jit, static_argnums=0)
def _run(model, variables, frame0, frame1, flows) -> tuple[chex.Array, Route, list[chex.Array]]:
    output, aux = model.apply(variables, frame0, frame1, flows, execution="packed")
    return output, aux["route"], all_exits(model, variables, frame0, frame1, flows)


def all_exits(
    model: cain_sd.CainSD,
    variables: Mapping[str, Any],
    frame0: chex.Array,
    frame1: chex.Array,
    flows: tuple[chex.Array, chex.Array] | None,
) -> list[chex.Array]:
    """Frames as each exit makes them at scale 1, exit 0 first: [B, H, W, 3] x 2 -> (G + 1) x [B, H, W, 3]."""
    batch, height, width, _ = frame0.shape
    grid = model.grid(height, width)

    def run(network):
        stack = network.sources(frame0, frame1, network.displace(flows, (height, width)))
        pieces = patches.split(stack, grid)  # [B, n_h, n_w, P_h, P_w, S]
        return network.exits(pieces.reshape(-1, *pieces.shape[3:]))

    found = model.apply(variables, method=run)
    return [patches.merge(image.reshape(batch, *grid.shape, *image.shape[1:]), grid) for image in found]


def mean_by_clip(records: Iterable[Record], what: str = "psnr") -> dict[str, dict[str, float]]:
    """Means of `psnr`, `ssim` or `share`: of each clip over its frames, and "mean", over clips, as they came."""
    by_clip: dict[str, list[dict[str, float]]] = {}
    for record in records:
        value = getattr(record, what)
        by_clip.setdefault(record.clip, []).append(value if isinstance(value, dict) else {what: value})
    means = {clip: _mean(rows) for clip, rows in by_clip.items()}
    return {**means, "mean": _mean(list(means.values()))}


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
