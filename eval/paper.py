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
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flax import linen as nn

from configs import cain_sd, skipvsr
from eval import costs, published, tables
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


def counted(table: PaperTable, size: costs.Size | None = None, fields: Mapping[str, Any] | None = None) -> list[Row]:
    """What each line of a table costs, for each benchmark.

    Args:
      table: which.
      size: (W, H) of the input in pixels; the papers' by default.
      fields: of the networks, that differ from the published ones.
    """
    rows, done = [], {}
    for benchmark in table.benchmarks:
        at = size or SIZES.get(benchmark, SMALL)
        for line in table.lines:
            like = _published_cost(table, line, benchmark)
            key = (line.method, line.point, at, like and (like.share, like.multiply_adds))
            if key not in done:
                done[key] = list(_works(line, network(table, line, fields or {}), at, like))
            rows += [_row(benchmark, method, point, work) for method, point, work in done[key]]
    return rows


def network(table: PaperTable, line: Line, fields: Mapping[str, Any]) -> nn.Module:
    """The network of a line, as its configuration has it."""
    config = CONFIGS[table.config].get_config(line.variant or "published")
    return models.build(config.name, **{**config.model.to_dict(), **line.fields, **fields})


def _published_cost(table: PaperTable, line: Line, benchmark: str) -> Row | None:
    """The published row whose cost a line is counted by."""
    citations = (table.costs,) if table.costs else table.citations
    for name in (line.point, line.way):
        for row in published.rows(*citations) if citations else ():
            if (row.method, row.point, row.benchmark) == (line.method, name, benchmark):
                return row
    return None


def _works(line: Line, model: nn.Module, size: costs.Size, like: Row | None) -> Iterator[tuple[str, str, costs.Work]]:
    """Method, point and cost of a line, as a paper counts it, and of what it leaves out."""
    if not line.runs:
        return
    if isinstance(model, CainSD):
        if line.runs == "dense":
            yield line.method, line.point, costs.dense_cain(model, size)
            return
        share = {"cheapest": 0.0, "dearest": math.inf}.get(line.runs, like and like.share)
        if share is not None:
            yield line.method, line.point, costs.cain_sd(model, size, share)
    elif line.runs == "published":
        if like is not None and like.multiply_adds:
            part = costs.blocks_of(like.multiply_adds)
            note = f"{part:.1%} of the blocks, which the published multiply-adds imply; without SpyNet, gates, overlap"
            yield line.method, line.point, costs.counted(model, size, part, note)
    else:
        part = float(routing.skip_policy(line.way, model.num_block).mean()) if line.runs == "half" else 1.0
        note = f"{part:.0%} of the blocks; without SpyNet, gates, overlap"
        yield line.method, line.point, costs.counted(model, size, part, note)
        if line.runs == "dense" and (flows := costs.flows(model, size)):
            yield "SpyNet", "both flows", flows


def _row(benchmark: str, method: str, point: str, work: costs.Work) -> Row:
    return Row(
        benchmark,
        method,
        point,
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
