"""Rows of what needs no data: what each line of a table costs, and, on request, how long it takes here."""

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import jax
from flax import linen as nn

from configs import cain_sd, skipvsr
from eval import published
from eval.paper import latency, work
from eval.paper.declared import SIZES, SMALL, Line, PaperTable
from eval.records import Row
from jaxdyn import models, routing
from jaxdyn.models.cain_sd import CainSD

CONFIGS = {"cain_sd": cain_sd, "skipvsr": skipvsr}

Found = Iterator[tuple[str, str, work.Work]]
"""Method, point and work of a line, and of what its paper leaves out."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a line of a table takes on one benchmark."""

    benchmark: str
    method: str
    point: str
    work: work.Work

    def row(self) -> Row:
        """Its record."""
        taken = self.work
        return Row(
            self.benchmark,
            self.method,
            self.point,
            size=taken.size,
            flops=taken.cost.flops,
            multiply_adds=taken.cost.multiply_adds,
            share=taken.cost.share(taken.dense),
            parameters=taken.parameters,
            notes=(taken.note,) if taken.note else (),
        )


def counted(table: PaperTable, size: work.Size | None = None, fields: Mapping[str, Any] | None = None) -> list[Row]:
    """What each line of a table costs, for each benchmark, as its paper counts.

    Args:
      table: which.
      size: (W, H) of the input in pixels; the papers' by default.
      fields: of the networks, that differ from the published ones.
    """
    return [entry.row() for entry in _entries(table, size, fields or {}, _as_counted)]


def timed(
    table: PaperTable,
    rounds: int,
    frames: int,
    size: work.Size | None = None,
    fields: Mapping[str, Any] | None = None,
    without: Collection[tuple[str, str, str]] = (),
) -> list[Row]:
    """What each line takes on this machine with random weights, executed packed, everything included.

    Args:
      table, size, fields: as of `counted`.
      rounds: in which everything is timed in turn; medians count.
      frames: of a clip, for super-resolution.
      without: (benchmark, method, point) of rows that are not wanted.
    """
    entries = _entries(table, size, fields or {}, functools.partial(_as_executed, frames=frames))
    entries = [entry for entry in entries if (entry.benchmark, entry.method, entry.point) not in without]
    found: dict[work.Work, latency.Latency] = {}
    for at in dict.fromkeys(entry.work.size for entry in entries):
        same = list(dict.fromkeys(entry.work for entry in entries if entry.work.size == at))
        found |= latency.measure(same, rounds, frames)
    platform = jax.default_backend()
    return [
        dataclasses.replace(
            entry.row(),
            milliseconds={platform: found[entry.work].own},
            dense_milliseconds={platform: found[entry.work].dense},
            peak_memory=found[entry.work].peak_memory,
        )
        for entry in entries
    ]


def network(table: PaperTable, line: Line, fields: Mapping[str, Any]) -> nn.Module:
    """The network of a line, as its configuration has it."""
    config = CONFIGS[table.config].get_config(line.variant or "published")
    return models.build(config.name, **{**config.model.to_dict(), **fields, **line.fields})


def _entries(
    table: PaperTable,
    size: work.Size | None,
    fields: Mapping[str, Any],
    works: Callable[[Line, nn.Module, work.Size, Row | None], Iterable[tuple[str, str, work.Work]]],
) -> list[Entry]:
    """The works of all lines and benchmarks; equal ones are made once."""
    entries, done = [], {}
    for benchmark in table.benchmarks:
        at = size or SIZES.get(benchmark, SMALL)
        for line in table.lines:
            like = _published_cost(table, line, benchmark)
            key = (line.method, line.point, at, like and (like.share, like.multiply_adds))
            if key not in done:
                done[key] = list(works(line, network(table, line, fields), at, like)) if line.runs else []
            entries += [Entry(benchmark, *found) for found in done[key]]
    return entries


def _published_cost(table: PaperTable, line: Line, benchmark: str) -> Row | None:
    """The published row whose cost a line is counted by."""
    citations = (table.costs,) if table.costs else table.citations
    rows = published.rows(*citations, benchmarks=[benchmark]) if citations else []
    keys = [(line.method, name) for name in (line.point, line.way)]
    return next((row for key in keys for row in rows if (row.method, row.point) == key), None)


def _as_counted(line: Line, model: nn.Module, size: work.Size, like: Row | None) -> Found:
    """A line as its paper counts it; of CAIN-SD that is everything."""
    if isinstance(model, CainSD):
        yield from _as_executed(line, model, size, like)
        return
    part = _part(line, model, like)
    if part is not None:
        note = "the blocks that the published multiply-adds imply; " if line.runs == "published" else ""
        note += "SpyNet, gates and overlap are not counted, as in the paper"
        yield line.method, line.point, work.counted(model, size, part, note)
    if line.runs == "dense" and (flows := work.flows(model, size)):
        yield "SpyNet", "both flows", flows


def _as_executed(line: Line, model: nn.Module, size: work.Size, like: Row | None, frames: int = 1) -> Found:
    """A line with everything included, and the Route that takes it."""
    if isinstance(model, CainSD):
        share = {"cheapest": 0.0, "dearest": math.inf}.get(line.runs, like and like.share)
        if line.runs == "dense":
            yield line.method, line.point, work.dense_cain(model, size)
        elif share is not None:
            yield line.method, line.point, work.cain_sd(model, size, share)
    elif line.runs == "dense":
        yield line.method, line.point, work.dense_basicvsr(model, size)
    elif line.runs == "half":
        yield line.method, line.point, work.policy(model, size, frames, line.way)
    elif (part := _part(line, model, like)) is not None:
        yield line.method, line.point, work.skipvsr(model, size, frames, part)


def _part(line: Line, model: nn.Module, like: Row | None) -> float | None:
    """The part of the blocks that a line runs; None where the paper does not tell."""
    if line.runs == "half":
        return float(routing.skip_policy(line.way, model.num_block).mean())
    if line.runs == "published":
        return work.blocks_of(like.multiply_adds) if like and like.multiply_adds else None
    return 1.0
