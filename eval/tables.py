"""Records as tables, for people and for programs."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from rich import console, table

from eval import evaluate, upscaling
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

    Rows of one method at one point stand together, the measured before the published. "markdown" and "latex" (booktabs)
    are rounded, with units in the headers and without columns that are empty in all rows; of the two FLOP conventions
    one may be unknown, and then half or twice the other is shown after "≈". "csv" has a record in a line, unrounded, in
    base units; "json" is the records.

    Args:
      rows: what to show; none gives a table without rows.
      form: of the text.
      title: above the table, or its caption; CSV and JSON have none.

    Raises:
      ValueError: another form.
    """
    if form not in _FORMS:
        raise ValueError(f"form is {form!r}, expected one of {', '.join(_FORMS)}")
    return _FORMS[form](beside(rows), title)


def beside(rows: Iterable[Row]) -> list[Row]:
    """Rows with those of one benchmark, method and point next to each other, measured first; else as they came."""
    groups: dict[str, dict[tuple[str, str], list[Row]]] = {}
    for row in rows:
        groups.setdefault(row.benchmark, {}).setdefault((row.method, row.point), []).append(row)
    return [
        row
        for methods in groups.values()
        for group in methods.values()
        for row in sorted(group, key=lambda row: row.source != MEASURED)
    ]


@dataclasses.dataclass(frozen=True)
class _Column:
    """A header and what stands under it for a row, "" for nothing."""

    header: str
    cell: Callable[[Row], str]
    is_number: bool = True


def _columns(rows: Sequence[Row]) -> list[_Column]:
    """What of the records people read, without columns that are empty in all rows."""
    prefix, unit = _prefix(rows)
    columns = [
        _Column("Benchmark", lambda row: row.benchmark, False),
        _Column("Method", lambda row: row.method, False),
        _Column("Point", lambda row: row.point, False),
        _Column("Weights", lambda row: row.weights, False),
        _Column("Source", lambda row: "" if row.source == MEASURED else f"published: {row.source}", False),
        _Column("PSNR (dB)", lambda row: _number(row.psnr, 2)),
    ]
    columns += [
        _Column(f"SSIM ({window})", lambda row, window=window: _number(row.ssim.get(window), 4))
        for window in _keys(row.ssim for row in rows)
    ]
    columns += [
        _Column("Input (px)", lambda row: f"{row.size[0]}x{row.size[1]}" if row.size else "", False),
        _Column(f"FLOPs ({unit})", lambda row: _count(row.flops, row.multiply_adds, 2, prefix)),
        _Column(f"Multiply-adds ({unit})", lambda row: _count(row.multiply_adds, row.flops, 0.5, prefix)),
        _Column("Share of dense (%)", lambda row: _number(row.share, 1, 0.01)),
        _Column("Parameters (M)", lambda row: _number(row.parameters, 2, 1e6)),
    ]
    for platform in _keys([*(row.milliseconds for row in rows), *(row.dense_milliseconds for row in rows)]):
        columns += _times(platform)
    columns += [
        _Column("Peak memory (MiB)", lambda row: _number(row.peak_memory, 0, 2**20)),
        _Column("Frames", lambda row: str(row.num_frame or "")),
    ]
    kept = [column for column in columns if any(map(column.cell, rows))]
    sources = next((column for column in kept if column.header == "Source"), None)
    if sources:  # what is not published is measured, and says so where both stand
        measured = _Column("Source", lambda row: sources.cell(row) or MEASURED, False)
        kept[kept.index(sources)] = measured
    return kept


def _times(platform: str) -> list[_Column]:
    """Milliseconds on a platform, those of the dense network, and how many times faster than it."""

    def ratio(row: Row) -> str:
        spent, dense = row.milliseconds.get(platform), row.dense_milliseconds.get(platform)
        return _number(dense / spent, 2) if spent and dense else ""

    name = platform.upper()
    return [
        _Column(f"{name} time (ms)", lambda row: _number(row.milliseconds.get(platform), 1)),
        _Column(f"{name} time, dense (ms)", lambda row: _number(row.dense_milliseconds.get(platform), 1)),
        _Column(f"{name} speed-up (dense / this)", ratio),
    ]


def _prefix(rows: Sequence[Row]) -> tuple[float, str]:
    """One unit for both FLOP conventions of all rows: that of the largest."""
    largest = max((count for row in rows for count in (row.flops, row.multiply_adds) if count), default=1e9)
    return next(((value, unit) for value, unit in _PREFIXES if largest >= value), _PREFIXES[-1])


