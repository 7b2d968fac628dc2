"""Rows as curves: accuracy against compute, one curve a checkpoint, published figures beside it."""

import dataclasses
from collections.abc import Iterable

from eval.records import MEASURED, Row


@dataclasses.dataclass(frozen=True)
class Curve:
    """Operating points of one network on one benchmark.

    Attributes:
      name: of the network and its weights, or of its publication.
      rows: with a PSNR and a cost, the cheapest first.
      is_published: whether the figures are of a paper.
    """

    name: str
    rows: tuple[Row, ...]
    is_published: bool

    @property
    def flops(self) -> list[float]:
        """FLOPs of a frame, row by row."""
        return [flops_of(row) for row in self.rows]

    @property
    def psnr(self) -> list[float]:
        """dB, row by row."""
        return [row.psnr for row in self.rows]


def of_rows(rows: Iterable[Row]) -> list[Curve]:
    """Curves of rows, the measured first; rows without a PSNR or without a cost are left out."""
    groups: dict[tuple[bool, str], list[Row]] = {}
    for row in rows:
        if row.psnr is not None and flops_of(row) is not None:
            is_published = row.source != MEASURED
            detail = row.source if is_published else row.weights
            groups.setdefault((is_published, f"{row.method} ({detail})" if detail else row.method), []).append(row)
    return [
        Curve(name, tuple(sorted(group, key=flops_of)), is_published)
        for (is_published, name), group in sorted(groups.items(), key=lambda item: item[0][0])
    ]


def flops_of(row: Row) -> float | None:
    """FLOPs of a frame; of a row that counts multiply-adds alone, twice those."""
    if row.flops is None and row.multiply_adds is not None:
        return 2 * row.multiply_adds
    return row.flops
