"""Figures for print: accuracy against compute, routing over the frame, errors, features, times. Drawn by matplotlib.

    python -m eval.pictures --data CLIP --out DIR [--weights cain_sd,skipvsr] [--frames 7] [--format pdf]

draws all of them for one clip; `eval.observed` says what is measured. Every function here takes records or arrays and
gives a `matplotlib.figure.Figure`. Colours differ in brightness too, lines in dashes and marks, areas in hatching, so
that a copy in grey reads the same.
"""

import argparse
import contextlib
import functools
import itertools
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from eval import curves, observed
from eval.records import Row
from jaxdyn import maps, metrics
from jaxdyn.errors import UserError, one_line
from jaxdyn.ops import patches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
WIDTH = 7.0  # inches, of a page's text
HALF = 3.4  # inches, of a column
COLOURS = ("#0b3c6f", "#d55e00", "#009e73", "#8c6bb1", "#56b4e9", "#777777")
MARKS = ("o", "s", "D", "^", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
HATCHES = ("", "////", "....", "xxxx", "----", "++++")
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "hatch.linewidth": 0.4,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "jaxdyn",  # the same figure is the same file
}


def main(argv: Sequence[str] | None = None) -> None:
    """Draws everything that the weights' networks show of one clip."""
    parser = argparse.ArgumentParser(prog="python -m eval.pictures", description="Figures of one clip, for print.")
    parser.add_argument("--data", required=True, help="a clip: a video, or a folder of images")
    parser.add_argument("--out", required=True, type=Path, help="folder for the figures; made if it is not there")
    parser.add_argument("--weights", default="cain_sd,skipvsr", help="of the package by name, or files")
    parser.add_argument("--frames", type=int, default=7, help="of the clip, from its first (default 7)")
    parser.add_argument("--format", default="pdf", choices=["pdf", "svg", "png"], help="of the files (default pdf)")
    asked = parser.parse_args(argv)
    try:
        style()  # whether matplotlib is there is known before the work begins
        asked.out.mkdir(parents=True, exist_ok=True)
        for weights in asked.weights.split(","):
            seen = observed.observe(weights, asked.data, asked.frames)
            for name, drawn in figures_of(seen).items():
                save(drawn, asked.out / f"{Path(weights).stem}-{name}.{asked.format}")
                print(asked.out / f"{Path(weights).stem}-{name}.{asked.format}")
    except (UserError, ValueError, OSError) as error:
        sys.exit(f"eval.pictures: {one_line(error)}")


def figures_of(seen: observed.Seen) -> dict[str, "Figure"]:
    """Every figure of what was seen of a network, by name."""
    found = {
        "accuracy": accuracy_against_compute(seen.rows),
        "map": cells_over_frame(seen.truth, seen.cells),
        "errors": error_maps(seen.made, seen.truth),
        "psnr-by-patch": psnr_by_patch(seen.made["dynamic"], seen.truth, seen.grid),
        "latency": latency_by_stage(seen.seconds),
    }
    if seen.blocks is not None:
        found["blocks"] = blocks_by_layer(seen.blocks)
    if seen.differences:
        found["features"] = feature_differences(seen.differences)
    return found


# Figures


def style() -> contextlib.AbstractContextManager:
    """What figures have in common, while they are drawn.

    Raises:
      UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UserError('figures need matplotlib, which is not here: pip install ".[eval]"') from error
    return matplotlib.rc_context(STYLE)


def in_style(draw: Callable[P, "Figure"]) -> Callable[P, "Figure"]:
    """The same function within `style`."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> "Figure":
        with style():
            return draw(*args, **kwargs)

    return styled


@in_style
def accuracy_against_compute(rows: Sequence[Row]) -> "Figure":
    """PSNR against FLOPs of one benchmark: a curve a checkpoint, published points beside it.

    Args:
      rows: those without a PSNR or a cost are left out, see `curves.of_rows`.

    Raises:
      ValueError: no row with both.
    """
    lines = curves.of_rows(rows)
    if not lines:
        raise ValueError(f"none of {len(rows)} rows has a PSNR and a cost: there is nothing to draw")
    drawn, axes = sheet(HALF, 2.6)
    largest = max(max(curve.flops) for curve in lines)
    unit, name = (1e12, "TFLOPs") if largest >= 1e12 else (1e9, "GFLOPs")
    for number, curve in enumerate(lines):
        number %= len(COLOURS)
        filled = "none" if curve.is_published else COLOURS[number]
        axes.plot(
            [flops / unit for flops in curve.flops],
            curve.psnr,
            color=COLOURS[number],
            marker=MARKS[number],
            linestyle="none" if curve.is_published else DASHES[number],
            markerfacecolor=filled,
            label=textwrap.fill(curve.name, 36),
        )
    axes.set(xlabel=f"compute of a frame ({name})", ylabel="PSNR (dB)")
    axes.legend(fontsize=6)
    axes.margins(0.16, 0.1)
    _name_points(
        axes,
        [
            (row.point, flops / unit, psnr)
            for curve in lines
            if not curve.is_published
            for row, flops, psnr in zip(curve.rows, curve.flops, curve.psnr, strict=True)
        ],
    )
    return drawn


