"""Curves and bars, drawn as SVG that stretches to the page's width.

Lines are SVG without a fixed aspect; marks, ticks and their figures are HTML at percentages of the same box, so that
they keep their size and stay readable on a phone. Series differ by colour, and by dashes or the shape of their marks.
"""

import dataclasses
import math
from collections.abc import Sequence
from html import escape

from jaxdyn.report.sections import card, paragraph

NUM_STYLE = 6  # colours and marks in the style sheet
BOX = 1000  # units of the SVG, both ways


@dataclasses.dataclass(frozen=True)
class Series:
    """Points of a curve.

    Attributes:
      name: in the legend.
      x, y: places, as many of each.
      low, high: a band around y; none if empty.
      has_line: whether neighbours are joined.
      has_marks: whether each point has a mark.
      labels: what each mark says when it is pointed at.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    has_line: bool = True
    has_marks: bool = False
    labels: Sequence[str] = ()

    def __post_init__(self):
        for part in (self.y, self.low or self.x, self.high or self.x, self.labels or self.x):
            if len(part) != len(self.x):
                raise ValueError(f"series {self.name!r} has {len(self.x)} places and {len(part)} values")


@dataclasses.dataclass(frozen=True)
class Plot:
    """Curves over a pair of axes.

    Attributes:
      title: over it.
      series: at least one point in all.
      x_label, y_label: quantities with their units.
      has_zero: whether the vertical axis begins at zero.
      note: one sentence under it.

    Raises:
      ValueError: nothing to draw.
    """

    title: str
    series: Sequence[Series]
    x_label: str
    y_label: str
    has_zero: bool = False
    note: str = ""

    def __post_init__(self):
        if not any(len(series.x) for series in self.series):
            raise ValueError(f"plot {self.title!r} has no point to draw")

    def html(self) -> str:
        """A titled figure."""
        return card(self.title, self.figure() + paragraph(self.note))

    def figure(self, over: str = "") -> str:
        """The axes and all on them, with more HTML laid over."""
        lines = "".join(self._line(number, series) for number, series in enumerate(self.series))
        marks = "".join(self._marks(number, series) for number, series in enumerate(self.series) if series.has_marks)
        keys = "".join(map(_key, range(len(self.series)), self.series))
        legend = f'<ul class="keys">{keys}</ul>' if len(self.series) > 1 else ""
        return (
            f'<figure class="plot"><div class="y-label">{escape(self.y_label)}</div><div class="area">'
            f'<div class="drawing" role="img" aria-label="{escape(self.summary())}">{self._axes()}'
            f'<svg viewBox="0 0 {BOX} {BOX}" preserveAspectRatio="none" aria-hidden="true">{lines}</svg>{marks}</div>'
            f'{over}</div><div class="x-label">{escape(self.x_label)}</div>{legend}</figure>'
        )

    def place(self, x: float, y: float) -> str:
        """Where a point lies, as a style."""
        (left, right), (bottom, top) = self.bounds
        across, up = (x - left) / (right - left), (y - bottom) / (top - bottom)
        return f"left:{100 * across:.2f}%;bottom:{100 * min(max(up, 0), 1):.2f}%"

    @property
    def bounds(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """(left, right), (bottom, top): what the axes span; the vertical one ends at ticks."""
        xs = [x for series in self.series for x in series.x]
        ys = [y for series in self.series for part in (series.y, series.low, series.high) for y in part]
        low, high = _widened(min(ys), max(ys))
        low = min(0.0, low) if self.has_zero else low
        step = tick_step(low, high)
        return _widened(min(xs), max(xs)), (math.floor(low / step) * step, math.ceil(high / step) * step)

    def summary(self) -> str:
        """What the picture shows, in words."""
        parts = []
        for series in self.series:
            if len(series.y):
                mean = sum(series.y) / len(series.y)
                values = f"{min(series.low or series.y):.4g} to {max(series.high or series.y):.4g}, mean {mean:.4g}"
                parts.append(f"{series.name}: {values}")
        return f"{self.y_label} by {self.x_label}. {'; '.join(parts)}."

    def _axes(self) -> str:
        (left, right), (bottom, top) = self.bounds
        rows = (
            f'<i class="rule" style="bottom:{100 * (value - bottom) / (top - bottom):.2f}%"><b>{figure(value)}</b></i>'
            for value in ticks(bottom, top)
        )
        columns = (
            f'<i class="tick" style="left:{100 * (value - left) / (right - left):.2f}%"><b>{figure(value)}</b></i>'
            for value in ticks(left, right)
        )
        return f'<div class="axes" aria-hidden="true">{"".join(rows)}{"".join(columns)}</div>'

    def _line(self, number: int, series: Series) -> str:
        (left, right), (bottom, top) = self.bounds

        def points(x: Sequence[float], y: Sequence[float]) -> str:
            places = zip(x, y, strict=True)
            return " ".join(
                f"{BOX * (a - left) / (right - left):.1f},{BOX * (1 - (b - bottom) / (top - bottom)):.1f}"
                for a, b in places
            )

        band = ""
        if series.low:
            there, back = points(series.x, series.high), points(series.x[::-1], series.low[::-1])
            band = f'<polygon class="band" points="{there} {back}"/>'
        line = f'<polyline points="{points(series.x, series.y)}"/>' if series.has_line and len(series.x) > 1 else ""
        return f'<g class="s{number % NUM_STYLE}">{band}{line}</g>' if band or line else ""

    def _marks(self, number: int, series: Series) -> str:
        labels = series.labels or [f"{series.name}: {figure(x)}, {figure(y)}" for x, y in self._points(series)]
        return "".join(
            f'<i class="mark s{number % NUM_STYLE}" style="{self.place(x, y)}" title="{escape(label)}"></i>'
            for (x, y), label in zip(self._points(series), labels, strict=True)
        )

    @staticmethod
    def _points(series: Series) -> Sequence[tuple[float, float]]:
        return list(zip(series.x, series.y, strict=True))


@dataclasses.dataclass(frozen=True)
class Bars:
    """Columns in groups, one column of each kind beside the other, or one upon the other.

    Attributes:
      title: over it.
      groups: names along the axis.
      kinds: (name, one value for each group), not negative.
      x_label, y_label: quantities with their units.
      is_stacked: one upon the other.
      colours: CSS colours of the kinds; the style sheet's own if empty.
      note: one sentence under it.

    Raises:
      ValueError: kinds of another length than the groups, or nothing to draw.
    """

    title: str
    groups: Sequence[str]
    kinds: Sequence[tuple[str, Sequence[float]]]
    x_label: str
    y_label: str
    is_stacked: bool = False
    colours: Sequence[str] = ()
    note: str = ""

    def __post_init__(self):
        if not self.groups or not self.kinds:
            raise ValueError(f"bars {self.title!r} have nothing to draw")
        for name, values in self.kinds:
            if len(values) != len(self.groups):
                raise ValueError(f"{name!r} has {len(values)} values for {len(self.groups)} groups")

    def html(self) -> str:
        """A titled figure."""
        sums = [sum(values) for values in zip(*(values for _, values in self.kinds), strict=True)]
        highest = max(sums if self.is_stacked else [value for _, values in self.kinds for value in values])
        step = tick_step(0, highest or 1)
        top = math.ceil((highest or 1) / step) * step
        rules = "".join(
            f'<i class="rule" style="bottom:{100 * value / top:.2f}%"><b>{figure(value)}</b></i>'
            for value in ticks(0, top)
        )
        columns = "".join(self._group(index, name, top) for index, name in enumerate(self.groups))
        keys = "".join(
            f'<li><i class="swatch s{number % NUM_STYLE}" style="{self._colour(number)}"></i>{escape(name)}</li>'
            for number, (name, _) in enumerate(self.kinds)
        )
        legend = f'<ul class="keys">{keys}</ul>' if len(self.kinds) > 1 else ""
        kind = "bars stacked" if self.is_stacked else "bars"
        drawing = (
            f'<figure class="plot"><div class="y-label">{escape(self.y_label)}</div><div class="area">'
            f'<div class="drawing" role="img" aria-label="{escape(self.summary())}">'
            f'<div class="axes" aria-hidden="true">{rules}</div>'
            f'<div class="{kind}" aria-hidden="true">{columns}</div></div></div>'
            f'<div class="x-label">{escape(self.x_label)}</div>{legend}</figure>'
        )
        return card(self.title, drawing + paragraph(self.note))

    def summary(self) -> str:
        """What the picture shows, in words."""
        parts = (
            f"{name}: {', '.join(f'{group} {value:.4g}' for group, value in zip(self.groups, values, strict=True))}"
            for name, values in self.kinds
        )
        return f"{self.y_label} by {self.x_label}. {'; '.join(parts)}."

    def _group(self, index: int, name: str, top: float) -> str:
        columns = "".join(
            f'<i class="s{number % NUM_STYLE}" style="height:{100 * values[index] / top:.2f}%;{self._colour(number)}" '
            f'title="{escape(kind)}, {escape(name)}: {figure(values[index])}"></i>'
            for number, (kind, values) in enumerate(self.kinds)
        )
        return f"<div><div>{columns}</div><b>{escape(name)}</b></div>"

    def _colour(self, number: int) -> str:
        return f"background:{self.colours[number]}" if self.colours else ""


def _key(number: int, series: Series) -> str:
    kind = "mark" if series.has_marks else "dash"
    return f'<li><i class="{kind} s{number % NUM_STYLE}"></i>{escape(series.name)}</li>'


# Axes


def tick_step(low: float, high: float, most: int = 5) -> float:
    """The distance of ticks, 1, 2 or 5 times a power of ten, of which at most `most` fit between two values."""
    least = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values from `low` to `high`, at most `most` steps."""
    step = tick_step(low, high, most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def figure(value: float) -> str:
    """A value in few digits: "0.25", "1,200"."""
    digits = f"{value:.4g}"
    return f"{float(digits):,.0f}" if abs(value) >= 1000 else digits


def _widened(low: float, high: float) -> tuple[float, float]:
    """Two values that are apart by more than rounding."""
    if high - low > 1e-6 * max(abs(low), abs(high)):
        return low, high
    margin = abs(low) * 0.05 or 0.5
    return low - margin, high + margin
