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
import sys
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import jax
from rich import console, progress

from eval import published, tables
from eval.arguments import parse_count, parse_list, run, say
from eval.paper import counting, scores, work
from eval.paper.declared import TABLES, PaperTable
from eval.records import Row
from jaxdyn.errors import UserError, one_line


def main(argv: Sequence[str] | None = None) -> int:
    """Print one table, or write it. Returns the exit code: 0, 2 for what the user can put right, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)

    def make(errors: console.Console) -> str:
        rows, remarks = made(arguments, errors)
        text = shown(arguments.name, rows, arguments.format)
        if arguments.format in ("csv", "json"):
            say(errors, remarks)
            return text
        return text + listed(remarks, arguments.format)

    return run(make, arguments.out)


def made(arguments: argparse.Namespace, errors: console.Console) -> tuple[list[Row], list[str]]:
    """The rows of a table but for published ones, and what is to be said of them; errors come before the work."""
    table, fields = TABLES[arguments.name], dict(arguments.fields)
    if fields:
        _check(table, fields)
    benchmarks = arguments.protocol or table.benchmarks
    given = scores.read(arguments.weights, table, benchmarks)
    samples, missing = scores.open_all(benchmarks, arguments.data, arguments.partial)
    columns = (*progress.Progress.get_default_columns(), progress.MofNCompleteColumn(), progress.TimeElapsedColumn())
    is_quiet = not (samples and errors.is_terminal)
    with progress.Progress(*columns, console=errors, transient=True, disable=is_quiet) as bar:
        task = bar.add_task(arguments.name, total=sum(map(len, samples)))
        rows = scores.measured(table, samples, given, arguments.rows, arguments.timing, lambda clip: bar.advance(task))
    # CAIN-SD's paper counts all that is executed, which rows with times tell as well; SkipVSR's leaves something out.
    if not arguments.timing or table.config == "skipvsr":
        rows += counting.counted(table, arguments.size, fields)
    remarks = [f"{said.citation}: {said.says}." for said in published.statements(arguments.name)]
    if arguments.timing:
        there = {(row.benchmark, row.method, row.point) for row in rows if row.milliseconds}
        rows += counting.timed(table, arguments.timing, arguments.frames, arguments.size, fields, there)
        device = jax.devices()[0]
        remarks.append(
            f"Times of this machine ({device.device_kind}): medians of {arguments.timing} rounds in turn with the "
            "dense network; without weights these are random."
        )
    remarks += [f"Not measured: {text}" for text in missing]
    lacking = scores.without_weights(table, benchmarks, given)
    remarks += [f"No weights: {text}" if not i else text for i, text in enumerate(lacking)]
    return rows, remarks


def _check(table: PaperTable, fields: Mapping[str, Any]) -> None:
    """Refuse fields that the networks of a table cannot have."""
    try:
        for network in {counting.network(table, line, fields) for line in table.lines}:
            work.num_parameters(network)
    except (TypeError, ValueError) as error:
        raise UserError(f"--fields: {one_line(error)}") from None


def printed(table: PaperTable) -> list[Row]:
    """The published rows of a table; a point that two tables print is there once."""
    if not table.citations:
        return []
    rows = published.rows(*table.citations, benchmarks=table.benchmarks)
    return published.distinct(row for row in rows if not table.published or row.method in table.published)


def shown(name: str, rows: Sequence[Row], form: tables.Form) -> str:
    """A table's rows and the published ones as text.

    Args:
      name: of the table.
      rows: what was measured or counted.
      form: of the text.
    """
    table, blocks = TABLES[name], blocks_of(rows)
    rows = [*rows, *printed(table)]
    title = f"{name}: {table.title}"
    if form in ("csv", "json"):
        return tables.render(rows, form)
    if table.is_across:
        return tables.render_across(rows, form, title)
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(tables.base(row.benchmark), []).append(row)
    texts = [tables.render(part, form, title) for part in parts.values()]
    if TABLES[name].has_blocks and blocks:
        texts.append(tables.render_grid(*blocks, form, "share of the tiles that each block runs on (%)"))
    return "\n".join(texts)


def blocks_of(rows: Sequence[Row]) -> tuple[dict[str, str], list[list[str]]] | None:
    """Headers and lines of how many of the tiles each block ran on, in percent (Figure 5a, SkipVSR)."""
    routed = [row for row in rows if "tiles" in row.counts]
    if not routed:
        return None
    names = list(dict.fromkeys(name for row in routed for name in row.counts if name != "tiles"))
    headers = {"Block": "l"} | {f"{row.benchmark}, {row.weights}, {row.point}": "r" for row in routed}
    share = lambda row, name: f"{100 * row.counts[name] / row.counts['tiles']:.1f}" if name in row.counts else ""  # noqa: E731
    return headers, [[name, *(share(row, name) for row in routed)] for name in names]


def listed(remarks: Sequence[str], form: tables.Form) -> str:
    """What is said below a table."""
    if not remarks:
        return ""
    return "\n" + "".join(f"% {text}\n" if form == "latex" else f"- {text}\n" for text in remarks)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m eval.paper", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("name", choices=TABLES, metavar="NAME", help=", ".join(TABLES))
    add("--data", metavar="FOLDER", help="records of train.prepare, or the unpacked archives")
    add(
        "--weights",
        type=parse_list,
        default=(),
        metavar="[VARIANT=]FILE[,...]",
        help="weights of the package by name, or files; VARIANT names the configuration that trained them",
    )
    add("--partial", action="store_true", help="score what is there of an incomplete benchmark, and say so")
    add(
        "--rows",
        type=parse_list,
        default=(),
        metavar="ROW[,ROW...]",
        help="measure these rows of eval/points.py as well",
    )
    add(
        "--protocol",
        type=parse_list,
        metavar="NAME[,NAME...]",
        help="measure by these protocols instead of the table's",
    )
    add("--format", choices=get_args(tables.Form), default="markdown")
    add("--out", metavar="FILE", help="write the table there instead of printing it")
    add(
        "--timing",
        type=parse_count,
        nargs="?",
        const=3,
        default=0,
        metavar="ROUNDS",
        help="time every line on this machine, in turn with the dense network (3 rounds)",
    )
    add("--frames", type=parse_count, default=5, metavar="N", help="of a clip that is timed (5)")
    add("--size", type=_size, metavar="WxH", help="of the input at which costs are counted, instead of the papers'")
    add(
        "--fields",
        type=_field,
        nargs="+",
        default=(),
        metavar="NAME=VALUE",
        help="fields of the counted networks that differ from the published ones",
    )
    return parser


def _size(text: str) -> work.Size:
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