def _name_points(axes: "Axes", points: Sequence[tuple[str, float, float]]) -> None:
    """Write names beside their points (name, x, y): the nearest place inside that no point and no name has yet."""
    from matplotlib.transforms import Bbox

    axes.figure.draw_without_rendering()  # now it is known where everything stands
    centres = axes.transData.transform([place for _, *place in points])
    taken = [axes.get_legend().get_window_extent()] + [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in centres]
    look = {"textcoords": "offset points", "fontsize": 6, "in_layout": False}
    for name, *place in points:
        for x, y in itertools.product((3, -3), (4, -9, 11, -16)):
            text = axes.annotate(name, place, xytext=(x, y), ha="left" if x > 0 else "right", **look)
            extent = text.get_window_extent()
            if axes.bbox.x0 <= extent.x0 and extent.x1 <= axes.bbox.x1 and not extent.count_overlaps(taken):
                break
            text.remove()
        else:  # too many at one place: they lie over each other
            extent = axes.annotate(name, place, xytext=(3, 4), **look).get_window_extent()
        taken.append(extent)


@in_style
def blocks_by_layer(blocks: np.ndarray) -> "Figure":
    """On which part of the patches each residual block ran (Figure 5a, SkipVSR).

    Args:
      blocks: bool [..., 2, T, M, n_h, n_w], backward and forward.
    """
    shares = 100 * np.asarray(blocks, np.float64).mean(axis=(-4, -2, -1))  # [..., 2, M]
    shares = shares.reshape(-1, *shares.shape[-2:]).mean(axis=0)
    drawn, axes = sheet(HALF, 2.2)
    numbers = np.arange(1, shares.shape[1] + 1)
    for side, name in enumerate(("backward", "forward")):
        places = numbers + 0.4 * (side - 0.5)
        axes.bar(places, shares[side], 0.4, color=COLOURS[side], hatch=HATCHES[side], edgecolor="white", label=name)
    axes.set(xlabel="residual block", ylabel="patches on which it ran (%)", ylim=(0, 105))
    axes.set_xticks(numbers)
    axes.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.18))
    return drawn


@in_style
def cells_over_frame(frame: np.ndarray, cells: Sequence[maps.Cell]) -> "Figure":
    """What each patch got, over the frame in grey: scale and depth, or the share of blocks that ran.

    Args:
      frame: [H, W, 3], uint8 or float in [0, 1].
      cells: of `maps.route_cells` or `maps.block_cells`, in pixels of the frame.
    """
    from matplotlib.patches import Rectangle

    height, width = frame.shape[:2]
    drawn, axes = sheet(HALF, HALF * height / width)
    axes.imshow(0.7 * _unit(frame) @ [0.299, 0.587, 0.114] + 0.3, cmap="gray", vmin=0, vmax=1)
    colours = list(dict.fromkeys(tuple(colour) for colour in maps.COLOURS.tolist()))
    for cell in cells:
        nearest = int(np.argmin([np.abs(np.subtract(colour, cell.colour)).sum() for colour in colours]))
        sides = ((cell.left - 0.5, cell.top - 0.5), cell.right - cell.left, cell.bottom - cell.top)
        hatch = HATCHES[nearest] if cell.strength else ""
        axes.add_patch(Rectangle(*sides, facecolor=(*cell.colour, cell.strength), edgecolor="none"))
        axes.add_patch(Rectangle(*sides, fill=False, edgecolor="white", linewidth=0.4, hatch=hatch))
        place = ((cell.left + cell.right) / 2, (cell.top + cell.bottom) / 2)
        size = min(7, 72 * HALF / width * (cell.right - cell.left) / max(3, len(cell.label)) * 1.3)
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
        axes.text(*place, cell.label, ha="center", va="center", fontsize=size, bbox=box)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.axis("off")
    return drawn


@in_style
def error_maps(made: Mapping[str, np.ndarray], truth: np.ndarray) -> "Figure":
    """Absolute errors side by side on one scale, the dark end no error.

    Args:
      made: pictures [H, W, 3] by name, uint8 or float in [0, 1].
      truth: [H, W, 3] likewise.
    """
    true = _unit(truth)
    errors = {name: 255 * np.abs(_unit(image) - true).mean(axis=-1) for name, image in made.items()}
    top = max(float(np.quantile(error, 0.99)) for error in errors.values()) or 1.0
    height, width = truth.shape[:2]
    drawn, all_axes = sheet(WIDTH, WIDTH / len(errors) * height / width + 0.6, 1, len(errors))
    for axes, (name, error) in zip(np.atleast_1d(all_axes), errors.items(), strict=True):
        shown = axes.imshow(error, cmap="cividis", vmin=0, vmax=top)
        axes.set_title(f"{name}: {float(metrics.psnr(made[name], truth)):.2f} dB")
        axes.axis("off")
    bar = drawn.colorbar(shown, ax=all_axes, shrink=0.8, pad=0.02)
    bar.set_label("absolute error (of 255)")
    return drawn


