"""Chosen frames to look at: two pictures of a frame with a divider between them, and what each patch got over them.

A frame is chosen on the curve of costs, where each has a radio button, or from a row of buttons where there is no
curve. Everything works by pointer and by keyboard.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from html import escape

from jaxdyn import maps
from jaxdyn.report.charts import Plot
from jaxdyn.report.sections import card, facts, paragraph

OPACITY = 0.8  # of a tint, as a part of its strength: the picture stays visible


@dataclasses.dataclass(frozen=True)
class Shot:
    """A frame to look at.

    Attributes:
      name: "frame 12".
      size: (width, height) in px of the pictures that the cells are of.
      layers: pictures by name, as `pictures.data_uri` makes them, in the order of choice.
      cells: what each patch got; none where nothing was chosen.
      facts: names and values to stand beside it.
      place: on the curve, (x, y); None where there is none.
    """

    name: str
    size: tuple[int, int]
    layers: Mapping[str, str]
    cells: Sequence[maps.Cell] = ()
    facts: Sequence[tuple[str, str]] = ()
    place: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Legend:
    """What colours of the compute map mean: a name, a colour (RGB in [0, 1]) and its strengths from weak to strong."""

    name: str
    colour: tuple[float, float, float]
    strengths: Sequence[float]


def scale_legends(num_exit: int) -> list[Legend]:
    """Of `maps.route_cells`: a colour for each scale, stronger from exit 1 to the last one."""
    strengths = [maps.strength(depth, num_exit) for depth in range(1, num_exit + 1)]
    return [Legend(maps.scale_name(index), tuple(colour), strengths) for index, colour in enumerate(maps.COLOURS)]


def block_legends() -> list[Legend]:
    """Of `maps.block_cells`: one colour, stronger as more blocks run."""
    strengths = [maps.MAX_STRENGTH * part / 4 for part in range(5)]
    return [Legend("blocks that ran, 0 to 100%", tuple(maps.BLOCK_COLOUR), strengths)]


@dataclasses.dataclass(frozen=True)
class Viewer:
    """Frames to look at, one at a time.

    Attributes:
      title: over it.
      shots: at least one.
      plot: a curve on which they lie.
      left, right: names of the layers that stand there first; None: the first one, and the second.
      legends: of the compute map.
      legend_note: what else to know of it.
      note: a sentence under it.
      name: distinguishes viewers of one page; letters and digits.

    Raises:
      ValueError: no frame, or one without a picture.
    """

    title: str
    shots: Sequence[Shot]
    plot: Plot | None = None
    left: str | None = None
    right: str | None = None
    legends: Sequence[Legend] = ()
    legend_note: str = ""
    note: str = ""
    name: str = "frames"

    def __post_init__(self):
        if not self.shots:
            raise ValueError(f"viewer {self.title!r} has no frame to show")
        for shot in self.shots:
            if not shot.layers:
                raise ValueError(f"{shot.name!r} of viewer {self.title!r} has no picture")

    @property
    def layers(self) -> list[str]:
        """Names of all pictures, in order."""
        return list(dict.fromkeys(name for shot in self.shots for name in shot.layers))

    @property
    def sides(self) -> dict[str, str]:
        """Which pictures stand left and right at first."""
        first, second = (self.layers * 2)[:2]
        return {"left": self.left or first, "right": self.right or second}

    @property
    def first(self) -> int:
        """Which frame is to be seen at first: one from the middle."""
        return len(self.shots) // 2

    def html(self) -> str:
        """Choice of a frame, choice of two pictures and of the map, the pictures, what is known of the frame."""
        stage = (
            f'<div class="stage">{"".join(map(self._pictures, range(len(self.shots)), self.shots))}'
            '<span class="tag left" aria-hidden="true"></span><span class="tag right" aria-hidden="true"></span>'
            '<input class="divider" type="range" min="0" max="100" step="any" value="50" '
            'aria-label="Divider between the left and the right picture">'
            '<span class="edge" aria-hidden="true"></span></div>'
        )
        about = "".join(
            f'<div data-shot="{index}"{self._hidden(index)}>{facts([("chosen", shot.name), *shot.facts])}</div>'
            for index, shot in enumerate(self.shots)
        )
        content = self._choice() + self._controls() + stage + self._legend()
        content += f'<div class="about" aria-live="polite">{about}</div>{paragraph(self.note)}'
        return card(self.title, content, "viewer")

    def _choice(self) -> str:
        """Radio buttons, on the curve or in a row."""
        buttons = []
        for index, shot in enumerate(self.shots):
            place = self.plot is not None and shot.place is not None
            style = f' style="{self.plot.place(*shot.place)}"' if place else ""
            checked = " checked" if index == self.first else ""
            buttons.append(
                f'<label{style} title="{escape(shot.name)}"><input type="radio" name="{escape(self.name)}" '
                f'value="{index}"{checked}><span>{escape(shot.name)}</span></label>'
            )
        if self.plot is None:
            return f'<fieldset class="chips"><legend>Frame</legend>{"".join(buttons)}</fieldset>'
        over = f'<fieldset class="points"><legend>Frame to look at</legend>{"".join(buttons)}</fieldset>'
        hint = "Choose a frame on the curve, by pointer or arrow keys; the divider moves likewise."
        return paragraph(self.plot.title, "caption") + self.plot.figure(over) + paragraph(hint)

    def _controls(self) -> str:
        choices = "".join(
            f'<label>{side.capitalize()} <select data-side="{side}">'
            + "".join(_option(number, name, name == wanted) for number, name in enumerate(self.layers))
            + "</select></label>"
            for side, wanted in self.sides.items()
        )
        has_map = any(shot.cells for shot in self.shots)
        toggle = '<label class="switch"><input type="checkbox" class="toggle"><span>Compute map</span></label>'
        return f'<div class="controls">{choices}{toggle if has_map else ""}</div>'

    def _pictures(self, index: int, shot: Shot) -> str:
        width, height = shot.size
        images = "".join(
            f'<img data-layer="{number}" class="{self._classes(name)}" draggable="false" '
            f'alt="{escape(shot.name)}: {escape(name)}" src="{escape(shot.layers[name])}">'
            for number, name in enumerate(self.layers)
            if name in shot.layers
        )
        ratio = f"aspect-ratio:{width}/{height}"
        return (
            f'<div class="shot" data-shot="{index}" style="{ratio}"{self._hidden(index)}>{images}{_overlay(shot)}</div>'
        )

    def _classes(self, name: str) -> str:
        return " ".join(f"is-{side}" for side, wanted in self.sides.items() if wanted == name)

    def _hidden(self, index: int) -> str:
        return "" if index == self.first else " hidden"

    def _legend(self) -> str:
        if not self.legends or not any(shot.cells for shot in self.shots):
            return ""
        rows = []
        for legend in self.legends:
            shades = (css(legend.colour, OPACITY * amount) for amount in legend.strengths)
            steps = "".join(f'<i style="--shade:{shade}"></i>' for shade in shades)
            rows.append(f'<li><span class="steps" aria-hidden="true">{steps}</span>{escape(legend.name)}</li>')
        rows = f'<ul class="keys">{"".join(rows)}</ul>'
        return f'<div class="map-legend" hidden>{rows}{paragraph(self.legend_note)}</div>'


def _overlay(shot: Shot) -> str:
    """What each patch got, as SVG in pixels of the frame."""
    if not shot.cells:
        return ""
    width, height = shot.size
    cells = []
    for cell in shot.cells:
        across, down = cell.right - cell.left, cell.bottom - cell.top
        size = min(across / (1.1 * max(4, len(cell.label))), down / 2.5, max(width, height) / 44)
        cells.append(
            f'<rect x="{cell.left}" y="{cell.top}" width="{across}" height="{down}" '
            f'fill="{css(cell.colour)}" fill-opacity="{OPACITY * cell.strength:.2f}"/>'
            f'<text x="{(cell.left + cell.right) / 2:g}" y="{(cell.top + cell.bottom) / 2:g}" '
            f'font-size="{size:.1f}">{escape(cell.label)}</text>'
        )
    return (
        f'<svg class="map" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(shot.name)}: compute map" '
        f'preserveAspectRatio="none">{"".join(cells)}</svg>'
    )


def _option(number: int, name: str, is_selected: bool) -> str:
    return f'<option value="{number}"{" selected" if is_selected else ""}>{escape(name)}</option>'


def css(colour: Sequence[float], strength: float | None = None) -> str:
    """A CSS colour of RGB in [0, 1]."""
    red, green, blue = (round(255 * part) for part in colour)
    return f"rgb({red} {green} {blue})" if strength is None else f"rgb({red} {green} {blue} / {strength:.2f})"
