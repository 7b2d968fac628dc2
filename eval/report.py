"""The page of an evaluation: a table and a curve for each benchmark, and samples to look at.

rows, samples -> sections -> one HTML file, see `jaxdyn.report`
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from eval import curves
from eval.records import MEASURED, Row
from jaxdyn import maps, report
from jaxdyn.report import pictures


@dataclasses.dataclass(frozen=True)
class Sample:
    """A frame that was scored, to look at.

    Attributes:
      name: "calendar, frame 7".
      layers: pictures [H, W, 3], uint8 or float in [0, 1], by name and in order: "input", "dense", "dynamic", "truth".
        Smaller ones are enlarged to the largest.
      cells: what each patch got, in pixels of the largest picture, see `maps.route_cells` and `maps.block_cells`.
      share: what the frame cost, of the dense network's FLOPs.
      scores: PSNR by layer, dB.
    """

    name: str
    layers: Mapping[str, np.ndarray]
    cells: Sequence[maps.Cell] = ()
    share: float | None = None
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)


def write(
    path: str | Path,
    rows: Sequence[Row],
    samples: Sequence[Sample] = (),
    title: str = "Evaluation",
    subtitle: str = "",
    legends: Sequence[report.Legend] = (),
) -> None:
    """Writes the page, whole or not at all.

    Args:
      path: of the file, see `report.check_path`.
      rows: measured and published; a benchmark's stand together.
      samples: to look at; all are embedded, a few hundred kB each.
      title, subtitle: of the page.
      legends: what the colours of the samples' maps mean.
    """
    report.write(path, title, sections(rows, samples, legends), subtitle)


def sections(
    rows: Sequence[Row], samples: Sequence[Sample] = (), legends: Sequence[report.Legend] = ()
) -> list[report.Section]:
    """What stands on the page."""
    found: list[report.Section] = []
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        of_it = [row for row in rows if row.benchmark == benchmark]
        found.append(table(benchmark, of_it))
        lines = curves.of_rows(of_it)
        if sum(len(curve.rows) for curve in lines) > 1:
            found.append(plot(benchmark, lines))
    if samples:
        found.append(viewer(samples, legends))
    return found


def table(benchmark: str, rows: Sequence[Row]) -> report.Table:
    """Rows of a benchmark, without columns that are empty in all."""
    windows = dict.fromkeys(window for row in rows for window in row.ssim)
    platforms = dict.fromkeys(name for row in rows for name in row.milliseconds)
    columns: dict[str, Callable[[Row], str]] = {
        "method": lambda row: ", ".join(filter(None, (row.method, row.point))),
        "PSNR, dB": lambda row: _digits(row.psnr, 2),
        **{f"SSIM, {w}": lambda row, w=w: _digits(row.ssim.get(w), 4) for w in windows},
        "GFLOPs": lambda row: _digits(row.flops, 1, 1e9),
        "G multiply-adds": lambda row: _digits(row.multiply_adds, 1, 1e9),
        "of dense, %": lambda row: _digits(row.share, 1, 0.01),
        **{f"{p}, ms": lambda row, p=p: _digits(row.milliseconds.get(p), 1) for p in platforms},
        **{f"{p}, dense, ms": lambda row, p=p: _digits(row.dense_milliseconds.get(p), 1) for p in platforms},
        "memory, MiB": lambda row: _digits(row.peak_memory, 0, 2**20),
        "parameters, M": lambda row: _digits(row.parameters, 2, 1e6),
        "source": lambda row: row.source if any(other.source != MEASURED for other in rows) else "",
    }
    used = {name: cell for name, cell in columns.items() if any(map(cell, rows))}
    return report.Table(benchmark, list(used), [[cell(row) for cell in used.values()] for row in rows])


def plot(benchmark: str, lines: Sequence[curves.Curve]) -> report.Plot:
    """Accuracy against compute."""
    series = [
        report.Series(
            curve.name,
            [flops / 1e9 for flops in curve.flops],
            curve.psnr,
            has_line=not curve.is_published,
            has_marks=True,
            labels=[f"{row.method} {row.point}: {row.psnr:.2f} dB" for row in curve.rows],
        )
        for curve in lines
    ]
    return report.Plot(f"{benchmark}: accuracy against compute", series, "GFLOPs of a frame", "PSNR, dB")


def viewer(samples: Sequence[Sample], legends: Sequence[report.Legend] = ()) -> report.Viewer:
    """Samples to look at; where all have a cost, on a curve of it."""
    shares = [sample.share for sample in samples]
    curve = None
    if len(samples) > 1 and None not in shares:
        numbers, costs = list(range(1, len(samples) + 1)), [100 * share for share in shares]
        series = report.Series("cost", numbers, costs, has_line=False)
        axes = ("sample", "share of the dense network's FLOPs, %")
        curve = report.Plot("What each sample cost", [series], *axes, has_zero=True)
    shots = [_shot(index, sample, curve is not None) for index, sample in enumerate(samples, 1)]
    beside = "dynamic" if any("dynamic" in sample.layers for sample in samples) else None
    return report.Viewer("Samples", shots, curve, legends=legends, right=beside)


def _shot(number: int, sample: Sample, is_placed: bool) -> report.Shot:
    height, width = np.max([image.shape[:2] for image in sample.layers.values()], axis=0).tolist()
    layers = {}
    for name, image in sample.layers.items():
        if image.shape[:2] != (height, width):
            image = pictures.enlarged(image, height, width)
        layers[name] = pictures.data_uri(image)
    facts = [(f"{name}, PSNR", f"{value:.2f} dB") for name, value in sample.scores.items()]
    if sample.share is not None:
        facts.append(("cost", f"{sample.share:.1%} of dense"))
    place = (number, 100 * sample.share) if is_placed else None
    return report.Shot(sample.name, (width, height), layers, sample.cells, facts, place)


def _digits(value: float | None, digits: int, unit: float = 1) -> str:
    return "" if value is None else f"{value / unit:,.{digits}f}"