def _count(value: float | None, other: float | None, factor: float, prefix: float) -> str:
    if value is not None or other is None:
        return _number(value, 3 if prefix == 1e12 else 1, prefix)
    return "≈ " + _number(other * factor, 3 if prefix == 1e12 else 1, prefix)


def _number(value: float | None, digits: int, unit: float = 1) -> str:
    return "" if value is None else f"{value / unit:.{digits}f}"


def _keys(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Keys of mappings in the order in which they first come."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _markdown(rows: Sequence[Row], title: str) -> str:
    columns = _columns(rows)
    escape = lambda text: text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")  # noqa: E731
    lines = [
        [escape(column.header) for column in columns],
        ["---:" if column.is_number else "---" for column in columns],
        *([escape(column.cell(row)) for column in columns] for row in rows),
    ]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines) if columns else "(no rows)\n"
    return (f"**{title}**\n\n" if title else "") + text


def _latex(rows: Sequence[Row], title: str) -> str:
    columns = _columns(rows)
    escape = lambda text: "".join(_LATEX.get(letter, letter) for letter in text)  # noqa: E731
    line = lambda cells: " & ".join(map(escape, cells)) + r" \\"  # noqa: E731
    lines = [
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{escape(title)}}}"] if title else []),
        rf"\begin{{tabular}}{{{''.join('r' if column.is_number else 'l' for column in columns) or 'l'}}}",
        r"\toprule",
        line(column.header for column in columns),
        r"\midrule",
        *(line(column.cell(row) for column in columns) for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _csv(rows: Sequence[Row], title: str) -> str:
    """A record in a line; mappings become a column for each key, and the two FLOP conventions stay together."""
    del title
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
    return flat


def _json(rows: Sequence[Row], title: str) -> str:
    del title
    return json.dumps([_finite(dataclasses.asdict(row)) for row in rows], indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """JSON knows no infinity, which the PSNR of equal pictures is: it becomes "inf", which `float` reads."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


_FORMS: dict[str, Callable[[Sequence[Row], str], str]] = {
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
    "latex": _latex,
}


def show(
    title: str, records: Sequence[evaluate.Record], has_ssim: bool = False, out: console.Console | None = None
) -> None:
    """Print the means by clip, what is gained over exit 0, and how the finders decide.

    Args:
      title: of the table.
      records: what `evaluate.evaluate` gave.
      has_ssim: whether the records hold SSIM.
      out: where to; the terminal by default.
    """
    out = out or console.Console(width=max(console.Console().width, 120))
    means, shares = evaluate.mean_by_clip(records), evaluate.mean_by_clip(records, "share")
    ways = list(means["mean"])
    printed = table.Table("clip", *ways, "share of dense", title=f"{title}: RGB PSNR, dB")
    for clip, row in means.items():
        printed.add_row(clip, *(f"{row[way]:.2f}" for way in ways), f"{shares[clip]['share']:.1%}")
    gains = means["mean"]
    printed.add_row("over exit 0", *(f"{gains[way] - gains['exit 0']:+.2f}" for way in ways), "")
    out.print(printed)
    if has_ssim:
        similar = table.Table("clip", *ways, title=f"{title}: SSIM")
        for clip, row in evaluate.mean_by_clip(records, "ssim").items():
            similar.add_row(clip, *(f"{row[way]:.4f}" for way in ways))
        out.print(similar)
    scales, depths = (
        [sum(column) for column in zip(*(getattr(record, what) for record in records), strict=True)]
        for what in ("scales", "depths")
    )
    out.print(f"patches that are computed, by scale 1, 1/2, 1/4: {scales}; all patches by exit, from 0: {depths}")


def show_upscaling(title: str, records: Sequence[upscaling.Record], out: console.Console | None = None) -> None:
    """Print the means by clip, one line for each way of upscaling.

    Args:
      title: of the table.
      records: what `upscaling.evaluate` gave.
      out: where to; the terminal by default.
    """
    out = out or console.Console(width=max(console.Console().width, 120))
    psnr, ssim, share = (evaluate.mean_by_clip(records, what) for what in ("psnr", "ssim", "share"))
    printed = table.Table("way", *psnr, "share of dense", title=f"{title}: PSNR, dB / SSIM of luma")
    for way in psnr["mean"]:
        scores = (f"{psnr[clip][way]:.2f} / {ssim[clip][way]:.4f}" for clip in psnr)
        printed.add_row(way, *scores, f"{share['mean'][way]:.1%}" if way != "bicubic" else "")
    out.print(printed)
