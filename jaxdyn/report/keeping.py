"""What is kept of a stream whose length nobody knows: an even choice of its frames, and a curve of bounded length."""

import dataclasses
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Choice(Generic[T]):
    """Some items of a stream, evenly chosen, and the dearest one.

    Every item is kept at first, then every second, every fourth: at most 2 n + 1 are held at a time, and of a stream
    of T items about n log2(T / n) are made.

    Args:
      num: how many to choose, n; the dearest one comes on top.
    """

    def __init__(self, num: int):
        if num < 1:
            raise ValueError(f"`num` (={num}) must be at least 1")
        self.num, self.count, self._stride = num, 0, 1
        self._held: dict[int, T] = {}
        self._dearest: tuple[float, int, T] | None = None

    def add(self, cost: float, make: Callable[[], T]) -> None:
        """The next item of the stream; `make` is called if it is kept."""
        index, is_dearest = self.count, self._dearest is None or cost > self._dearest[0]
        self.count += 1
        if index % self._stride and not is_dearest:
            return
        item = make()
        if is_dearest:
            self._dearest = (cost, index, item)
        if index % self._stride == 0:
            self._held[index] = item
        if len(self._held) > 2 * self.num:
            self._stride *= 2
            self._held = {index: item for index, item in self._held.items() if index % self._stride == 0}

    def chosen(self) -> list[T]:
        """The choice in the stream's order: the first item, the last one held, others evenly between, the dearest."""
        held = sorted(self._held)
        count = min(self.num, len(held))
        places = (held[round(step * (len(held) - 1) / max(1, count - 1))] for step in range(count))
        items = {index: self._held[index] for index in places}
        if self._dearest is not None:
            items[self._dearest[1]] = self._dearest[2]
        return [items[index] for index in sorted(items)]


@dataclasses.dataclass
class Bin:
    """Neighbouring values of a curve: where they lie on average, their sum, the lowest and the highest."""

    x: float
    total: float
    low: float
    high: float
    count: int = 1

    @property
    def mean(self) -> float:
        """Their mean."""
        return self.total / self.count


class Trace:
    """A curve in at most `size` bins of equally many values; when they are full, neighbours become one.

    Args:
      size: an even number.
    """

    def __init__(self, size: int = 600):
        if size < 2 or size % 2:
            raise ValueError(f"`size` (={size}) must be an even number, 2 or more")
        self.size, self.width, self.bins = size, 1, list[Bin]()

    def add(self, x: float, y: float) -> None:
        """The next value."""
        value = Bin(x, y, y, y)
        if self.bins and self.bins[-1].count < self.width:
            self.bins[-1] = _joined(self.bins[-1], value)
            return
        if len(self.bins) == self.size:
            self.bins = [_joined(*self.bins[index : index + 2]) for index in range(0, self.size, 2)]
            self.width *= 2
        self.bins.append(value)


def _joined(one: Bin, other: Bin) -> Bin:
    count = one.count + other.count
    x = (one.x * one.count + other.x * other.count) / count
    return Bin(x, one.total + other.total, min(one.low, other.low), max(one.high, other.high), count)
