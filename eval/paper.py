"""A paper's table from one command: what is measured here beside what was published.

    python -m eval.paper cain_sd-1
    python -m eval.paper skipvsr-2 --data RECORDS --weights skipvsr.safetensors --format latex --out table2.tex
    python -m eval.paper cain_sd-3 --data RECORDS --weights published-lambda-5e9-5e12=a.safetensors
    python -m eval.paper cain_sd-2 --timing

Scores need the benchmark and weights; what is missing is told with where to get it. Costs are counted without either,
at the published shares where a network decides by what it sees.
"""

import argparse
import ast
import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from flax import linen as nn

from configs import cain_sd, skipvsr
from eval import costs, latency, published, tables
from eval.paper_tables import SIZES, SMALL, TABLES, Line, PaperTable
from eval.records import Row
from jaxdyn import models, routing
from jaxdyn.errors import UserError
from jaxdyn.models.cain_sd import CainSD

CONFIGS = {"cain_sd": cain_sd, "skipvsr": skipvsr}


def main(argv: Sequence[str] | None = None) -> int:
    """Print one table, or write it. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    table = TABLES[arguments.name]
    try:
        rows = counted(table, arguments.size, dict(arguments.fields))
        text = shown(arguments.name, rows, arguments.format)
        if arguments.out:
            _write(Path(arguments.out), text)
        else:
            print(text, end="")
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


# Rows


def printed(table: PaperTable) -> list[Row]:
    """The published rows of a table."""
    if not table.citations:
        return []
    rows = published.rows(*table.citations, benchmarks=table.benchmarks)
    rows = [row for row in rows if not table.published or row.method in table.published]
    distinct = {}  # a point that two tables print is shown once
    for row in rows:
        distinct.setdefault((row.benchmark, row.method, row.point), row)
    return list(distinct.values())


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a line of a table takes on one benchmark."""

    benchmark: str
    method: str
    point: str
    work: costs.Work


def counted(table: PaperTable, size: costs.Size | None = None, fields: Mapping[str, Any] | None = None) -> list[Row]:
    """What each line of a table costs, for each benchmark.

    Args:
      table: which.
      size: (W, H) of the input in pixels; the papers' by default.
      fields: of the networks, that differ from the published ones.
    """
    return [_row(entry) for entry in _entries(table, size, fields or {}, _as_counted)]


def timed(
    table: PaperTable,
    size: costs.Size | None = None,
    fields: Mapping[str, Any] | None = None,
    rounds: int = 3,
    frames: int = 5,
) -> list[Row]:
    """What each line takes on this machine with random weights, executed packed, everything included.

    Args:
      table, size, fields: as of `counted`.
      rounds: interleaved repetitions, of which the median counts.
      frames: of a clip, for super-resolution.
    """
    entries = _entries(table, size, fields or {}, functools.partial(_as_executed, frames=frames))
    spent: dict[costs.Work, tuple[float, float]] = {}
    for at in dict.fromkeys(entry.work.size for entry in entries):
        works = list(dict.fromkeys(entry.work for entry in entries if entry.work.size == at))
        times, dense = latency.milliseconds(works, rounds, frames)
        spent |= {work: (own, dense) for work, own in zip(works, times, strict=True)}
    platform = jax.default_backend()
    rows = []
    for entry in entries:
        own, dense = spent[entry.work]
        rows.append(
            dataclasses.replace(_row(entry), milliseconds={platform: own}, dense_milliseconds={platform: dense})
        )
    return rows