@in_style
def psnr_by_patch(image: np.ndarray, truth: np.ndarray, grid: patches.Grid) -> "Figure":
    """PSNR of each patch over the frame (Figure 1, SkipVSR): darker is higher, and easier.

    Args:
      image: [H, W, 3], uint8 or float in [0, 1].
      truth: [H, W, 3] likewise.
      grid: of patches, in pixels of these pictures.
    """
    height, width = truth.shape[:2]
    values = np.empty(grid.shape)
    for i, row in enumerate(grid.rows):
        for j, column in enumerate(grid.columns):
            area = np.s_[row : row + grid.patch[0], column : column + grid.patch[1]]
            values[i, j] = metrics.psnr(image[area], truth[area])
    finite = values[np.isfinite(values)]
    limits = (finite.min(), finite.max()) if finite.size else (0, 1)
    drawn, axes = sheet(HALF, HALF * height / width + 0.1)
    axes.imshow(_unit(truth) @ [0.299, 0.587, 0.114], cmap="gray", vmin=0, vmax=1)
    edges = [
        np.array(maps.cell_edges(starts, patch, side)) - 0.5
        for starts, patch, side in zip((grid.columns, grid.rows), grid.patch[::-1], (width, height), strict=True)
    ]
    shown = axes.pcolormesh(*edges, values, cmap="cividis_r", vmin=limits[0], vmax=limits[1], alpha=0.75)
    axes.axis("off")
    drawn.colorbar(shown, ax=axes, shrink=0.8).set_label("PSNR of the patch (dB)")
    return drawn


@in_style
def feature_differences(differences: Mapping[str, np.ndarray]) -> "Figure":
    """How far features are from their targets, block by block (Figure 5b, SkipVSR): quartiles, and 5 to 95 %.

    Args:
      differences: by direction, [M, n]: mean squared difference of n patches after each block.
    """
    drawn, axes = sheet(HALF, 2.2)
    for side, (name, values) in enumerate(differences.items()):
        values = np.asarray(values)
        places = np.arange(1, len(values) + 1) + 0.36 * (side - (len(differences) - 1) / 2)
        face = {"facecolor": COLOURS[side], "hatch": HATCHES[side], "edgecolor": "white"}
        lines = {"color": COLOURS[side], "linewidth": 0.8}
        axes.boxplot(
            list(values),
            positions=places,
            widths=0.3,
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            boxprops=face,
            medianprops={"color": "white", "linewidth": 1},
            whiskerprops=lines,
            capprops=lines,
        )
        axes.bar([np.nan], [np.nan], color=COLOURS[side], hatch=HATCHES[side], edgecolor="white", label=name)
    axes.set_xticks(np.arange(1, len(values) + 1), [str(number) for number in range(1, len(values) + 1)])
    axes.set(xlabel="residual block", ylabel="mean squared difference\nto the target block's features")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right")
    return drawn


@in_style
def latency_by_stage(seconds: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Where the time of a frame goes, one bar for each way of execution.

    Args:
      seconds: of a frame, by execution and stage.
    """
    stages = list(dict.fromkeys(name for parts in seconds.values() for name in parts))
    drawn, axes = sheet(WIDTH, 0.9 + 0.35 * len(seconds))
    left = np.zeros(len(seconds))
    for number, stage in enumerate(stages):
        spent = np.array([1e3 * parts.get(stage, 0.0) for parts in seconds.values()])
        look = {"color": COLOURS[number % len(COLOURS)], "hatch": HATCHES[number % len(HATCHES)], "edgecolor": "white"}
        axes.barh(list(seconds), spent, 0.6, left=left, label=stage, **look)
        left += spent
    for place, total in enumerate(left):
        axes.annotate(f" {total:,.0f} ms", (total, place), va="center", in_layout=False)
    axes.set(xlabel="time of a frame (ms)")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * float(left.max()) or 1)
    axes.legend(ncols=len(stages), loc="lower left", bbox_to_anchor=(0, 1))
    return drawn


# Parts


def sheet(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple["Figure", Any]:
    """An empty figure, sides in inches, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn, drawn.subplots(rows, columns)


def save(drawn: "Figure", path: Path) -> None:
    """Writes a figure: the suffix says as what; a PNG has 300 dots an inch."""
    dated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix)
    with style():
        drawn.savefig(path, dpi=300, metadata=dated)


def _unit(image: np.ndarray) -> np.ndarray:
    """float32 in [0, 1]."""
    return image.astype(np.float32) / 255 if image.dtype == np.uint8 else np.clip(image, 0, 1)


if __name__ == "__main__":
    main()
