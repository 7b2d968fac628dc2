"""Records as tables, for people (Markdown, LaTeX) and for programs (CSV, JSON).

A table for people has units in its headers and no column that is empty in all rows. What is the same in all rows stands
above it, notes stand below it, both FLOP conventions beside each other, milliseconds beside those of the dense network.
"""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from eval.records import MEASURED, Row

Form = Literal["markdown", "csv", "json", "latex"]

CSV_NAMES = {
    "psnr": "psnr_db",
    "size": "size_px",
    "share": "share_of_dense",
    "peak_memory": "peak_memory_bytes",
    "clips": "clip_psnr_db",
    "clips_ssim": "clip_ssim",
    "num_frame": "frames",
}
"""What CSV's header calls the fields of a record whose own name does not tell the unit."""

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "≈": r"$\approx$",
}


def render(rows: Sequence[Row], form: Form = "markdown", title: str = "") -> str:
    """Rows as one table, text that ends in a line's end.

    Rows of one benchmark, method and point stand together, the measured before the published. Of the two FLOP
    conventions one may be unknown: Markdown and LaTeX show half or twice the other after "≈". CSV has a record in a
    line, unrounded and in base units; JSON is the records.

    Args:
      rows: what to show; none gives a table without rows.
      form: of the text.
      title: above the table, or its caption; CSV and JSON have none.

    Raises:
      ValueError: another form.
    """
    return _write(rows, form, lambda rows: _by_row(beside(rows), title))


def render_across(rows: Sequence[Row], form: Form = "markdown", title: str = "") -> str:
    """As `render`, but for people every benchmark has its own column of scores.

    Rows that differ in their benchmark and scores alone are one line. SSIM is of a row's first window.
    """
    return _write(rows, form, lambda rows: _by_benchmark(rows, title))


def render_clips(rows: Sequence[Row], form: Form = "markdown", title: str = "") -> str:
    """As `render`, but for people it shows PSNR by clip, and their mean."""
    return _write(rows, form, lambda rows: _by_clip(beside(rows), title))


def render_grid(
    headers: Mapping[str, str], lines: Sequence[Sequence[str]], form: Form = "markdown", title: str = ""
) -> str:
    """A table of any text for people.

    Args:
      headers: "l" or "r" for how a column stands, by header.
      lines: cells.
      form: "markdown" or "latex".
      title: as of `render`.

    Raises:
      ValueError: another form.
    """
    if form not in ("markdown", "latex"):
        raise ValueError(f"form (={form!r}) must be 'markdown' or 'latex', which people read")
    return _write((), form, lambda _: _Sheet(title, headers, lines, (), ()))


def base(benchmark: str) -> str:
    """The benchmark that rows belong to: an incomplete one stands with the whole."""
    return benchmark.partition(",")[0]


def beside(rows: Iterable[Row]) -> list[Row]:
    """Rows with those of one benchmark, method and point next to each other, measured first; else as they came."""
    groups: dict[str, dict[tuple[str, str], list[Row]]] = {}
    for row in rows:
        groups.setdefault(base(row.benchmark), {}).setdefault((row.method, row.point), []).append(row)
    return [
        row
        for methods in groups.values()
        for group in methods.values()
        for row in sorted(group, key=lambda row: row.source != MEASURED)
    ]


# What people see


@dataclasses.dataclass(frozen=True)
class _Column:
    """A header and what stands under it for a row, "" for nothing; `is_common`: said once if all rows agree."""

    header: str
    cell: Callable[[Row], str]
    is_number: bool = True
    is_common: bool = False


@dataclasses.dataclass(frozen=True)
class _Sheet:
    """A table of text: headers with "r" or "l" for how they stand, lines, what is said above and below."""

    title: str
    headers: Mapping[str, str]
    lines: Sequence[Sequence[str]]
    above: Sequence[str]
    below: Sequence[str]


