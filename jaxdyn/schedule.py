"""What is shown when: pure functions of source timestamps.

The time between two neighbouring source frames is a grid of eight steps. A moment is a time of the output and the grid
point that it shows: 0 is the first frame itself, 8 the next one, 4 their middle. Times are exact fractions of a second.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import TypeVar

GRID = 8
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Moment:
    """One frame of the output: when it is shown (s of the source's clock) and which point of the grid it shows."""

    time: Fraction
    point: int  # 0 to 8


@dataclasses.dataclass(frozen=True)
class Multiply:
    """2, 4 or 8 times as many frames, each interval split evenly: variable frame rate stays in place."""

    factor: int

    def __post_init__(self):
        if self.factor not in (2, 4, 8):
            raise ValueError(
                f"`factor` (={self.factor}) must be 2, 4 or 8, powers of two; for any other rate use --fps."
            )

    def moments(self, time: Fraction, until: Fraction, is_last: bool) -> list[Moment]:
        """What is shown from a source frame at `time` up to the next one's, `until`; after the last frame, nothing."""
        if is_last:
            return [Moment(time, 0)]
        step = GRID // self.factor
        return [Moment(time + (until - time) * Fraction(point, GRID), point) for point in range(0, GRID, step)]


@dataclasses.dataclass(frozen=True)
class Keep:
    """Every source frame at its own time, and nothing between."""

    def moments(self, time: Fraction, until: Fraction, is_last: bool) -> list[Moment]:
        """The source frame itself."""
        del until, is_last
        return [Moment(time, 0)]


@dataclasses.dataclass(frozen=True)
class Resample:
    """A constant rate of any ratio: each output time shows the nearest point of the grid."""

    rate: Fraction  # frames a second
    origin: Fraction  # time of output frame 0

    def __post_init__(self):
        if self.rate <= 0:
            raise ValueError(f"`fps` (={self.rate}) must be over 0.")

    def moments(self, time: Fraction, until: Fraction, is_last: bool) -> list[Moment]:
        """The frames shown in [time, until); after the last source frame it is shown until its own end."""
        first = -((self.origin - time) * self.rate // 1)  # ceil
        moments = []
        for index in range(int(first), int(-((self.origin - until) * self.rate // 1))):
            shown = self.origin + index / self.rate
            point = 0 if is_last else round((shown - time) / (until - time) * GRID)
            moments.append(Moment(shown, point))
        return moments


def between(frame0: T, frame1: T, points: Sequence[int], middle: Callable[[T, T], T]) -> Iterator[tuple[int, T]]:
    """Frames at grid points 1 to 7, in order, by recursion: 4 from 0 and 8, then 2 from 0 and 4, and so on.

    Only what a wanted point needs is made, and at most three levels are held at once.
    """

    def fill(low: int, high: int, frame_low: T, frame_high: T) -> Iterator[tuple[int, T]]:
        if not any(low < point < high for point in points):
            return
        centre = (low + high) // 2
        frame = middle(frame_low, frame_high)
        yield from fill(low, centre, frame_low, frame)
        if centre in points:
            yield centre, frame
        yield from fill(centre, high, frame, frame_high)

    yield from fill(0, GRID, frame0, frame1)
