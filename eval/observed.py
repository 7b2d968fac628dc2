"""What is seen of a network on one clip: the arrays and records that figures are drawn from.

    weights, clip -> Seen: rows, one frame in several makes, its Route, times by stage, features

A CAIN-SD makes odd frames from even ones. A SkipVSR enlarges the clip's frames reduced to a quarter. Times are medians
of a few runs, compilation excluded; what runs inside one compiled call is told apart by running the call with and
without it, as the name of the stage says.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from eval.records import Row
from jaxdyn import maps, metrics, motion, pretrained
from jaxdyn.bench import time_interleaved
from jaxdyn.data import clips, sequences
from jaxdyn.errors import UserError
from jaxdyn.interpolator import ALIGN_EDGE, Interpolator
from jaxdyn.models.basicvsr import SCALE
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.models.skipvsr import SkipVSR, enlarged
from jaxdyn.ops import patches, resample
from jaxdyn.types import Cost, Route
from jaxdyn.upscaler import Upscaler

NUM_TIMED = 5
NUM_COMPARED = 4  # frames whose features are compared: all blocks' features of them are held
PATCH = 48  # px of a large frame, of the map of PSNR


@dataclasses.dataclass(frozen=True)
class Seen:
    """What is seen of a network.

    Attributes:
      rows: its operating points.
      truth: the true frame, uint8 [H, W, 3].
      made: the same frame as it was made: "dense", "dynamic" and the simplest way, [H, W, 3].
      cells: what each of its patches got.
      grid: patches on which PSNR is looked at.
      seconds: of a frame, by execution and stage.
      blocks: bool [2, T, M, n_h, n_w], which blocks ran; None of a network without.
      differences: by direction [M, n], see `feature_differences`.
    """

    rows: Sequence[Row]
    truth: np.ndarray
    made: Mapping[str, np.ndarray]
    cells: Sequence[maps.Cell]
    grid: patches.Grid
    seconds: Mapping[str, Mapping[str, float]]
    blocks: np.ndarray | None = None
    differences: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def observe(weights: str, clip: str, num_frame: int) -> Seen:
    """What is seen of weights on the first frames of a clip.

    Raises:
      UserError: weights of a network that routes nothing; a clip of less than three frames.
    """
    model, variables = pretrained.load(weights)
    frames = clips.read(clip, num_frame)
    if len(frames) < 3:
        raise UserError(f"{clip}: has {len(frames)} frames; figures need 3 or more.")
    if isinstance(model, CainSD):
        return interpolation(model, variables, frames, Path(weights).stem)
    if isinstance(model, SkipVSR):
        return enlargement(model, variables, frames, Path(weights).stem)
    raise UserError(f"{weights}: is a {type(model).__name__}, which routes nothing; use cain_sd or skipvsr.")


# Interpolation


class _Triplet(NamedTuple):
    """Two frames and the true one between them, uint8 [H, W, 3]."""

    first: np.ndarray
    middle: np.ndarray
    last: np.ndarray


def interpolation(model: CainSD, variables: Any, frames: np.ndarray, weights: str = "") -> Seen:
    """Odd frames from even ones, uint8 [T, H, W, 3]; the dearest of them is the one to look at."""
    height, width = frames.shape[1:3]
    triplets = [_Triplet(*frames[at - 1 : at + 2]) for at in range(1, len(frames) - 1, 2)]
    routed = Interpolator(model, variables)
    dense, dense_cost = routed.densely(), routed.dense_cost(height, width)
    made = [routed.middle(*_ends(triplet)) for triplet in triplets]
    place = int(np.argmax([one.cost.flops for one in made]))
    truth, ends, route = triplets[place].middle, _ends(triplets[place]), made[place].route
    cells = maps.route_cells(height, width, route, model.num_group, model.patch, model.stride)
    finders = _finder_row(made, triplets, dense_cost, weights)
    return Seen(
        rows=[*_exit_rows(routed, triplets, dense_cost, weights), finders],
        truth=truth,
        made={"mean of both": sum(ends) / 2, "dense": dense.middle(*ends).frame, "dynamic": made[place].frame},
        cells=cells,
        grid=patches.grid(height, width, PATCH, PATCH),
        seconds=interpolation_seconds(routed, dense, *ends),
    )


def interpolation_seconds(
    routed: Interpolator, dense: Interpolator, frame0: np.ndarray, frame1: np.ndarray
) -> dict[str, dict[str, float]]:
    """Where the time of a middle frame goes: {"dense" or "dynamic": {stage: seconds}}, medians."""
    model, height, width = routed.model, *frame0.shape[:2]

    @jax.jit
    def find(variables, first, last, flows):
        def finders(network):
            small = network.router_image(first), network.router_image(last)
            return network.find(*small, network.find_motion(*small, flows), network.grid(height, width))

        return model.apply(variables, method=finders)

    flows = _moved(model, frame0, frame1)
    moving, finding, spent, spent_dense = medians(
        lambda: _moved(model, frame0, frame1),
        lambda: jax.block_until_ready(find(routed.variables, frame0[None], frame1[None], flows)),
        lambda: routed.middle(frame0, frame1),
        lambda: dense.middle(frame0, frame1),
    )
    host = {} if flows is None else {"motion on the host": moving}
    return {
        "dense": {**host, "network": max(0.0, spent_dense - moving)},
        "dynamic": {**host, "finders": finding, "patches, merging": max(0.0, spent - moving - finding)},
    }


def _exit_rows(routed: Interpolator, triplets: Sequence[_Triplet], dense: Cost, weights: str) -> list[Row]:
    """A row for each exit, all patches at full scale."""
    model, (height, width), rows = routed.model, triplets[0].middle.shape[:2], []
    shape = (1, *model.grid(height, width).shape)
    for level in model.depths:
        route = Route(np.zeros(shape, np.int32), np.full(shape, level, np.int32))
        made = [routed.middle(*_ends(triplet), route) for triplet in triplets]
        psnr = [float(metrics.psnr(one.frame, triplet.middle)) for one, triplet in zip(made, triplets, strict=True)]
        score = {"psnr": float(np.mean(psnr)), "flops": made[0].cost.flops, "share": made[0].cost.share(dense)}
        rows.append(Row("clip", "CAIN-SD, scale 1 everywhere", f"exit {level}", weights, **score, size=(width, height)))
    return rows


def _finder_row(made: Sequence[Any], triplets: Sequence[_Triplet], dense: Cost, weights: str) -> Row:
    """The row of what the finders choose."""
    height, width = triplets[0].middle.shape[:2]
    psnr = [float(metrics.psnr(one.frame, triplet.middle)) for one, triplet in zip(made, triplets, strict=True)]
    spent = float(np.mean([one.cost.flops for one in made]))
    score = {"psnr": float(np.mean(psnr)), "flops": spent, "share": spent / dense.flops}
    return Row("clip", "CAIN-SD", "finders", weights, **score, size=(width, height), num_frame=len(made))


def _ends(triplet: _Triplet) -> list[np.ndarray]:
    """The two given frames, float32 [H, W, 3]."""
    return [image.astype(np.float32) / 255 for image in (triplet.first, triplet.last)]


def _moved(model: CainSD, frame0: np.ndarray, frame1: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Motion from the host, if the network takes it from there."""
    if model.motion != "dis":
        return None
    edge = ALIGN_EDGE if model.is_aligned else model.router_edge
    return tuple(flow[None] for flow in motion.dis(frame0, frame1, edge))