class _Notes:
    """What is said below a table: protocols, and notes of rows, numbered but for those that all rows have."""

    def __init__(self, rows: Sequence[Row]):
        self._protocols = [text for text in dict.fromkeys(row.protocol for row in rows) if text]
        found = dict.fromkeys(note for row in rows for note in row.notes)
        self._common = [note for note in found if all(note in row.notes for row in rows)]
        self._number = {note: 1 + i for i, note in enumerate(n for n in found if n not in self._common)}

    def marked(self, text: str, *rows: Row) -> str:
        """A cell with the numbers of its rows' notes."""
        numbers = sorted({self._number[note] for row in rows for note in row.notes if note in self._number})
        return f"{text} [{', '.join(map(str, numbers))}]" if numbers else text

    @property
    def lines(self) -> list[str]:
        """Protocols first, then notes."""
        return [*self._protocols, *self._common, *(f"[{number}] {note}" for note, number in self._number.items())]


def _by_row(rows: Sequence[Row], title: str) -> _Sheet:
    """One line a row."""
    notes = _Notes(rows)
    columns, above = _split(_columns(rows, lambda row: notes.marked(row.method, row)), rows)
    return _sheet(title, columns, [[column.cell(row) for column in columns] for row in rows], above, notes)


def _by_benchmark(rows: Sequence[Row], title: str) -> _Sheet:
    """One line for rows that differ in their benchmark and scores alone; of a method and point the measured first."""
    notes = _Notes(rows)
    columns = [
        column
        for column in _columns(rows, lambda row: row.method)
        if column.header != "Benchmark" and not column.header.startswith(("PSNR", "SSIM"))
    ]
    points: dict[tuple[str, str], dict[tuple[str, ...], list[Row]]] = {}
    for row in rows:
        alike = points.setdefault((row.method, row.point), {})
        alike.setdefault(tuple(column.cell(row) for column in columns), []).append(row)
    is_published = lambda group: group[0].source != MEASURED  # noqa: E731
    groups = [group for alike in points.values() for group in sorted(alike.values(), key=is_published)]

    columns, above = _split(columns, rows)
    bases = list(dict.fromkeys(base(row.benchmark) for row in rows))
    names = sorted(dict.fromkeys(row.benchmark for row in rows), key=lambda name: bases.index(base(name)))
    lines = []
    for group in groups:
        scores = {row.benchmark: _scores(row) for row in group}
        cells = [notes.marked(c.cell(group[0]), *group) if c.header == "Method" else c.cell(group[0]) for c in columns]
        lines.append(cells + [scores.get(name, "") for name in names])
    headers = {c.header: "r" if c.is_number else "l" for c in columns}
    return _Sheet(title, headers | {f"{name}: PSNR (dB) / SSIM": "r" for name in names}, lines, above, notes.lines)


def _by_clip(rows: Sequence[Row], title: str) -> _Sheet:
    """One line a row: PSNR of its clips."""
    notes, shown = _Notes(rows), ("Benchmark", "Method", "Point", "Weights", "Source", "PSNR (dB)")
    columns = [c for c in _columns(rows, lambda row: notes.marked(row.method, row)) if c.header in shown]
    columns += [
        _Column(f"{clip} (dB)", lambda row, clip=clip: _fixed(row.clips.get(clip), 2))
        for clip in _keys(row.clips for row in rows)
    ]
    columns, above = _split(columns, rows)
    return _sheet(title, columns, [[column.cell(row) for column in columns] for row in rows], above, notes)


