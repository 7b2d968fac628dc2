"""What the papers print, as records that stand beside measured ones: every row of their tables, with its citation.

The figures are in `published.json`, by table as printed: a row names its method and operating point, and holds one list
of values for each benchmark (null where the paper has a dash), in the units that `COLUMNS` names. A row's share of the
dense network's FLOPs and the dense network's time follow from the dense network's row of the same paper.
"""

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval import protocols, tables
from eval.records import Row
from jaxdyn.errors import UserError

FILE = Path(__file__).with_name("published.json")

COLUMNS: dict[str, tuple[str, str, float]] = {
    "psnr": ("psnr", "", 1),
    "ssim": ("ssim", "", 1),  # its key is the paper's window
    "tflops": ("flops", "", 1e12),
    "gmacs": ("multiply_adds", "", 1e9),
    "mparameters": ("parameters", "", 1e6),
    "cpu_s": ("milliseconds", "cpu", 1e3),
    "gpu_s": ("milliseconds", "gpu", 1e3),
    "gpu_ms": ("milliseconds", "gpu", 1),
}
"""Columns of the file: the field of `Row`, the key in it where it is a mapping, and its unit."""

WINDOWS = {"CAIN-SD": "window not told", "SkipVSR": "gaussian"}
"""Keys of SSIM by paper. SkipVSR repeats the figures of the field, whose window is Gaussian."""


@dataclasses.dataclass(frozen=True)
class Statement:
    """What a paper says in words, or with a number outside of its tables.

    Attributes:
      citation: "CAIN-SD, Section 4.5".
      topic: the name of the table that it belongs to, see `eval.paper`.
      says: in this project's words.
    """

    citation: str
    topic: str
    says: str


@dataclasses.dataclass(frozen=True)
class Published:
    """The contents of the file: rows by the citation of their table, and statements."""

    tables: Mapping[str, tuple[Row, ...]]
    statements: tuple[Statement, ...]


def rows(*citations: str, benchmarks: Sequence[str] | None = None) -> list[Row]:
    """Rows of some tables, in their order.

    Args:
      *citations: "CAIN-SD, Table 1"; none: all tables.
      benchmarks: only rows of these.

    Raises:
      ValueError: a table that is not in the file.
    """
    tables = load().tables
    if unknown := [citation for citation in citations if citation not in tables]:
        raise ValueError(f"citation (={unknown[0]!r}) is not one of {'; '.join(tables)}")
    found = [row for citation in citations or tables for row in tables[citation]]
    return [row for row in found if benchmarks is None or row.benchmark in benchmarks]


def like(measured: Iterable[Row]) -> list[Row]:
    """Published rows of the same benchmarks, methods and points as those of other rows; each point once."""
    wanted = {(tables.base(row.benchmark), row.method, row.point) for row in measured}
    return distinct(row for row in rows() if (row.benchmark, row.method, row.point) in wanted)


def distinct(found: Iterable[Row]) -> list[Row]:
    """Rows without those whose benchmark, method and point an earlier one has: some tables print a point again."""
    first: dict[tuple[str, str, str], Row] = {}
    for row in found:
        first.setdefault((row.benchmark, row.method, row.point), row)
    return list(first.values())


def statements(topic: str) -> list[Statement]:
    """What the papers say of a table's subject beside its rows."""
    return [statement for statement in load().statements if statement.topic == topic]


