"""Parts of a page that are words and figures. Whatever a caller gives is text: it is escaped here."""

import dataclasses
from collections.abc import Sequence
from html import escape
from typing import Protocol


class Section(Protocol):
    """A part of a page."""

    def html(self) -> str:
        """What stands on the page."""


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The few figures that a reader wants first: (figure, what it is)."""

    items: Sequence[tuple[str, str]]

    def html(self) -> str:
        """A list of two-line tiles."""
        tiles = (f"<div><dd>{escape(figure)}</dd><dt>{escape(name)}</dt></div>" for figure, name in self.items)
        return f'<dl class="tiles">{"".join(tiles)}</dl>'


@dataclasses.dataclass(frozen=True)
class Facts:
    """Names and values: settings, versions, counts."""

    title: str
    items: Sequence[tuple[str, str]]

    def html(self) -> str:
        """A list of names and values."""
        return card(self.title, facts(self.items))


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: the first column names its rows, the others hold figures.

    Attributes:
      title: over it.
      columns: their names, the first one included.
      rows: cells as text, as many in each as there are columns.
      note: one sentence under it.

    Raises:
      ValueError: a row of another length.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def __post_init__(self):
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"row {list(row)} has {len(row)} cells, the table {len(self.columns)} columns")

    def html(self) -> str:
        """A table that scrolls by itself where the page is narrower."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.columns)
        body = "".join(
            f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
            for first, *rest in self.rows
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        region = f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(self.title)}">{table}</div>'
        return card(self.title, region + paragraph(self.note))


@dataclasses.dataclass(frozen=True)
class Notes:
    """Sentences, one a line."""

    title: str
    lines: Sequence[str]

    def html(self) -> str:
        """A list; nothing where there is nothing to say."""
        if not self.lines:
            return ""
        return card(self.title, f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in self.lines)}</ul>")


@dataclasses.dataclass(frozen=True)
class Row:
    """Sections side by side where there is room, else one under the other."""

    sections: Sequence[Section]

    def html(self) -> str:
        """A grid of them."""
        return f'<div class="row">{"".join(section.html() for section in self.sections)}</div>'


def card(title: str, content: str, kind: str = "") -> str:
    """A titled part of the page around HTML."""
    return f'<section class="card {kind}"><h2>{escape(title)}</h2>{content}</section>'


def facts(items: Sequence[tuple[str, str]]) -> str:
    """Names and values as HTML."""
    pairs = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in items)
    return f'<dl class="facts">{"".join(pairs)}</dl>'


def paragraph(text: str, kind: str = "note") -> str:
    """A paragraph of text as HTML; nothing where there is none."""
    return f'<p class="{kind}">{escape(text)}</p>' if text else ""