def _columns(rows: Sequence[Row], method: Callable[[Row], str]) -> list[_Column]:
    """What of the records people read, without columns that are empty in all rows."""
    prefix, unit = _prefix(rows)
    is_mixed = any(_source(row) != MEASURED for row in rows)
    columns = [
        _Column("Benchmark", lambda row: row.benchmark, is_number=False, is_common=True),
        _Column("Method", method, is_number=False),
        _Column("Point", lambda row: row.point, is_number=False),
        _Column("Weights", lambda row: row.weights, is_number=False, is_common=True),
        _Column("Source", lambda row: _source(row) if is_mixed else "", is_number=False, is_common=True),
        _Column("PSNR (dB)", lambda row: _fixed(row.psnr, 2)),
    ]
    columns += [
        _Column(f"SSIM ({window})", lambda row, window=window: _fixed(row.ssim.get(window), 4))
        for window in _keys(row.ssim for row in rows)
    ]
    columns += [
        _Column("Input (px)", lambda row: f"{row.size[0]}x{row.size[1]}" if row.size else "", False, True),
        _Column(f"FLOPs ({unit})", lambda row: _count(row.flops, row.multiply_adds, 2, prefix)),
        _Column(f"Multiply-adds ({unit})", lambda row: _count(row.multiply_adds, row.flops, 0.5, prefix)),
        _Column("Share of dense (%)", lambda row: _fixed(row.share, 1, 0.01)),
        _Column("Parameters (M)", lambda row: _trimmed(_fixed(row.parameters, 2, 1e6))),
    ]
    for platform in _keys([*(row.milliseconds for row in rows), *(row.dense_milliseconds for row in rows)]):
        columns += _times(platform)
    columns += [
        _Column("Peak memory (MiB)", lambda row: _fixed(row.peak_memory, 0, 2**20)),
        _Column("Frames", lambda row: str(row.num_frame or ""), is_common=True),
    ]
    return [column for column in columns if any(map(column.cell, rows))]


def _times(platform: str) -> list[_Column]:
    """Milliseconds on a platform, those of the dense network, and how many times as fast as it."""

    def ratio(row: Row) -> str:
        spent, dense = row.milliseconds.get(platform), row.dense_milliseconds.get(platform)
        return _fixed(dense / spent, 2) if spent and dense else ""

    name = platform.upper()
    return [
        _Column(f"{name} (ms)", lambda row: _trimmed(_significant(row.milliseconds.get(platform)))),
        _Column(f"{name}, dense (ms)", lambda row: _trimmed(_significant(row.dense_milliseconds.get(platform)))),
        _Column(f"{name} speed-up (dense / this)", ratio),
    ]


def _split(columns: Sequence[_Column], rows: Sequence[Row]) -> tuple[list[_Column], list[str]]:
    """Columns that tell rows apart, and what is said once because all rows agree."""
    once = [c for c in columns if c.is_common and rows and len({c.cell(row) for row in rows}) == 1]
    return [c for c in columns if c not in once], [f"{c.header}: {c.cell(rows[0])}" for c in once]


def _sheet(
    title: str, columns: Sequence[_Column], lines: Sequence[Sequence[str]], above: Sequence[str], notes: _Notes
) -> _Sheet:
    return _Sheet(title, {c.header: "r" if c.is_number else "l" for c in columns}, lines, above, notes.lines)


def _source(row: Row) -> str:
    """Where a row's figures are from; of costs without scores and times nothing was measured."""
    if row.source != MEASURED:
        return f"published: {row.source}"
    return MEASURED if row.psnr is not None or row.milliseconds else "counted"


def _scores(row: Row) -> str:
    found = [_fixed(row.psnr, 2), _fixed(next(iter(row.ssim.values()), None), 4)]
    return " / ".join(filter(None, found))