def _entries(
    table: PaperTable,
    size: costs.Size | None,
    fields: Mapping[str, Any],
    works: Callable[[Line, nn.Module, costs.Size, Row | None], Iterable[tuple[str, str, costs.Work]]],
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


def network(table: PaperTable, line: Line, fields: Mapping[str, Any]) -> nn.Module:
    """The network of a line, as its configuration has it."""
    config = CONFIGS[table.config].get_config(line.variant or "published")
    return models.build(config.name, **{**config.model.to_dict(), **fields, **line.fields})


def _published_cost(table: PaperTable, line: Line, benchmark: str) -> Row | None:
    """The published row whose cost a line is counted by."""
    citations = (table.costs,) if table.costs else table.citations
    for name in (line.point, line.way):
        for row in published.rows(*citations) if citations else ():
            if (row.method, row.point, row.benchmark) == (line.method, name, benchmark):
                return row
    return None


def _as_counted(
    line: Line, model: nn.Module, size: costs.Size, like: Row | None
) -> Iterator[tuple[str, str, costs.Work]]:
    """Method, point and cost of a line, as its paper counts, and of what that leaves out."""
    if isinstance(model, CainSD):
        yield from _as_executed(line, model, size, like)
        return
    part = _part(line, model, like)
    if part is not None:
        note = "the blocks that the published multiply-adds imply; " if line.runs == "published" else ""
        note += "SpyNet, gates and overlap are not counted, as in the paper"
        yield line.method, line.point, costs.counted(model, size, part, note)
    if line.runs == "dense" and (flows := costs.flows(model, size)):
        yield "SpyNet", "both flows", flows


def _as_executed(
    line: Line, model: nn.Module, size: costs.Size, like: Row | None, frames: int = 1
) -> Iterator[tuple[str, str, costs.Work]]:
    """Method, point and cost of a line, everything included, and the Route that takes it."""
    if isinstance(model, CainSD):
        share = {"cheapest": 0.0, "dearest": math.inf}.get(line.runs, like and like.share)
        if line.runs == "dense":
            yield line.method, line.point, costs.dense_cain(model, size)
        elif share is not None:
            yield line.method, line.point, costs.cain_sd(model, size, share)
    elif line.runs == "dense":
        yield line.method, line.point, costs.dense_basicvsr(model, size)
    elif line.runs == "half":
        yield line.method, line.point, costs.policy(model, size, frames, line.way)
    elif (part := _part(line, model, like)) is not None:
        yield line.method, line.point, costs.skipvsr(model, size, frames, part)


def _part(line: Line, model: nn.Module, like: Row | None) -> float | None:
    """The part of the blocks that a line runs; None where the paper does not tell."""
    if line.runs == "half":
        return float(routing.skip_policy(line.way, model.num_block).mean())
    if line.runs == "published":
        return costs.blocks_of(like.multiply_adds) if like and like.multiply_adds else None
    return 1.0


def _row(entry: Entry) -> Row:
    work = entry.work
    return Row(
        entry.benchmark,
        entry.method,
        entry.point,
        size=work.size,
        flops=work.cost.flops,
        multiply_adds=work.cost.multiply_adds,
        share=work.cost.share(work.dense),
        parameters=work.parameters,
        notes=(work.note,) if work.note else (),
    )


# Text


def shown(name: str, rows: Sequence[Row], form: tables.Form) -> str:
    """A table's rows and the published ones as text.

    Args:
      name: of the table.
      rows: what was measured or counted.
      form: of the text.
    """
    table = TABLES[name]
    rows = [*rows, *printed(table)]
    title = f"{name}: {table.title}"
    if form in ("csv", "json"):
        return tables.render(rows, form)
    if table.is_across:
        return tables.render_across(rows, form, title)
    by_benchmark = [[row for row in rows if row.benchmark == benchmark] for benchmark in table.benchmarks]
    return "\n".join(tables.render(part, form, title) for part in by_benchmark)


# The command line


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); name a file in a folder that is there."
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m eval.paper", description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=TABLES, metavar="NAME", help=", ".join(TABLES))
    parser.add_argument("--format", choices=("markdown", "csv", "json", "latex"), default="markdown")
    parser.add_argument("--out", metavar="FILE", help="write the table there instead of printing it")
    parser.add_argument("--size", type=_size, metavar="WxH", help="of the input; costs are counted at it")
    parser.add_argument(
        "--fields",
        type=_field,
        nargs="+",
        default=(),
        metavar="NAME=VALUE",
        help="fields of the networks that differ from the published ones",
    )
    return parser


def _size(text: str) -> costs.Size:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} must be WIDTHxHEIGHT in pixels, as in 1280x720")
    return int(width), int(height)


def _field(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


if __name__ == "__main__":
    sys.exit(main())
