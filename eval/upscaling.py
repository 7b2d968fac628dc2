"""A super-resolution network against true large frames: records of plain numbers, one for each frame.

The protocol of Vid4: the frames of a folder are the truth, cropped to multiples of 4; small ones are made by MATLAB's
bicubic (or by "bd", Gaussian blur), rounded to 8 bits. PSNR and SSIM are of luma, whole frames, every frame; the mean
is over the frames of a clip, then over clips. Ways of making large frames: "bicubic", and the network: "dense" for a
BasicVSR; for a SkipVSR "alpha 0.9" at a threshold, executed packed, and "uniform", "shallow", "deep" where a fixed half
of the blocks is skipped (Table 4). Each with its executed share of the dense network's FLOPs.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxdyn import flops, metrics, motion, routing
from jaxdyn.data import clips, sequences
from jaxdyn.models.basicvsr import SCALE, BasicVSR
from jaxdyn.models.skipvsr import SkipVSR
from jaxdyn.ops import resample
from jaxdyn.types import BlockRoute

THRESHOLDS = (0.0, 0.9, 0.92, 0.93, 0.94, 0.95)
"""Those of Table 2, SkipVSR."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One frame's scores, by way of making it.

    Attributes:
      clip: where it is from.
      psnr: dB, luma.
      ssim: luma, Gaussian window.
      share: executed FLOPs of the whole clip as a share of the dense network's, everything included.
    """

    clip: str
    psnr: dict[str, float]
    ssim: dict[str, float]
    share: dict[str, float]


def evaluate(
    model: nn.Module,
    variables: Mapping[str, Any],
    root: str | Path,
    thresholds: Sequence[float] = THRESHOLDS,
    policies: Sequence[str] = (),
    degradation: sequences.Degradation = "bi",
    num_frame: int | None = None,
) -> Iterator[Record]:
    """Scores of a network, clip by clip; no more than one clip is held.

    Args:
      model, variables: a SkipVSR or a BasicVSR, as `jaxdyn.load` gives them.
      root: folder of clips of true frames, see `clips.find`.
      thresholds: alpha of Eq. 9, of a SkipVSR.
      policies: of Table 4, see `routing.skip_policy`.
      degradation: how small frames are made.
      num_frame: of each clip at most, from the first.

    Raises:
      ValueError: another network.
    """
    if not isinstance(model, BasicVSR):
        raise ValueError(f"model is a {type(model).__name__}, expected a SkipVSR or a BasicVSR")
    for path in clips.find(root):
        target = clips.read(path, num_frame)  # [T, H, W, 3] uint8
        target = target[:, : target.shape[1] // SCALE * SCALE, : target.shape[2] // SCALE * SCALE]
        small = reduced(target, degradation)
        by_way = {
            way: (metrics.psnr(large, target, "y"), metrics.ssim(large, target, "y"), share)
            for way, large, share in ways(model, variables, small, thresholds, policies)
        }
        for t in range(len(target)):
            yield Record(
                path.stem,
                {way: float(psnr[t]) for way, (psnr, _, _) in by_way.items()},
                {way: float(ssim[t]) for way, (_, ssim, _) in by_way.items()},
                {way: share for way, (_, _, share) in by_way.items()},
            )


def reduced(target: np.ndarray, degradation: sequences.Degradation = "bi") -> np.ndarray:
    """Small frames of large ones, rounded to 8 bits: uint8 [T, H, W, 3] -> [T, H / 4, W / 4, 3]."""
    return np.stack([np.asarray(_degraded(frame, degradation)) for frame in target])


def ways(
    model: BasicVSR,
    variables: Mapping[str, Any],
    small: np.ndarray,
    thresholds: Sequence[float],
    policies: Sequence[str] = (),
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, large frames [T, 4H, 4W, 3] and share of FLOPs of each way to upscale a clip, uint8 [T, H, W, 3]."""
    num_frame, height, width, _ = small.shape
    clip = small[None].astype(np.float32) / 255
    yield "bicubic", np.asarray(_bicubic(clip[0])), 0.0
    flows = motion.dis_of_clips(small[None]) if model.motion == "dis" else None
    if not isinstance(model, SkipVSR):
        yield "dense", np.asarray(_dense(model, variables, clip, flows)), 1.0
        return
    dense = num_frame * flops.dense_basicvsr(model, height, width).flops

    def share(route: BlockRoute) -> float:
        return flops.block_route_cost(model, route, height, width).flops / dense

    for threshold in thresholds:
        large, route = _routed(model, variables, clip, flows, np.float32(threshold), None)
        yield f"alpha {threshold:g}", np.asarray(large), share(jax.device_get(route))
    for policy in policies:
        runs = routing.skip_policy(policy, model.num_block)
        shape = (1, 2, num_frame, model.num_block, *model.grid(height, width).shape)
        route = BlockRoute(np.broadcast_to(runs[:, None, None], shape))
        large, _ = _routed(model, variables, clip, flows, np.float32(0), route)
        yield policy, np.asarray(large), share(route)


@functools.partial(jax.jit, static_argnums=1)
def _degraded(frame, degradation):
    return sequences.degrade(frame, degradation)


@jax.jit
def _bicubic(clip):
    return resample.imresize(clip, SCALE)


@functools.partial(jax.jit, static_argnums=0)
def _dense(model, variables, clip, flows):
    return model.apply(variables, clip, motion=flows)[0][0]


@functools.partial(jax.jit, static_argnums=0)
def _routed(model, variables, clip, flows, threshold, route):
    large, aux = model.apply(variables, clip, threshold, route, "packed", motion=flows)
    return large[0], aux["route"]
