"""Times dense, masked and packed execution against each other: `python -m eval.bench interpolate`.

Everything is timed in one run, interleaved, and medians are compared, because machines are noisy. The dense network is
the static one of the same widths on the whole frame, jitted by itself. A Route at a share of its FLOPs is made by hand
(`route_at_share`); motion, finders, CARN-M and merging run all the same and count.

    e = (dense time / packed time) / (dense FLOPs / executed FLOPs)

is the part of the saved work that becomes saved time: 1 is all of it.
"""

import dataclasses
import functools
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from jaxdyn import flops, models
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.types import Cost, Route

LADDER = ((2, 1), (2, 3), (2, 5), (1, 1), (1, 3), (1, 5), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5))
"""(scale, depth), from the cheapest to the dearest: what patches of rising difficulty get."""

_SIZE = flags.DEFINE_string("size", "1280x720", "WIDTHxHEIGHT of the frames, in pixels.")
_SHARES = flags.DEFINE_list(
    "shares", ["0.75", "0.5", "0.3"], "Shares of the dense FLOPs at which packed execution is timed."
)
_ROUTES = flags.DEFINE_list(
    "routes", ["mixed", "depth"], "How Routes reach a share: 'mixed' scales and depths, or 'depth' alone."
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Interleaved rounds; medians are printed.")
_CHUNKS = flags.DEFINE_list("chunks", None, "Patches side by side at scale 1, 1/2 and 1/4; default the network's.")
_FEATURES = flags.DEFINE_integer("num_feat", 192, "Features of CAIN.")
_BLOCKS = flags.DEFINE_integer("num_block", 12, "Blocks of a residual group.")
_MASKED = flags.DEFINE_bool("masked", False, "Time masked execution too (slow: it computes everything).")
_JSON = flags.DEFINE_string("json", None, "Write the rows to this file as well.")


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
        return abs(flops.route_cost(model, at(shift), height, width, model.chunks).share(dense) - share)

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
    tiny = jnp.zeros((1, 64, 64, 3))
    variables = jax.jit(model.init)(jax.random.key(0), tiny, tiny)
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
            cost = flops.route_cost(model, route, height, width, chunks=model.chunks)
            route = jax.device_put(route)
            call = functools.partial(lambda r: dynamic(variables, *frames, r, "packed"), route)
            plans.append((f"packed, {kind} Route at {share:.0%}", cost, call))
    if has_masked:
        cost = flops.masked_cost(model, height, width)
        plans.append(("masked", cost, functools.partial(lambda r: dynamic(variables, *frames, r, "masked"), route)))

    seconds, first = time_interleaved([call for *_, call in plans], rounds)
    rows = []
    for (name, cost, _), spent, begun in zip(plans, seconds, first, strict=True):
        share, speedup = cost.share(dense_cost), seconds[0] / spent
        efficiency = speedup * share if len(rows) else None
        rows.append(
            Row(
                name,
                spent,
                cost.flops / 1e9,
                share,
                speedup,
                efficiency,
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
    if argv[1:] != ["interpolate"]:
        raise app.UsageError(f"name what to time: `python -m eval.bench interpolate`, got {argv[1:]}")
    width, height = map(int, _SIZE.value.split("x"))
    overrides = {"num_feat": _FEATURES.value, "num_block": _BLOCKS.value}
    if _CHUNKS.value:
        overrides["chunks"] = tuple(map(int, _CHUNKS.value))
    rows = interpolate(
        width, height, [float(s) for s in _SHARES.value], _ROUTES.value, _ROUNDS.value, _MASKED.value, **overrides
    )
    device = jax.devices()[0]
    print(
        f"{width}x{height}, {device.device_kind} on {platform.machine()}, JAX {metadata.version('jax')}, "
        f"chunks {overrides.get('chunks', CainSD.chunks)}, medians of {_ROUNDS.value} interleaved rounds"
    )
    print(table(rows))
    if _JSON.value:
        with open(_JSON.value, "w") as file:
            json.dump([dataclasses.asdict(row) for row in rows], file, indent=1)


if __name__ == "__main__":
    app.run(main)
