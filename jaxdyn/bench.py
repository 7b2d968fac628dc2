"""Finds on this machine which execution is faster for a size of frames, and with how many patches side by side.

    frames -> the Routes that the weights choose on them -> search by packed execution -> the best of it against dense

What is timed is what a job does for a frame: motion on the host, transfers, the network. Everything is timed in turn,
round after round, and medians are compared, because machines are noisy; the first call of each, which compiles, does
not count. The winner of the search is timed anew with dense execution, so that luck does not decide.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxdyn import demo, flops, jobs, sampling
from jaxdyn.choices import Choice, Job, Key
from jaxdyn.errors import UserError
from jaxdyn.interpolator import Interpolator
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.models.skipvsr import SkipVSR
from jaxdyn.types import SCALES, BlockRoute
from jaxdyn.upscaler import SETTLE, Upscaler
from jaxdyn.windows import arrays

SEARCH_ROUNDS = 2
TOGETHER = {"cpu": (2, 4, 6), "gpu": (4, 16, 64)}
"""Patches of 256 px side by side that are tried, by platform; other platforms are taken for GPUs."""

TILES_TOGETHER = {"cpu": (3, 6, 12), "gpu": (16, 32, 64)}
"""Likewise tiles of an upscaler."""

NUM_PAIR = 3
"""Pairs of frames of a clip that an interpolator is timed on."""

NUM_SETTLED = 4
"""Frames that an upscaler is timed on."""

Clock = Callable[[], float]
Setting = Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Timing:
    """One way of execution: its name, median milliseconds of a made frame."""

    name: str
    milliseconds: float


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured, in order, and what follows from it."""

    timings: tuple[Timing, ...]
    choice: Choice


def frames_for(job: Job, source: str | Path | None, size: tuple[int, int]) -> list[np.ndarray]:
    """What a network is timed on: for "interpolate" pairs [2, H, W, 3], for "upscale" one shot [T, H, W, 3]; float32.

    Args:
      job: "interpolate" or "upscale".
      source: a video or a folder of images; None: frames are drawn.
      size: (W, H) of drawn frames.

    Raises:
      UserError: a source that cannot be read, or that has too little motion or too short shots.
    """
    least = 2 if job == "interpolate" else NUM_SETTLED + SETTLE
    if source is None:
        return [drawn(*size, least)]
    if not (path := Path(source)).exists():
        raise UserError(f"{path}: no such file or folder; check the path.")
    clip = jobs.open_source(path, None)
    if job == "interpolate":
        pairs = [np.stack(pair) for pair in sampling.sample_pairs(clip, (None, None))]
        if not pairs:
            raise UserError(f"{path}: no two neighbouring frames show motion; name another clip.")
        return pairs[:NUM_PAIR]
    for sample in sampling.sample_frames(clip, (None, None), least):
        frames, starts = arrays(sample)
        if len(frames) == least and not starts[1:].any():
            return [frames]
    raise UserError(f"{path}: {least} frames of one shot are needed; name another clip.")


def size_of(frames: Sequence[np.ndarray]) -> tuple[int, int]:
    """(W, H) of what `frames_for` gave."""
    return frames[0].shape[2], frames[0].shape[1]


def choose(
    job: Job,
    model: nn.Module,
    variables: dict,
    frames: Sequence[np.ndarray],
    rounds: int,
    device: jax.Device | None = None,
) -> Result:
    """Times a network at a job, on what `frames_for` gave; see below."""
    if job == "interpolate":
        return choose_for_interpolation(model, variables, frames, rounds, device)
    return choose_for_upscaling(model, variables, frames[0], rounds, device)


def lines(key: Key, result: Result, rounds: int) -> list[str]:
    """What the command line prints."""
    choice, printed = result.choice, [f"{key.job}, {key.size}: {key.network}"]
    printed.append(f"{key.device}: {key.machine}, {key.versions}, medians of {rounds} interleaved rounds")
    printed.append(f"{'execution':<44}{'ms a frame':>12}")
    printed += [f"{timing.name:<44}{timing.milliseconds:>12.1f}" for timing in result.timings]
    printed.append(
        f"packed executes {choice.share:.1%} of the dense FLOPs and is {choice.speedup:.2f} times as fast: "
        f"{choice.execution} execution is used for {key.size} from now on"
    )
    return printed