# Upscaling


def enlargement(model: SkipVSR, variables: Any, frames: np.ndarray, weights: str = "") -> Seen:
    """Frames uint8 [T, H, W, 3], reduced by MATLAB's bicubic, made large again; the middle one is to be looked at."""
    routed = Upscaler(model, variables)
    height, width = (side // SCALE for side in frames.shape[1:3])
    truth = frames[: routed.window_length(height, width), : height * SCALE, : width * SCALE]  # one window
    small = np.stack([np.asarray(sequences.degrade(frame, "bi")) for frame in truth])
    num, place = len(truth), len(truth) // 2
    clip, starts, keep = small.astype(np.float32) / 255, np.arange(num) == 0, (0, num)
    dense = Upscaler(model, variables, execution="dense")
    larges, whole = routed.window(clip, starts, keep), dense.window(clip, starts, keep)
    blocks = np.stack([large.blocks for large in larges], axis=1)  # [2, T, M, n_h, n_w]

    start = clip[:NUM_COMPARED]
    full, scores = map(np.asarray, masked(model, variables, start, np.float32(0)))
    skipped, _ = masked(model, variables, start, np.float32(routed.threshold))
    others = np.quantile(scores[scores > 0], (0.5, 0.75, 0.95))
    points = sorted({0.0, *(round(float(threshold), 3) for threshold in (routed.threshold, *others))})
    cost = routed.dense_cost(height, width)
    simplest = np.clip(np.asarray(resample.imresize(clip, SCALE)), 0, 1)
    rows = [_enlargement_row("bicubic", "", simplest, truth, 0.0, cost)]
    for point in points:
        found = Upscaler(model, variables, threshold=point).window(clip, starts, keep)
        spent = float(np.mean([large.cost.flops for large in found]))
        large = np.stack([large.frame for large in found])
        rows.append(_enlargement_row(f"alpha {point:g}", weights, large, truth, spent, cost))
    grid = model.grid(height, width)
    return Seen(
        rows=rows,
        truth=truth[place],
        made={"bicubic": simplest[place], "dense": whole[place].frame, "dynamic": larges[place].frame},
        cells=maps.block_cells(blocks[:, place], grid, SCALE),
        grid=enlarged(patches.grid(height, width, PATCH // SCALE, PATCH // SCALE)),
        seconds=enlargement_seconds(routed, dense, clip),
        blocks=blocks,
        differences=feature_differences(model, np.asarray(skipped), full),
    )


def _enlargement_row(way: str, weights: str, large: np.ndarray, truth: np.ndarray, spent: float, dense: Cost) -> Row:
    """The row of one way to enlarge a clip: bicubic, or a threshold."""
    method, point = ("bicubic", "") if not weights else ("SkipVSR", way)
    size = (truth.shape[2] // SCALE, truth.shape[1] // SCALE)
    score = {"psnr": float(np.mean(metrics.psnr(large, truth, "y"))), "flops": spent, "share": spent / dense.flops}
    return Row("clip, Y", method, point, weights, **score, size=size, num_frame=len(truth))


def enlargement_seconds(routed: Upscaler, dense: Upscaler, clip: np.ndarray) -> dict[str, dict[str, float]]:
    """Where the time of a large frame goes, likewise; a clip of one window."""
    model, num = routed.model, len(clip)
    bare = Upscaler(model, routed.variables, threshold=1.0)  # no block runs but on the frames that begin a direction
    window = (clip, np.arange(num) == 0, (0, num))
    on_host = model.motion == "dis"
    calls = [lambda by=by: by.window(*window) for by in (dense, routed, bare)]
    calls.append(lambda: motion.dis_of_clips(clip[None]) if on_host else None)
    spent_dense, spent, rest, moving = (seconds / num for seconds in medians(*calls))
    host = {"motion on the host": moving} if on_host else {}
    parts = {"warping, gates, upsampling": max(0.0, rest - moving), "residual blocks": max(0.0, spent - rest)}
    return {"dense": {**host, "network": max(0.0, spent_dense - moving)}, "dynamic": {**host, **parts}}


@functools.partial(jax.jit, static_argnums=0)
def masked(model: SkipVSR, variables: Any, clip: Any, threshold: Any) -> tuple[jax.Array, jax.Array]:
    """What every block gives, and the confidence by which it ran or not, at a threshold.

    Args:
      model, variables: tiles are those of the whole frame.
      clip: float32 [T, H, W, 3] in [0, 1], small frames; all blocks' features of them are held.
      threshold: alpha of Eq. 9.

    Returns:
      features [2, T, M, H, W, F], scores [2, T, M, n_h, n_w], 0 where there is nothing to compare with.
    """
    _, aux = model.clone(interval=1, tiling="frame").apply(variables, clip[None], threshold)
    return aux["features"][0], aux["scores"][0]


def feature_differences(model: SkipVSR, skipped: np.ndarray, full: np.ndarray) -> dict[str, np.ndarray]:
    """Mean of (h_m - h_target)^2 over each tile, after each block, by direction: {name: [M, n]}.

    h_m is what block m gives where blocks are skipped, h_target what the next target block (`SkipVSR.targets`) gives
    where every block runs.

    Args:
      model: whose targets and tiles are meant.
      skipped, full: [2, T, M, H, W, F], see `masked`.
    """
    targets = np.array(model.targets) - 1
    which = targets[np.searchsorted(targets, np.arange(model.num_block))]
    squared = np.square(np.asarray(skipped) - np.asarray(full)[:, :, which]).mean(axis=-1)  # [2, T, M, H, W]
    grid = model.clone(tiling="frame").grid(*squared.shape[-2:])
    tiles = [
        squared[..., row : row + grid.patch[0], column : column + grid.patch[1]].mean(axis=(-2, -1))
        for row in grid.rows
        for column in grid.columns
    ]  # [2, T, M] each
    by_block = np.moveaxis(np.stack(tiles, axis=-1), 1, 2)  # [2, M, T, n]
    return {name: by_block[side].reshape(model.num_block, -1) for side, name in enumerate(("backward", "forward"))}


def medians(*calls: Callable[[], Any]) -> list[float]:
    """Seconds of each call, medians of `NUM_TIMED` rounds in turn; each runs once before."""
    return time_interleaved(calls, NUM_TIMED)[0]
