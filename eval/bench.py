"""Times dense, masked and packed execution against each other: `python -m eval.bench interpolate`, or `upscale`.

`python -m eval.bench train` times a training step, whose layers and frames are loops, against the same written out.

Everything is timed in one run, interleaved, and medians are compared, because machines are noisy. The dense network is
the static one of the same widths on the whole frame, jitted by itself. A Route at a share of its FLOPs is made by hand
(`route_at_share`); motion, finders, CARN-M and merging run all the same and count.

    e = (dense time / packed time) / (dense FLOPs / executed FLOPs)

is the part of the saved work that becomes saved time: 1 is all of it.
"""

import contextlib
import dataclasses
import functools
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax import lax

from jaxdyn import flops, models
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.models.skipvsr import SkipVSR
from jaxdyn.ops import conv
from jaxdyn.types import BlockRoute, Cost, Route, Stage
from train import feeds, stages, step

LADDER = ((2, 1), (2, 3), (2, 5), (1, 1), (1, 3), (1, 5), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5))
"""(scale, depth), from the cheapest to the dearest: what patches of rising difficulty get."""

SIZES = {"interpolate": "1280x720", "upscale": "320x180", "train": "64x64"}
SHARES = {"interpolate": (0.75, 0.5, 0.3), "upscale": (0.78, 0.63, 0.43)}
"""What the papers measure at: sizes of the input, shares of the dense FLOPs."""

_SIZE = flags.DEFINE_string("size", None, f"WIDTHxHEIGHT of the input frames, in pixels; default {SIZES}.")
_SHARES = flags.DEFINE_list("shares", None, f"Shares of the dense FLOPs for packed execution; default {SHARES}.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Interleaved rounds; medians are printed.")
_FEATURES = flags.DEFINE_integer("num_feat", None, "Features of the network; default as published.")
_BLOCKS = flags.DEFINE_integer(
    "num_block", None, "Blocks of a residual group, or of a direction; default as published."
)
_MASKED = flags.DEFINE_bool("masked", False, "Time masked execution too (slow: it computes everything).")
_JSON = flags.DEFINE_string("json", None, "Write the rows to this file as well.")
_ROUTES = flags.DEFINE_list(
    "routes", ["mixed", "depth"], "interpolate: how Routes reach a share, 'mixed' scales and depths, or 'depth' alone."
)
_CHUNKS = flags.DEFINE_list("chunks", None, "interpolate: patches side by side at scale 1, 1/2, 1/4.")
_FRAMES = flags.DEFINE_integer("frames", None, "upscale, train: frames of the clip; default 10, or 5 for train.")
_BATCH = flags.DEFINE_integer("batch", 1, "train: clips of a step.")
_TILINGS = flags.DEFINE_list("tilings", ["frame", "patches"], "upscale: tiles of the whole frame, or patches.")
_PARALLEL = flags.DEFINE_integer("parallel", None, "upscale: tiles side by side.")
_TILE = flags.DEFINE_integer("tile", None, "upscale: side of a tile, in pixels.")