def choose_for_interpolation(
    model: nn.Module,
    variables: dict,
    pairs: Sequence[np.ndarray],
    rounds: int,
    device: jax.Device | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Packed execution of the finders' Routes against dense execution, as `Interpolator` runs both.

    Args:
      model, variables: as `jaxdyn.load` gives them.
      pairs: neighbouring frames of one size, float32 [2, H, W, 3] each, in [0, 1]; times are of one middle frame.
      rounds: interleaved repetitions of the last comparison.
      device: None: JAX's default.
      clock: seconds.

    Raises:
      UserError: a network that has nothing to choose.
    """
    if not isinstance(model, CainSD):
        raise UserError(f"{type(model).__name__} takes the same path everywhere: there is nothing to choose.")
    height, width = pairs[0][0].shape[:2]
    first = Interpolator(model, variables, device=device)
    middles = [first.middle(*pair) for pair in pairs]
    share = statistics.fmean(middle.cost.share(first.dense_cost(height, width)) for middle in middles)

    counts = np.zeros(len(SCALES), int)  # the most patches that one pair sends to each scale
    for middle in middles:
        computed = middle.route.scale[middle.route.depth > 0]
        counts = np.maximum(counts, np.bincount(computed, minlength=len(SCALES)))
    names = [f"scale 1/{scale}" for scale in SCALES]
    tried = TOGETHER["cpu" if _is_cpu(device) else "gpu"]
    axes = {name: [n for n in tried if n <= count] for name, count in zip(names, counts.tolist(), strict=True) if count}

    def run(execution: str, together: tuple[int, ...]) -> Callable[[], object]:
        runner = Interpolator(model.clone(chunks=together), first.variables, execution, device)
        return lambda: [runner.middle(*pair) for pair in pairs]

    def packed(setting: Setting) -> Callable[[], object]:
        return run("packed", tuple(setting[name] for name in names))

    start = dict(zip(names, model.chunks, strict=True))
    return _choose(axes, start, packed, run("dense", model.chunks), share, len(pairs), rounds, clock)


def choose_for_upscaling(
    model: nn.Module,
    variables: dict,
    frames: np.ndarray,
    rounds: int,
    device: jax.Device | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Packed execution of a Route that the gates chose against dense execution, on `NUM_SETTLED` frames.

    The Route is that of frames in the middle of a shot: where one begins, every block runs.

    Args:
      model, variables: as `jaxdyn.load` gives them.
      frames: of one shot, float32 [T, H, W, 3] in [0, 1], at least `NUM_SETTLED + SETTLE`.
      rounds, device, clock: as above.

    Raises:
      UserError: a network that has nothing to choose, or a shot that is too short.
    """
    if not isinstance(model, SkipVSR):
        raise UserError(f"{type(model).__name__} takes the same path everywhere: there is nothing to choose.")
    if len(frames) < (least := NUM_SETTLED + SETTLE):
        raise UserError(f"{len(frames)} frames of one shot: a network that looks back needs at least {least}.")
    height, width = frames.shape[1:3]
    first = Upscaler(model, variables, device=device)
    static = Upscaler(model, first.variables, execution="dense", device=device)
    route = settled_route(first, frames[:least])
    clip = frames[:NUM_SETTLED]
    start = {"tiles": first.model.parallel}
    cost = flops.block_route_cost(first.model, route, height, width)
    share = cost.flops / (NUM_SETTLED * first.dense_cost(height, width).flops)

    put = functools.partial(jax.device_put, device=device)

    def given() -> tuple:
        moved = first.host_motion(clip)
        return put(clip[None]), None if moved is None else tuple(map(put, moved))

    def packed(setting: Setting) -> Callable[[], object]:
        network = first.model.clone(parallel=setting["tiles"])
        return lambda: np.asarray(_routed(network, first.variables, *given(), route)[0])

    def dense() -> object:
        return np.asarray(_static(static.model, static.variables, *given()))

    num_tile = int(np.prod(model.grid(height, width).shape))
    axes = {"tiles": [n for n in TILES_TOGETHER["cpu" if _is_cpu(device) else "gpu"] if n <= num_tile]}
    return _choose(axes, start, packed, dense, share, NUM_SETTLED, rounds, clock)


def settled_route(upscaler: Upscaler, frames: np.ndarray) -> BlockRoute:
    """What the gates choose for `NUM_SETTLED` frames, each at least `SETTLE` frames after a direction's first.

    Args:
      upscaler: with its gates.
      frames: of one shot, float32 [NUM_SETTLED + SETTLE, H, W, 3].
    """
    starts = np.arange(len(frames)) == 0
    blocks = upscaler.decide(frames, starts)[0]  # [2, T, M, n_h, n_w]
    return BlockRoute(np.stack([blocks[0, :NUM_SETTLED], blocks[1, SETTLE:]])[None])


def drawn(width: int, height: int, number: int) -> np.ndarray:
    """Frames of the demo's first shot at any size: float32 [number, height, width, 3] in [0, 1]."""
    shot = demo.Shot(seed=1)
    method = cv2.INTER_AREA if width < demo.WIDTH else cv2.INTER_CUBIC
    frames = [cv2.resize(shot.frame(index), (width, height), interpolation=method) for index in range(number)]
    return np.stack(frames).astype(np.float32) / 255


def time_interleaved(
    calls: Sequence[Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> tuple[list[float], list[float]]:
    """Median seconds of each call over `rounds` rounds in turn, and the seconds of the first call of each
    (compilation)."""
    first = medians_in_turn(calls, 1, clock)
    return medians_in_turn(calls, rounds, clock), first


def medians_in_turn(calls: Sequence[Callable[[], object]], rounds: int, clock: Clock) -> list[float]:
    """Median seconds of each call over `rounds` rounds in turn; each has to be compiled already."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for spent, call in zip(seconds, calls, strict=True):
            start = clock()
            jax.block_until_ready(call())
            spent.append(clock() - start)
    return [statistics.median(spent) for spent in seconds]


def _choose(
    axes: Mapping[str, Sequence[int]],
    start: Setting,
    packed: Callable[[Setting], Callable[[], object]],
    dense: Callable[[], object],
    share: float,
    num_frame: int,
    rounds: int,
    clock: Clock,
) -> Result:
    """Search by packed execution, one axis at a time from `start`; then the best setting against dense execution.

    The axes are apart: how many patches run together at one scale changes nothing at another.

    Args:
      axes: values to try, by name.
      start: the network's own value of each name, also of those that are not searched.
      packed: setting -> a call that is timed.
      dense: such a call.
      share: what `Choice.share` says.
      num_frame: frames that a call makes.
      rounds, clock: as above.
    """
    settings = [dict(start)]
    settings += [{**start, axis: n} for axis, values in axes.items() for n in values if n != start[axis]]
    calls = [packed(setting) for setting in settings]
    seconds, _ = time_interleaved(calls, SEARCH_ROUNDS, clock)
    timings = [
        Timing(f"packed, {_words(setting)}", 1e3 * spent / num_frame)
        for setting, spent in zip(settings, seconds, strict=True)
    ]
    best = dict(start)
    for axis in axes:
        alone = [i for i, setting in enumerate(settings) if all(setting[k] == start[k] for k in start if k != axis)]
        best[axis] = settings[min(alone, key=lambda i: seconds[i])][axis]

    is_timed = best in settings
    call = calls[settings.index(best)] if is_timed else packed(best)
    spent, _ = time_interleaved([dense, call], rounds, clock)
    dense_milliseconds, packed_milliseconds = (1e3 * one / num_frame for one in spent)
    timings.append(Timing("dense", dense_milliseconds))
    timings.append(Timing(f"packed, {_words(best)}{', again' if is_timed else ''}", packed_milliseconds))
    execution = "packed" if packed_milliseconds <= dense_milliseconds else "dense"
    choice = Choice(execution, tuple(best.values()), share, packed_milliseconds, dense_milliseconds)
    return Result(tuple(timings), choice)


def _words(setting: Setting) -> str:
    """{"tiles": 4} -> "4 tiles together"; of scales, "2, 1, 1 patches together"."""
    what = "tiles" if "tiles" in setting else "patches"
    return f"{', '.join(map(str, setting.values()))} {what} together"


def _is_cpu(device: jax.Device | None) -> bool:
    return (device or jax.devices()[0]).platform == "cpu"


@functools.partial(jax.jit, static_argnums=0)
def _routed(model, variables, clip, given, route):
    large, aux = model.apply(variables, clip, None, route, "packed", motion=given)
    return jnp.clip(large, 0.0, 1.0), aux["scores"]  # the gates' answers, so that their work is done


@functools.partial(jax.jit, static_argnums=0)
def _static(model, variables, clip, given):
    return jnp.clip(model.apply(variables, clip, motion=given)[0], 0.0, 1.0)
