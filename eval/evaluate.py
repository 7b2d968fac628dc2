"""A network against true middle frames: records of plain numbers, one for each frame.

For every triplet: the mean of its two frames ("averaging"), the aligned mean ("exit 0"), every exit of the network with all patches at
scale 1 ("exit 1" ...), and what the finders choose, executed packed ("dynamic"), with its FLOPs as a share of the static network's.
PSNR is of 8-bit RGB whole frames; the mean is over the frames of a clip, then over clips.
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

from jaxdyn import flops, metrics, motion
from jaxdyn.data import clips
from jaxdyn.models import cain_sd
from jaxdyn.ops import patches
from jaxdyn.types import Route

Pair = tuple[str, np.ndarray, np.ndarray, np.ndarray]
"""(clip, first, middle, last), frames uint8 [H, W, 3]."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One frame's scores.

    Attributes:
      clip: where it is from.
      psnr: dB by way of making it.
      ssim: likewise, if asked for (Gaussian window).
      share: executed FLOPs of "dynamic" as a share of the dense network's, everything included.
      scales, depths: how many patches the finders gave to each scale and to each exit.
    """

    clip: str
    psnr: dict[str, float]
    ssim: dict[str, float]
    share: float
    scales: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()


def video_pairs(root: str | Path, num_frame: int = 41) -> Iterator[Pair]:
    """Odd frames of each clip from their even neighbours, within the first `num_frame` frames."""
    for path in clips.find(root):
        frames = clips.read(path, num_frame)
        for middle in range(1, len(frames) - 1, 2):
            yield path.stem, frames[middle - 1], frames[middle], frames[middle + 1]


def middlebury_pairs(root: str | Path) -> Iterator[Pair]:
    """The triplets of Middlebury's OTHER set: frame10, frame10i11, frame11 in a folder each."""
    from jaxdyn import images

    for folder in sorted(path for path in Path(root).iterdir() if path.is_dir()):
        first, middle, last = (images.read_image(folder / f"{name}.png")[..., :3] for name in ("frame10", "frame10i11", "frame11"))
        yield folder.name, first, middle, last


def evaluate(model: nn.Module, variables: Mapping[str, Any], pairs: Iterable[Pair], has_ssim: bool = False, edge: int = 384) -> Iterator[Record]:
    """Scores of a CAIN-SD network, frame by frame.

    Args:
      model, variables: as `jaxdyn.load` gives them.
      pairs: what to interpolate.
      has_ssim: SSIM as well, which takes longer than the network.
      edge: short side of DIS motion's grid.
    """
    for clip, first, middle, last in pairs:
        yield score(model, variables, clip, first, middle, last, has_ssim, edge)


def score(model, variables, clip, first, middle, last, has_ssim=False, edge=384) -> Record:
    """One triplet's record."""
    frame0, frame1 = (frame[None].astype(np.float32) / 255 for frame in (first, last))
    flows = tuple(flow[None] for flow in motion.dis(first, last, edge)) if model.motion == "dis" else None
    output, route, exits = jax.device_get(_run(model, variables, frame0, frame1, flows))
    made = {"averaging": (frame0 + frame1) / 2}
    made |= {f"exit {level}": image for level, image in enumerate(exits)}
    made["dynamic"] = output
    route = Route(*route)
    height, width = first.shape[:2]
    cost = flops.route_cost(model, route, height, width, model.chunks)
    return Record(
        clip,
        {name: float(metrics.psnr(image[0], middle)) for name, image in made.items()},
        {name: float(metrics.ssim(image[0], middle)) for name, image in made.items()} if has_ssim else {},
        cost.share(flops.dense_cain(model, height, width)),
        tuple(int(n) for n in np.bincount(route.scale.ravel(), minlength=3)),
        tuple(int(n) for n in np.bincount(route.depth.ravel(), minlength=model.num_group + 1)),
    )


@functools.partial(jax.jit, static_argnums=0)
def _run(model, variables, frame0, frame1, flows):
    output, aux = model.apply(variables, frame0, frame1, flows, execution="packed")
    exits = all_exits(model, variables, frame0, frame1, flows)
    return output, (aux["route"].scale, aux["route"].depth), exits


def all_exits(
    model: cain_sd.CainSD, variables: Mapping[str, Any], frame0: chex.Array, frame1: chex.Array, flows: tuple | None
) -> list[chex.Array]:
    """Whole frames as each exit makes them at scale 1, exit 0 first: [B, H, W, 3] x 2 -> (G + 1) x [B, H, W, 3]."""
    batch, height, width, _ = frame0.shape
    grid = model.grid(height, width)

    def run(network):
        stack = network.sources(frame0, frame1, network.displace(flows, (height, width)))
        pieces = patches.split(stack, grid)  # [B, n_h, n_w, P_h, P_w, S]
        return network.exits(pieces.reshape(-1, *pieces.shape[3:]))

    images = model.apply(variables, method=run)
    return [patches.merge(image.reshape(batch, *grid.shape, *image.shape[1:]), grid) for image in images]


def mean_by_clip(records: Iterable[Record], what: str = "psnr") -> dict[str, dict[str, float]]:
    """Means of `psnr`, `ssim` or `share`: of each clip over its frames, and "mean", over clips. Order as they came."""
    by_clip: dict[str, list[dict[str, float]]] = {}
    for record in records:
        value = getattr(record, what)
        by_clip.setdefault(record.clip, []).append(value if isinstance(value, dict) else {what: value})
    means = {clip: {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} for clip, rows in by_clip.items()}
    if means:
        names = next(iter(means.values()))
        means["mean"] = {name: float(np.mean([row[name] for row in means.values()])) for name in names}
    return means