def _prefix(rows: Sequence[Row]) -> tuple[float, str]:
    """One unit for both FLOP conventions of all rows, so that most have digits before the point."""
    counts = sorted(row.flops or 2 * row.multiply_adds for row in rows if row.flops or row.multiply_adds)
    middle = counts[len(counts) // 2] if counts else 1e9
    return next(((value, unit) for value, unit in _PREFIXES if middle >= value), _PREFIXES[-1])


def _count(value: float | None, other: float | None, factor: float, prefix: float) -> str:
    if value is not None or other is None:
        return _significant(value, prefix)
    return "≈ " + _significant(other * factor, prefix)


def _fixed(value: float | None, digits: int, unit: float = 1) -> str:
    return "" if value is None else f"{value / unit:.{digits}f}"


def _significant(value: float | None, unit: float = 1) -> str:
    """Four digits, and one behind the point at least."""
    if value is None or value <= 0:
        return "" if value is None else "0"
    return f"{value / unit:.{max(1, 3 - math.floor(math.log10(value / unit)))}f}"


def _trimmed(text: str) -> str:
    """A number without zeros at its end: papers print whole milliseconds, and tenths of a million parameters."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def _keys(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Keys of mappings in the order in which they first come."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


# Forms


def _write(rows: Sequence[Row], form: Form, sheet: Callable[[Sequence[Row]], _Sheet]) -> str:
    if form == "csv":
        return _csv(beside(rows))
    if form == "json":
        return json.dumps([_finite(dataclasses.asdict(row)) for row in beside(rows)], indent=1, allow_nan=False) + "\n"
    if form == "markdown":
        return _markdown(sheet(rows))
    if form == "latex":
        return _latex(sheet(rows))
    raise ValueError(f"form (={form!r}) must be 'markdown', 'csv', 'json' or 'latex'")


def _markdown(sheet: _Sheet) -> str:
    escape = lambda text: text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")  # noqa: E731
    rules = ["---:" if side == "r" else "---" for side in sheet.headers.values()]
    lines = [sheet.headers, rules, *sheet.lines]
    parts = [
        f"**{sheet.title}**\n" if sheet.title else "",
        f"{'; '.join(sheet.above)}.\n" if sheet.above else "",
        "".join(f"| {' | '.join(map(escape, line))} |\n" for line in lines) if sheet.headers else "(no rows)\n",
        "".join(f"- {line}\n" for line in sheet.below),
    ]
    return "\n".join(filter(None, parts))


def _latex(sheet: _Sheet) -> str:
    escape = lambda text: "".join(_LATEX.get(letter, letter) for letter in text)  # noqa: E731
    line = lambda cells: " & ".join(map(escape, cells)) + r" \\"  # noqa: E731
    caption = ". ".join(filter(None, [sheet.title, "; ".join(sheet.above)]))
    lines = [
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{escape(caption)}}}"] if caption else []),
        rf"\begin{{tabular}}{{{''.join(sheet.headers.values()) or 'l'}}}",
        r"\toprule",
        line(sheet.headers),
        r"\midrule",
        *map(line, sheet.lines),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {escape(note)}" for note in sheet.below),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _csv(rows: Sequence[Row]) -> str:
    """A record in a line; mappings become a column for each key, and the two FLOP conventions stay together."""
    flat = [_flat(row) for row in rows]
    keys = {key: None for field in dataclasses.fields(Row) for row in flat for key in row if key[0] == field.name}
    filled = {key for row in flat for key, value in row.items() if value not in (None, "")}
    conventions = {("flops",), ("multiply_adds",)}
    if filled & conventions:
        filled |= conventions
    names = [key for key in keys if key in filled]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow("_".join((CSV_NAMES.get(name, name), *key)) for name, *key in names)
    writer.writerows([row.get(name) for name in names] for row in flat)
    return file.getvalue()


def _flat(row: Row) -> dict[tuple[str, ...], Any]:
    """Values by field, or by field and key; what is not known is None."""
    flat: dict[tuple[str, ...], Any] = {}
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if isinstance(value, Mapping):
            flat |= {(field.name, key): part for key, part in value.items()}
        else:
            flat[(field.name,)] = value
    flat[("size",)] = f"{row.size[0]}x{row.size[1]}" if row.size else None
    flat[("num_frame",)] = row.num_frame or None
    flat[("notes",)] = "; ".join(row.notes)
    return flat


def _finite(value: Any) -> Any:
    """JSON knows no infinity, which the PSNR of equal pictures is: it becomes "inf", which `float` reads."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