@functools.cache
def load(path: Path = FILE) -> Published:
    """The file, read and checked.

    Raises:
      ValueError: a value, a name or a number of values that cannot be right; says where.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    notes, dense = content["notes"], content["dense"]
    tables: dict[str, tuple[Row, ...]] = {}
    for table in content["tables"]:
        citation = table["citation"]
        _require(citation not in tables, citation, "is there twice")
        _require(citation.partition(",")[0] in content["papers"], citation, "is of no paper of the file")
        tables[citation] = tuple(_rows_of(table, notes))
    known = [row for of_table in tables.values() for row in of_table]
    compared = {
        citation: tuple(_beside_dense(row, known, dense) for row in found) for citation, found in tables.items()
    }
    return Published(compared, tuple(Statement(**statement) for statement in content["statements"]))


def _rows_of(table: Mapping[str, Any], notes: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The rows of one table, benchmark by benchmark as each line is read."""
    citation, sizes, once = table["citation"], table["benchmarks"], table.get("once", [])
    for name in (*once, *table["columns"]):
        _require(name in COLUMNS, citation, f"has a column {name!r}, expected one of {', '.join(COLUMNS)}")
    for benchmark in sizes:
        try:
            protocols.named(benchmark)
        except UserError as error:
            raise ValueError(f"{FILE.name}: {citation}: {error}") from None
    found = []
    for line in table["rows"]:
        where = f"{citation}, {line['method']} {line.get('point', '')}".rstrip()
        values, common = line["values"], line.get("once", [])
        _require(len(values) == len(sizes), where, f"has {len(values)} benchmarks, expected {len(sizes)}")
        _require(len(common) == len(once), where, f"has {len(common)} values of {once}")
        for (benchmark, size), scores in zip(sizes.items(), values, strict=True):
            if scores is None:
                continue
            _require(len(scores) == len(table["columns"]), where, f"has {len(scores)} values of {table['columns']}")
            columns = dict(zip((*once, *table["columns"]), (*common, *scores), strict=True))
            fields = _fields(columns, where, citation.partition(",")[0])
            cited = []
            for key in (*table["notes"], *line.get("notes", ())):
                _require(key in notes, where, f"has a note {key!r}, which is not among the file's notes")
                cited.append(notes[key])
            said = tuple(note["says"] for note in cited if benchmark in note.get("of", [benchmark]))
            row = Row(benchmark, line["method"], line.get("point", ""), size=tuple(size), source=citation, notes=said)
            found.append(dataclasses.replace(row, **fields))
    keys = [(row.benchmark, row.method, row.point) for row in found]
    _require(len(set(keys)) == len(keys), citation, "has a row twice")
    return found


def _fields(columns: Mapping[str, Any], where: str, paper: str) -> dict[str, Any]:
    """Fields of `Row` from values in the file's columns."""
    fields: dict[str, Any] = {}
    for name, value in columns.items():
        if value is None:
            continue
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        _require(is_number and value > 0, where, f"has {name} {value!r}, expected a positive number or null")
        _require(name != "ssim" or value <= 1, where, f"has an SSIM of {value}, expected 1 at most")
        _require(name != "psnr" or 5 < value < 60, where, f"has a PSNR of {value} dB, expected 5 to 60")
        field, key, unit = COLUMNS[name]
        exact = float(f"{value * unit:.12g}")  # 4.9 million, not 4900000.000000001
        if field == "ssim":
            fields["ssim"] = {WINDOWS[paper]: value}
        elif key:
            fields.setdefault(field, {})[key] = exact
        else:
            fields[field] = round(exact) if field == "parameters" else exact
    return fields


def _beside_dense(row: Row, known: Sequence[Row], dense: Mapping[str, str]) -> Row:
    """The row with its share of the FLOPs of its dense network and that network's times, as far as they are known."""
    if row.method not in dense:
        return row
    paper = row.source.partition(",")[0]
    like = [
        other
        for other in known
        if (other.method, other.benchmark) == (dense[row.method], row.benchmark) and other.source.startswith(paper)
    ]
    if not like:
        return row
    whole = like[0]
    pairs = ((row.flops, whole.flops), (row.multiply_adds, whole.multiply_adds))
    share = next((mine / its for mine, its in pairs if mine and its), None)
    times = {key: whole.milliseconds[key] for key in row.milliseconds if key in whole.milliseconds}
    return dataclasses.replace(row, share=share, dense_milliseconds=times)


def _require(condition: bool, where: str, problem: str) -> None:
    if not condition:
        raise ValueError(f"{FILE.name}: {where} {problem}")