FIELDS = {
    "interpolate": {"num_feat": _FEATURES, "num_block": _BLOCKS},
    "upscale": {"num_feat": _FEATURES, "num_block": _BLOCKS, "parallel": _PARALLEL, "tile": _TILE},
    "train": {"num_feat": _FEATURES, "num_block": _BLOCKS},
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. Times in seconds, medians; shares and e against the dense network."""

    name: str
    seconds: float
    gflops: float
    share: float
    speedup: float
    efficiency: float | None
    gflops_per_second: float
    compile_seconds: float


def route_at_share(model: CainSD, height: int, width: int, share: float, is_mixed: bool) -> Route:
    """A Route whose executed cost is as near to a share of the dense FLOPs as the grid allows.

    Patches get a difficulty, evenly spread over them in a fixed random order; one shift, found by search, turns
    it into steps of `LADDER` (`is_mixed`) or into depths at full scale.
    """
    dense = flops.dense_cain(model, height, width)
    shape = (1, *model.grid(height, width).shape)
    num_patch = int(np.prod(shape))
    difficulty = np.random.RandomState(0).permutation(num_patch) / max(num_patch - 1, 1)
    ladder = np.array(LADDER if is_mixed else [(0, d) for d in range(1, model.num_group + 1)])

    def at(shift: float) -> Route:
        steps = np.clip(np.round(len(ladder) * (difficulty + shift)), 0, len(ladder) - 1).astype(int)
        scale, depth = ladder[steps].T.astype(np.int32)
        return Route(scale.reshape(shape), np.minimum(depth, model.num_group).reshape(shape))

    def miss(shift: float) -> float:
        return abs(flops.route_cost(model, at(shift), height, width).share(dense) - share)

    near = min(np.linspace(-1, 1, 51), key=miss)
    return at(min(np.linspace(near - 0.05, near + 0.05, 41), key=miss))


def time_interleaved(calls: Sequence[Callable[[], object]], rounds: int) -> tuple[list[float], list[float]]:
    """Median seconds of each call over `rounds` rounds in turn, and the seconds of the first call of each
    (compilation)."""
    first = []
    for call in calls:
        start = time.perf_counter()
        jax.block_until_ready(call())
        first.append(time.perf_counter() - start)
    seconds = [[] for _ in calls]
    for _ in range(rounds):
        for spent, call in zip(seconds, calls, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(call())
            spent.append(time.perf_counter() - start)
    return [statistics.median(spent) for spent in seconds], first


def interpolate(
    width: int,
    height: int,
    shares: Sequence[float],
    kinds: Sequence[str],
    rounds: int,
    has_masked: bool = False,
    **overrides,
) -> list[Row]:
    """Dense CAIN against CAIN-SD at some shares of its FLOPs, random weights and frames.

    Args:
      width, height: of the frames, in pixels.
      shares: of the dense FLOPs.
      kinds: "mixed" or "depth", see `route_at_share`.
      rounds: interleaved repetitions.
      has_masked: whether masked execution is timed as well.
      **overrides: fields of `CainSD`.
    """
    model = models.build("cain_sd", **overrides)
    sizes = {name: getattr(model, name) for name in ("num_feat", "num_group", "num_block", "reduction")}
    static = models.build("cain", **sizes)
    frames = jnp.asarray(np.random.RandomState(0).rand(2, 1, height, width, 3), jnp.float32)
    variables = jax.jit(model.init)(jax.random.key(0), *models.example_arguments(model))
    static_variables = {"params": variables["params"]["cain"]}

    @jax.jit
    def dense(v, a, b):
        return static.apply(v, a, b)[0]

    @functools.partial(jax.jit, static_argnums=4)
    def dynamic(v, a, b, route, execution):
        frame, aux = model.apply(v, a, b, None, route, execution)
        return frame, aux["scale_logits"], aux["depth_logits"]  # the finders' answers, so that their work is done

    dense_cost = flops.dense_cain(model, height, width)
    plans: list[tuple[str, Cost, Callable]] = [("dense CAIN", dense_cost, lambda: dense(static_variables, *frames))]
    for kind in kinds:
        for share in shares:
            route = route_at_share(model, height, width, share, kind == "mixed")
            cost = flops.route_cost(model, route, height, width)
            route = jax.device_put(route)
            call = functools.partial(lambda r: dynamic(variables, *frames, r, "packed"), route)
            plans.append((f"packed, {kind} Route at {share:.0%}", cost, call))
    if has_masked:
        cost = flops.masked_cost(model, height, width)
        plans.append(("masked", cost, functools.partial(lambda r: dynamic(variables, *frames, r, "masked"), route)))

    return _rows(plans, dense_cost, rounds)


def blocks_at_share(model: SkipVSR, time: int, height: int, width: int, share: float, seed: int = 0) -> BlockRoute:
    """A Route whose executed cost is as near to a share of the dense FLOPs as whole tiles allow.

    Each tile of each frame gets a difficulty at random, and each of its blocks runs with a chance that grows with it:
    different tiles run in every block, as gates decide.
    """
    shape = (1, 2, time, model.num_block, *model.grid(height, width).shape)
    random = np.random.RandomState(seed)
    ease = 0.5 * random.rand(*shape[:3], 1, *shape[4:]) + 0.5 * random.rand(*shape)
    dense = flops.dense_basicvsr(model, height, width).flops * time

    def at(part: float) -> BlockRoute:
        return BlockRoute(ease <= np.quantile(ease, part) if part > 0 else np.zeros(shape, bool))

    def miss(part: float) -> float:
        cost = flops.block_route_cost(model, at(part), height, width)
        return abs(cost.flops / dense - share)

    near = min(np.linspace(0, 1, 21), key=miss)
    return at(float(min(np.clip(np.linspace(near - 0.05, near + 0.05, 21), 0, 1), key=miss)))


def upscale(
    width: int,
    height: int,
    time: int,
    shares: Sequence[float],
    tilings: Sequence[str],
    rounds: int,
    has_masked: bool = False,
    **overrides,
) -> list[Row]:
    """Dense BasicVSR against SkipVSR at some shares of its FLOPs, random weights and frames; seconds of a frame.

    Args:
      width, height: of the small frames, in pixels.
      time: frames of the clip.
      shares: of the dense FLOPs, SpyNet included on both sides.
      tilings: "frame" or "patches".
      rounds: interleaved repetitions.
      has_masked: whether masked execution is timed as well.
      **overrides: fields of `SkipVSR`.
    """
    networks = [models.build("skipvsr", **overrides, tiling=tiling) for tiling in tilings]
    sizes = {name: getattr(networks[0], name) for name in ("num_feat", "num_block", "num_hr", "motion")}
    static = models.build("basicvsr", **sizes)
    clip = jnp.asarray(np.random.RandomState(0).rand(1, time, height, width, 3), jnp.float32)
    variables = jax.jit(networks[0].init)(jax.random.key(0), jnp.zeros((1, 1, 8, 8, 3)))
    static_variables = {"params": {k: v for k, v in variables["params"].items() if not k.startswith("gate_")}}

    @jax.jit
    def dense(v, x):
        return static.apply(v, x)[0]

    @functools.partial(jax.jit, static_argnums=(0, 4))
    def dynamic(model, v, x, route, execution):
        large, aux = model.apply(v, x, 0.0, route, execution)
        return large, aux["scores"]  # the gates' answers, so that their work is done

    dense_cost = Cost(tuple(_times(stage, time) for stage in flops.dense_basicvsr(static, height, width).stages))
    plans: list[tuple[str, Cost, Callable]] = [("dense BasicVSR", dense_cost, lambda: dense(static_variables, clip))]
    for model in networks:
        for share in shares:
            route = blocks_at_share(model, time, height, width, share)
            cost = flops.block_route_cost(model, route, height, width)
            call = functools.partial(
                lambda m, r: dynamic(m, variables, clip, r, "packed"), model, jax.device_put(route)
            )
            plans.append((f"packed, {model.tiling} at {share:.0%}", cost, call))
        if has_masked:
            full = BlockRoute(np.ones_like(route.blocks))
            cost = flops.block_route_cost(model, full, height, width)
            call = functools.partial(
                lambda m, r: dynamic(m, variables, clip, r, "masked"), model, jax.device_put(route)
            )
            plans.append((f"masked, {model.tiling}", cost, call))
    return _rows(plans, dense_cost, rounds, per=time)


@dataclasses.dataclass(frozen=True)
class StepRow:
    """One form of a training step. Times in seconds, medians; `ratio` to the fastest form that is written out."""

    name: str
    seconds: float
    ratio: float
    compile_seconds: float


def train(width: int, height: int, time: int, batch: int, rounds: int, **overrides) -> list[StepRow]:
    """A step of BasicVSR's training, SpyNet included, as it is against the same without loops; random data.

    Without loops every block of every frame has its own code. It is timed with the gradient of `ops.conv`, and with
    XLA's own, which is slow in loops alone.

    Args:
      width, height: of the small frames, in pixels.
      time: frames of a clip.
      batch: clips of a step.
      rounds: interleaved repetitions.
      **overrides: fields of `BasicVSR`; 10 blocks unless given.
    """
    model = models.build("basicvsr", **{"num_block": 10, **overrides})
    stage = stages.Stage("teacher", "teacher", (("", 1.0),), num_step=100, learning_rate=1e-4, batch=batch)
    random = np.random.RandomState(0)
    codes = lambda scale: random.randint(0, 256, (batch, time, scale * height, scale * width, 3), np.uint8)  # noqa: E731
    colours = {"gain": np.ones((batch, 1, 1, 1, 3), np.float32), "shift": np.zeros((batch, 1, 1, 1, 3), np.float32)}
    given = {"clip": codes(1), "target": codes(4), **colours}
    start, key = step.start(stage, feeds.initial(model, 0)), jax.random.key(0)

    def form(*contexts: Callable) -> Callable:
        with contextlib.ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context())
            compiled = jax.jit(step.make_step(model, stage)).lower(start, given, key).compile()
        return lambda: compiled(start, given, key)

    own_gradient = lambda: mock.patch.object(conv, "_convolve", conv._plain)  # noqa: E731
    forms = {
        "loops": (),
        "written out": (written_out,),
        "written out, XLA's gradient": (written_out, own_gradient),
    }
    seconds, first = time_interleaved(
        [_when_called(functools.partial(form, *parts)) for parts in forms.values()], rounds
    )
    best = min(seconds[1:])
    return [
        StepRow(name, spent, spent / best, begun - spent)
        for name, spent, begun in zip(forms, seconds, first, strict=True)
    ]


@contextlib.contextmanager
def written_out() -> Iterator[None]:
    """Within it, `lax.scan` and `lax.map` are traced turn by turn, so that no loop is left."""

    def scan(turn, state, given, length=None, reverse=False):
        number = jax.tree.leaves(given)[0].shape[0] if length is None else length
        order, outputs = range(number), [None] * number
        for index in reversed(order) if reverse else order:
            state, outputs[index] = turn(state, jax.tree.map(lambda leaf, index=index: leaf[index], given))
        return state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)

    def each(function, given):
        return scan(lambda state, one: (state, function(one)), None, given)[1]

    with mock.patch.multiple(lax, scan=scan, map=each):
        yield


def _when_called(make: Callable[[], Callable]) -> Callable:
    """A function that is made when it is first called, so that making it is timed as compilation."""
    made = functools.cache(make)
    return lambda: made()()


def step_table(rows: Sequence[StepRow]) -> str:
    """The rows as Markdown."""
    lines = ["| form | s a step | of the faster without loops | compile s |", "|---|---|---|---|"]
    lines += [f"| {row.name} | {row.seconds:.3f} | {row.ratio:.2f} | {row.compile_seconds:.1f} |" for row in rows]
    return "\n".join(lines)


def _times(stage: Stage, times: float) -> Stage:
    return dataclasses.replace(stage, times=stage.times * times)


def _rows(plans: Sequence[tuple[str, Cost, Callable]], dense_cost: Cost, rounds: int, per: int = 1) -> list[Row]:
    """Time all plans, the dense one first; seconds and FLOPs of one of `per` frames."""
    seconds, first = time_interleaved([call for *_, call in plans], rounds)
    rows = []
    for (name, cost, _), spent, begun in zip(plans, seconds, first, strict=True):
        share, speedup = cost.share(dense_cost), seconds[0] / spent
        rows.append(
            Row(
                name,
                spent / per,
                cost.flops / per / 1e9,
                share,
                speedup,
                speedup * share if rows else None,
                cost.flops / spent / 1e9,
                max(begun - spent, 0.0),
            )
        )
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| execution | s a frame | GFLOPs | share of dense | times as fast | e | GFLOP/s | compile s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        e = "" if row.efficiency is None else f"{row.efficiency:.2f}"
        lines.append(
            f"| {row.name} | {row.seconds:.3f} | {row.gflops:.0f} | {row.share:.1%} | {row.speedup:.2f} | {e} "
            f"| {row.gflops_per_second:.0f} | {row.compile_seconds:.1f} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    """Print the table of what is named on the command line."""
    if len(argv) != 2 or argv[1] not in SIZES:
        raise app.UsageError(f"name what to time: `python -m eval.bench` {' | '.join(SIZES)}, got {argv[1:]}")
    job = argv[1]
    width, height = map(int, (_SIZE.value or SIZES[job]).split("x"))
    shares = [float(s) for s in _SHARES.value or SHARES.get(job, ())]
    overrides = {name: flag.value for name, flag in FIELDS[job].items() if flag.value is not None}
    if job == "interpolate":
        if _CHUNKS.value:
            overrides["chunks"] = tuple(map(int, _CHUNKS.value))
        rows = interpolate(width, height, shares, _ROUTES.value, _ROUNDS.value, _MASKED.value, **overrides)
        what = f"{width}x{height}, chunks {overrides.get('chunks', CainSD.chunks)}"
    elif job == "upscale":
        time, tilings = _FRAMES.value or 10, _TILINGS.value
        rows = upscale(width, height, time, shares, tilings, _ROUNDS.value, _MASKED.value, **overrides)
        what = f"{time} frames of {width}x{height}, {overrides.get('parallel', SkipVSR.parallel)} tiles together"
    else:
        time = _FRAMES.value or 5
        rows = train(width, height, time, _BATCH.value, _ROUNDS.value, **overrides)
        what = f"a step on {_BATCH.value} x {time} frames of {width}x{height}"
    device = jax.devices()[0]
    print(
        f"{what}, {device.device_kind} on {platform.machine()}, JAX {metadata.version('jax')}, "
        f"medians of {_ROUNDS.value} interleaved rounds"
    )
    print(step_table(rows) if job == "train" else table(rows))
    if _JSON.value:
        with open(_JSON.value, "w") as file:
            json.dump([dataclasses.asdict(row) for row in rows], file, indent=1)


if __name__ == "__main__":
    app.run(main)
