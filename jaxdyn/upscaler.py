"""A network ready to enlarge windows of frames: host arrays in, host arrays out, one compilation for each frame size.

window -> motion (host, or the network's own) -> Route -> routed compute -> large frames, with the Route and the cost

A window is a stretch of a clip whose middle is wanted: what lies before and after it hands on its features. Windows
depend on nothing but their own frames, so that work can stop and go on anywhere.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxdyn import flops, motion
from jaxdyn.errors import UserError
from jaxdyn.models.basicvsr import SCALE, BasicVSR
from jaxdyn.models.skipvsr import SkipVSR
from jaxdyn.programs import Programs
from jaxdyn.types import BlockRoute, Cost

LENGTH = 32
"""Frames that a window gives; a power of two less of large frames, see `WINDOW_BYTES`."""

WINDOW_BYTES = 4 * 2**30
"""What the features and the large frames of a window may take."""

OVERLAP = 4
"""Frames that a window sees before and after those: what is further away changes a frame by less than 8 bits show."""

PROBE = 14
"""Frames of a window that thresholds are tried on."""

SETTLE = 4
"""Frames of each direction that do not count there: after a shot's first frame, where every block runs, scores are
higher than in a long clip."""

NUM_TRIAL = 5
"""How many thresholds are tried."""


@dataclasses.dataclass(frozen=True)
class Large:
    """An enlarged frame.

    Attributes:
      frame: [4 H, 4 W, 3] float32 in [0, 1].
      blocks: [2, M, n_h, n_w] bool, which blocks ran, 0 backward, 1 forward; None where the network is static.
      cost: of this frame, as executed; a window's overlap is borne evenly by the frames that it gives.
    """

    frame: np.ndarray
    blocks: np.ndarray | None
    cost: Cost


class Upscaler:
    """Enlarges windows of frames four times with a SkipVSR or a plain BasicVSR, the latter densely.

    Args:
      model, variables: as `jaxdyn.load` gives them.
      threshold: alpha of Eq. 9, SkipVSR, 0 to 1; None: the network's own.
      execution: "packed" computes what the gates select, "masked" everything and selects, "dense" runs every block on
        the whole frame, whatever the gates say.
      device: where to compute; None: JAX's default.
      parallel: how many tiles run together in packed execution; None: the network's own number on a CPU, all that a
        GPU fills itself with otherwise.
      length: frames that a window gives, whatever memory they take; None: see `window_length`.
      blocks: [num_block] bool, which residual blocks run, everywhere and in both directions, whatever the gates say;
        None: the gates decide.
      programs: folder in which traced programs are kept for later runs, see `jaxdyn.programs`; None: they are not.

    Raises:
      UserError: a network that does not enlarge clips, a threshold or a number of tiles out of range.
      ValueError: blocks of another network, or of one without gates.
    """

    scale = SCALE
    overlap = OVERLAP

    def __init__(
        self,
        model: nn.Module,
        variables: dict,
        threshold: float | None = None,
        execution: Literal["packed", "masked", "dense"] = "packed",
        device: jax.Device | None = None,
        parallel: int | None = None,
        length: int | None = None,
        blocks: np.ndarray | None = None,
        programs: str | os.PathLike | None = None,
    ):
        if not isinstance(model, BasicVSR):
            raise UserError(f"{type(model).__name__} does not enlarge clips; use weights of skipvsr or basicvsr.")
        if execution not in ("packed", "masked", "dense"):
            raise ValueError(f"execution (={execution!r}) must be 'packed', 'masked' or 'dense'")
        if threshold is not None and not 0 <= threshold <= 1:
            raise UserError(f"threshold {threshold}: must be between 0 (every block runs) and 1 (none does).")
        if parallel is not None and parallel < 1:
            raise UserError(f"parallel {parallel}: must be at least 1 tile.")
        self.execution = execution if isinstance(model, SkipVSR) else "dense"
        if blocks is not None and (self.execution == "dense" or np.shape(blocks) != (model.num_block,)):
            raise ValueError(
                f"blocks (={blocks}) must be {model.num_block} booleans, for a SkipVSR that is not 'dense'"
            )
        self.length, self.blocks = length, blocks
        if isinstance(model, SkipVSR):
            is_cpu = (device or jax.devices()[0]).platform == "cpu"
            model = model.clone(parallel=parallel or (model.parallel if is_cpu else GPU_PARALLEL))
        self.threshold = getattr(model, "alpha", 0.0) if threshold is None else threshold
        if self.execution == "dense" and isinstance(model, SkipVSR):
            variables = {"params": {k: v for k, v in variables["params"].items() if not k.startswith("gate_")}}
            model = static_of(model)
        self.model, self.device = model, device
        self.variables = jax.device_put(variables, device)
        self._programs = Programs(programs, device)

    def prepare(self, height: int, width: int) -> None:
        """Has a thread load the program for frames of a size, while they are still being read; `programs` say where."""
        length = self.window_length(height, width)
        num = length + 2 * OVERLAP
        clip = jax.ShapeDtypeStruct((1, num, height, width, 3), np.float32)
        flow = jax.ShapeDtypeStruct((1, num - 1, height, width, 2), np.float32)
        given = (flow, flow) if self.model.motion == "dis" else None
        starts, is_padding = (jax.ShapeDtypeStruct(shape, bool) for shape in ((1, num), (num,)))
        self._call(clip, starts, is_padding, given, (OVERLAP, OVERLAP + length), self._programs.prepare)

    def window_length(self, height: int, width: int) -> int:
        """How many frames of this size a window gives: `LENGTH`, or as many as fit `WINDOW_BYTES`, at least one."""
        if self.length is not None:
            return self.length
        features = 4 * height * width * self.model.num_feat
        layers = self.model.num_block + 1 if self.execution != "dense" else 2
        large = 4 * 3 * SCALE**2 * height * width
        fitting = (WINDOW_BYTES - layers * features) / (2 * features + large)
        return min(LENGTH, 2 ** int(math.log2(max(fitting, 1))))

    def window(self, frames: np.ndarray, starts: np.ndarray, keep: tuple[int, int]) -> list[Large]:
        """Enlarges the frames keep[0] <= t < keep[1] of a window.

        Args:
          frames: float32 [n, H, W, 3] in [0, 1], with at most `overlap` frames before and after those kept, and at most
            `window_length(H, W)` kept.
          starts: [n] bool, whether a frame begins a shot.
          keep: (first, last).

        Raises:
          ValueError: a window that is too long, or `keep` out of it.
        """
        num, height, width, _ = frames.shape
        length = self.window_length(height, width)
        (first, last), after = keep, num - keep[1]
        if not (0 <= first <= OVERLAP and 0 < last - first <= length and 0 <= after <= OVERLAP):
            raise ValueError(
                f"a window of {num} frames with keep={keep} is not at most {length} frames with {OVERLAP} at each side"
            )
        before = OVERLAP - first  # padding, so that one compilation serves all windows of this size
        fill = (before, length + 2 * OVERLAP - num - before)
        clip = np.pad(frames.astype(np.float32), (fill, (0, 0), (0, 0), (0, 0)))
        is_padding = np.pad(np.zeros(num, bool), fill, constant_values=True)
        begins = np.pad(np.asarray(starts, bool), fill)
        begins[before] = True
        begins[before + num :] = True
        large, blocks = self._run(clip, begins, is_padding, (OVERLAP, OVERLAP + length))
        if blocks is not None:
            flops.skipvsr_stages(self.model, height, width)  # analysed once, while the device is at work
        large = np.asarray(large)[: last - first]
        real = None if blocks is None else np.asarray(blocks)[:, before : before + num]  # [2, n, M, n_h, n_w]
        costs = self._costs(real, keep, height, width)
        return [
            Large(frame, None if real is None else real[:, first + index], cost)
            for index, (frame, cost) in enumerate(zip(large, costs, strict=True))
        ]

    def dense_cost(self, height: int, width: int) -> Cost:
        """The static network of the same widths on the whole frame: what every share is a share of."""
        return flops.dense_basicvsr(static_of(self.model), height, width)

    def meet(self, budget: float, windows: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
        """Sets, and gives, the threshold that brings the executed share of the dense FLOPs nearest to a budget.

        The gates' scores with every block running say where to begin; as skipping changes features, and so scores, the
        threshold is then corrected by the share that it really gives.

        Args:
          budget: a share, over 0.
          windows: (frames [n, H, W, 3], starts [n]) of any sizes; the first frames of each are tried.

        Raises:
          UserError: a network that has nothing to choose, or no windows.
        """
        if self.execution == "dense" or self.blocks is not None:
            raise UserError("this network runs fixed blocks of every frame; a budget needs weights of skipvsr, packed.")
        if not windows:
            raise UserError("no frames to find a threshold on.")
        probes = [_probe(*window) for window in windows]
        sizes = [frames.shape[1:3] for frames, _ in windows]

        def share_of(spent: Iterable[float]) -> float:
            """The share where blocks take so many FLOPs, by window."""
            return float(np.mean([self._share_of(part, *size) for part, size in zip(spent, sizes, strict=True)]))

        def shares(threshold: float) -> tuple[float, np.ndarray]:
            """The share of a frame in the middle of a long clip, and all scores."""
            found = [self._scores(*probe, threshold) for probe in probes]
            ran = [blocks[is_real] for blocks, _, is_real in found]  # [frames, M, n_h, n_w]
            share = share_of(
                flops.block_flops(self.model, blocks, *size).sum(axis=-1).mean()
                for blocks, size in zip(ran, sizes, strict=True)
            )
            return share, np.concatenate([s[is_real].ravel() for _, s, is_real in found])

        most, scores = shares(0.0)
        if budget >= most:
            self.threshold = 0.0
            return 0.0
        least = share_of([0.0] * len(sizes))
        order = np.sort(scores if self.model.rule == "above" else 1 - scores)[::-1]  # as a threshold falls, these run
        # (how many of them run, share), known on both sides; what lies between is tried where a line would put it.
        low, high, best = (0, least), (len(order) - 1, most), (most, 0.0)
        for _ in range(NUM_TRIAL):
            part = np.clip((budget - low[1]) / max(high[1] - low[1], 1e-9), 0, 1)
            place = int(np.clip(round(low[0] + part * (high[0] - low[0])), low[0], high[0]))
            if place in (low[0], high[0]):
                place = (low[0] + high[0]) // 2  # a line that leads to an end: halve instead
            trial = float(order[place])
            share, _ = shares(trial)
            if abs(share - budget) < abs(best[0] - budget):
                best = (share, trial)
            low, high = ((place, share), high) if share < budget else (low, (place, share))
        self.threshold = best[1]
        return best[1]

    def decide(
        self,
        clip: np.ndarray,
        starts: np.ndarray,
        is_padding: np.ndarray | None = None,
        threshold: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which blocks the gates run, and their scores, both [2, T, M, n_h, n_w]; no picture is made.

        Args:
          clip: float32 [T, H, W, 3] in [0, 1].
          starts: [T] bool, whether a frame begins a shot.
          is_padding: [T] bool, frames that only fill up; None: none.
          threshold: None: the upscaler's own.
        """
        is_padding = np.zeros(len(clip), bool) if is_padding is None else is_padding
        given = self.host_motion(clip, is_padding)
        threshold = self.threshold if threshold is None else threshold
        static = self.model, self.execution
        found = self._programs(
            *(_decide, static, self.variables, clip[None], np.float32(threshold), starts[None], given, is_padding)
        )
        blocks, scores = (np.asarray(values)[0] for values in found)
        return blocks, scores

    def host_motion(
        self, clip: np.ndarray, is_padding: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """DIS to the next frame and back, 2 x [1, T - 1, H, W, 2] px; None where the network has its own motion.

        From or to padding, which lies before and after the other frames, nothing moves, and nothing is searched.
        """
        if self.model.motion != "dis":
            return None
        real = np.arange(len(clip)) if is_padding is None else np.flatnonzero(~is_padding)
        first, last = (real[0], real[-1] + 1) if len(real) else (0, 1)
        fill = ((0, 0), (first, len(clip) - last), (0, 0), (0, 0), (0, 0))
        return tuple(np.pad(flow, fill) for flow in motion.dis_of_clips(clip[None, first:last]))

    def _run(self, clip, starts, is_padding, keep) -> tuple[jax.Array, jax.Array | None]:
        given = self.host_motion(clip, is_padding)
        put = functools.partial(jax.device_put, device=self.device)
        clip, starts, is_padding = put(clip[None]), put(starts[None]), put(is_padding)
        given = None if given is None else tuple(put(flow) for flow in given)
        made = self._call(clip, starts, is_padding, given, keep, self._programs)
        return (made[0], None) if self.execution == "dense" else (made[0][0], made[1][0])

    def _call(self, clip, starts, is_padding, given, keep, call: Callable) -> Any:
        """The network on a batch of one, by `call` of `Programs`."""
        if self.execution == "dense":
            return call(_static, (self.model, keep), self.variables, clip, starts, given, is_padding)
        fixed = self.model, self.execution, keep
        threshold, route = np.float32(self.threshold), self._route(clip)
        return call(_dynamic, fixed, self.variables, clip, threshold, route, starts, given, is_padding)

    def _route(self, clip: jax.Array) -> BlockRoute | None:
        """The blocks that were given, for every tile of a clip [1, T, H, W, 3]."""
        if self.blocks is None:
            return None
        _, num, height, width, _ = clip.shape
        shape = (1, 2, num, self.model.num_block, *self.model.grid(height, width).shape)
        runs = np.broadcast_to(np.asarray(self.blocks, bool)[:, None, None], shape)
        return BlockRoute(jax.device_put(runs, self.device))

    def _scores(self, clip, starts, is_real, threshold):
        """Which blocks ran, their scores, [2, T, M, n_h, n_w] each, and which of them are real and had a choice."""
        blocks, scores = self.decide(clip, starts, ~is_real, threshold)
        ends = np.append(starts[1:], True)
        counts = np.stack([_settled(is_real[::-1], ends[::-1])[::-1], _settled(is_real, starts)])
        return blocks, scores, counts

    def _costs(self, blocks, keep: tuple[int, int], height: int, width: int) -> list[Cost]:
        """What each kept frame of a window costs: its own tiles, and an even part of all else."""
        num = keep[1] - keep[0]
        if blocks is None:
            return [self.dense_cost(height, width)] * num
        route = BlockRoute(blocks[None])
        if self.execution == "masked":
            route = BlockRoute(np.ones_like(route.blocks))
        cost = flops.block_route_cost(self.model, route, height, width, keep)
        stages = flops.skipvsr_stages(self.model, height, width)
        counts = flops.block_counts(self.model, route.blocks[0])  # [2, n, M] each
        own = [count.sum(axis=(0, 2))[slice(*keep)] for count in counts]  # on each kept frame

        def of_frame(index: int) -> Cost:
            excess = {
                stages[name].name: float(count[index] - count.mean())
                for name, count in zip(("tile", "block"), own, strict=True)
            }
            return Cost(tuple(dataclasses.replace(s, times=s.times / num + excess.get(s.name, 0)) for s in cost.stages))

        return [of_frame(index) for index in range(num)]

    def _share_of(self, spent: float, height: int, width: int) -> float:
        """The share of the dense FLOPs where a direction's blocks take so many FLOPs a frame, in a whole window."""
        length = self.window_length(height, width)
        num = length + 2 * OVERLAP
        grid = self.model.grid(height, width).shape
        none = BlockRoute(np.zeros((1, 2, num, self.model.num_block, *grid), bool))
        rest = flops.block_route_cost(self.model, none, height, width, keep=(OVERLAP, OVERLAP + length)).flops
        return (rest + 2 * (length + OVERLAP) * spent) / (length * self.dense_cost(height, width).flops)


GPU_PARALLEL = 32
"""Tiles that run together on a GPU, which needs many to be busy."""


def static_of(model: BasicVSR) -> BasicVSR:
    """The BasicVSR of a network's fields."""
    fields = ("num_feat", "num_block", "num_hr", "motion", "is_remat")
    return BasicVSR(**{name: getattr(model, name) for name in fields})


def _settled(is_real: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Frames, in the order of visits, at least `SETTLE` after a shot's beginning; if there are none, all but those."""
    since = np.zeros(len(begins), int)
    for index in range(1, len(begins)):
        since[index] = 0 if begins[index] else since[index - 1] + 1
    for least in (SETTLE, 1, 0):
        if (is_real & (since >= least)).any():
            return is_real & (since >= least)
    return is_real


def _probe(frames: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first frames of a window, filled up: [T, H, W, 3], starts [T], whether they are real [T]."""
    frames, starts = frames[:PROBE], np.array(starts[:PROBE], bool)
    fill = (0, PROBE - len(frames))
    starts[0] = True
    return (
        np.pad(frames.astype(np.float32), (fill, (0, 0), (0, 0), (0, 0))),
        np.pad(starts, fill, constant_values=True),
        np.pad(np.ones(len(frames), bool), fill),
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _static(model: BasicVSR, keep, variables, clip, starts, given, is_padding):
    large, _ = model.apply(variables, clip, starts=starts, motion=given, keep=keep, is_padding=is_padding)
    return jnp.clip(large, 0.0, 1.0)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _dynamic(model: SkipVSR, execution, keep, variables, clip, threshold, route, starts, given, is_padding):
    large, aux = model.apply(
        variables,
        clip,
        threshold,
        route,
        execution,
        starts=starts,
        motion=given,
        keep=keep,
        is_padding=is_padding,
    )
    return jnp.clip(large, 0.0, 1.0), aux["route"].blocks


@functools.partial(jax.jit, static_argnums=(0, 1))
def _decide(model: SkipVSR, execution, variables, clip, threshold, starts, given, is_padding):
    """Decisions and scores; the pictures are not made."""
    _, aux = model.apply(
        variables, clip, threshold, None, execution, starts=starts, motion=given, is_padding=is_padding
    )
    return aux["route"].blocks, aux["scores"]
