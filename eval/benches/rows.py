"""Plans, the rows that timing makes of them, and their tables.

    e = (dense time / packed time) / (dense FLOPs / executed FLOPs)

is the part of the saved work that becomes saved time: 1 is all of it.
"""

import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxdyn import pretrained
from jaxdyn.bench import time_interleaved
from jaxdyn.types import Cost

PRECISIONS = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is timed: its name, what it costs, and a call that gives arrays."""

    name: str
    cost: Cost
    call: Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Plans:
    """What is timed in turn, the dense network first; `per` frames are made by each call."""

    plans: tuple[Plan, ...]
    per: int = 1

    @property
    def dense(self) -> Cost:
        """The dense network's cost."""
        return self.plans[0].cost


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. Times in seconds, medians, of a frame; shares and e against the dense network.

    Attributes:
      name: of the plan.
      seconds, gflops: of a frame; GFLOPs as executed.
      share: executed FLOPs of the dense network's.
      speedup: how many times as fast as the dense network.
      efficiency: e; None for the dense network.
      gflops_per_second: of executed FLOPs.
      compile_seconds: of the first call, beyond a later one.
      of_peak: `gflops_per_second` as a share of the device's measured matrix product; None: not measured.
      peak_bytes: memory of a process that does nothing else, or of its device; None: not measured.
    """

    name: str
    seconds: float
    gflops: float
    share: float
    speedup: float
    efficiency: float | None
    gflops_per_second: float
    compile_seconds: float
    of_peak: float | None = None
    peak_bytes: int | None = None


def measure(plans: Plans, rounds: int) -> list[Row]:
    """Times all plans in turn: seconds and FLOPs of one frame."""
    seconds, first = time_interleaved([plan.call for plan in plans.plans], rounds)
    rows = []
    for plan, spent, begun in zip(plans.plans, seconds, first, strict=True):
        share, speedup = plan.cost.share(plans.dense), seconds[0] / spent
        rows.append(
            Row(
                name=plan.name,
                seconds=spent / plans.per,
                gflops=plan.cost.flops / plans.per / 1e9,
                share=share,
                speedup=speedup,
                efficiency=speedup * share if rows else None,
                gflops_per_second=plan.cost.flops / spent / 1e9,
                compile_seconds=max(begun - spent, 0.0),
            )
        )
    return rows


def in_turn(calls: Mapping[str, Callable[[], float]], rounds: int, pause: float = 0.0) -> dict[str, float]:
    """The median of what each call says it took, s; every call once a round, a pause (s) before each."""
    seconds = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(pause)
            seconds[name].append(call())
    return {name: statistics.median(spent) for name, spent in seconds.items()}


def seconds_of(call: Callable[[], Any]) -> float:
    """What a call takes until what it gives is there, s."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def drawn_variables(model: nn.Module, seed: int = 0) -> dict[str, Any]:
    """Random parameters of a network, small enough that nothing grows: what times do not depend on.

    They are made on the host: to compile a large network's own initialisation takes longer than to run it.
    """
    random = np.random.default_rng(seed)

    def one(leaf):
        bound = math.prod(leaf.shape[-4:-1]) ** -0.5  # of a kernel's window and inputs
        return (random.random(leaf.shape, np.float32) * 2 - 1) * np.float32(bound)

    return {"params": jax.tree.map(one, pretrained.parameter_shapes(model))}


def cast(variables: Mapping[str, Any], precision: str) -> Mapping[str, Any]:
    """Parameters in a precision: convolutions multiply in that of their kernels.

    Raises:
      ValueError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision (={precision!r}) must be one of {', '.join(PRECISIONS)}")
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, precision), variables)


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown; what was not measured is left out."""
    has_peak, has_memory = (any(getattr(row, name) is not None for row in rows) for name in ("of_peak", "peak_bytes"))
    titles = ["execution", "s a frame", "GFLOPs", "share of dense", "times as fast", "e", "GFLOP/s", "compile s"]
    titles += ["of peak"] * has_peak + ["memory GB"] * has_memory
    cells = []
    for row in rows:
        e = "" if row.efficiency is None else f"{row.efficiency:.2f}"
        cells.append([row.name, seconds_text(row.seconds), f"{row.gflops:.0f}", f"{row.share:.1%}"])
        cells[-1] += [f"{row.speedup:.2f}", e, f"{row.gflops_per_second:.0f}", f"{row.compile_seconds:.1f}"]
        cells[-1] += ["" if row.of_peak is None else f"{row.of_peak:.0%}"] * has_peak
        cells[-1] += ["" if row.peak_bytes is None else f"{row.peak_bytes / 1e9:.2f}"] * has_memory
    return markdown(titles, cells)


def markdown(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(line)} |" for line in cells)])


def seconds_text(seconds: float) -> str:
    """To a millisecond; short times to a microsecond."""
    return f"{seconds:.3f}" if seconds >= 0.1 else f"{seconds:.6f}"


def record(row: Any) -> dict[str, Any]:
    """A row of any kind as JSON values, its seconds as milliseconds too."""
    values = dataclasses.asdict(row)
    if values.get("seconds") is not None:
        values["milliseconds"] = 1e3 * values["seconds"]
    return values


def write_json(path: str, content: Any) -> None:
    """Writes plain values to a file."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
