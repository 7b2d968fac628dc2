"""What an upscaler sees: distinct frames, in windows with overlap.

    intervals -> distinct frames (repeats folded into the frame that they repeat) -> windows

A model that looks forward and back sees a window: `length` frames to enlarge, with `overlap` frames before and after
them that only carry state. Where windows begin depends on the clip and on the part asked for, and on nothing else: a
run that continues in the middle cuts the same windows.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from jaxdyn.jobs import Interval
from jaxdyn.scenes import Pair, judge
from jaxdyn.video import Picture

MAX_REPEATS = 1000  # of one frame; a longer still is computed anew, so that no window waits for ever


@dataclasses.dataclass
class Distinct:
    """A frame that differs from the one before, and what repeats it.

    Attributes:
      picture: the frame.
      is_cut: whether a new shot begins with it.
      times: when it is shown, s, and when each repeat is.
      end: when the last of them ends, s.
      num_damaged: how many of them the decoder flagged.
    """

    picture: Picture
    is_cut: bool
    times: list[Fraction]
    end: Fraction
    num_damaged: int


@dataclasses.dataclass(frozen=True)
class Window:
    """What an upscaler sees at once: a step of the run.

    Attributes:
      frames: all of them, in order.
      keep: (first, last): frames[first:last] are enlarged.
      next: see `jobs.Step`.
      before: frames that a run which begins to read there meets before those of the next window.
    """

    frames: list[Distinct]
    keep: tuple[int, int]
    next: Fraction | None
    before: int

    @property
    def kept(self) -> list[Distinct]:
        """The frames to enlarge."""
        return self.frames[slice(*self.keep)]

    @property
    def begin(self) -> Fraction:
        """When the first of them is shown, s."""
        return self.kept[0].times[0]

    @property
    def end(self) -> Fraction:
        """When the last of them ends, s."""
        return self.kept[-1].end

    @property
    def data(self) -> Mapping[str, Any]:
        """What a run that continues after this window has to know."""
        return {"before": self.before}


def arrays(frames: list[Distinct]) -> tuple[np.ndarray, np.ndarray]:
    """frames float32 [n, H, W, 3], starts bool [n]: a shot begins at each cut, and at the first frame, before which
    nothing is known."""
    starts = np.array([frame.is_cut for frame in frames])
    starts[0] = True
    return np.stack([frame.picture.rgb for frame in frames]), starts


def distinct(intervals: Iterator[Interval]) -> Iterator[Distinct]:
    """Frames without their repeats.

    Each picture is judged against the last distinct frame, so that a slow fade does not stand still. Opacity that
    changes makes a frame distinct too.
    """
    held = None
    for interval in intervals:
        picture, damaged = interval.picture, int(interval.picture.is_damaged)
        pair = Pair.CUT if held is None else _judge(held, picture)
        if pair is Pair.REPEAT:
            held.times.append(picture.time)
            held.end, held.num_damaged = interval.end, held.num_damaged + damaged
            continue
        if held is not None:
            yield held
        held = Distinct(picture, held is not None and pair is Pair.CUT, [picture.time], interval.end, damaged)
    if held is not None:
        yield held


def _judge(held: Distinct, picture: Picture) -> Pair:
    """What a picture is to the last distinct frame."""
    pair = judge(held.picture.rgb, picture.rgb)
    if pair is not Pair.REPEAT:
        return pair
    alpha0, alpha1 = held.picture.alpha, picture.alpha
    is_same = np.array_equal(alpha0, alpha1) if alpha0 is not None and alpha1 is not None else alpha0 is alpha1
    return Pair.REPEAT if is_same and len(held.times) <= MAX_REPEATS else Pair.MOTION


def cut_windows(frames: Iterator[Distinct], length: int, overlap: int, before: int = 0) -> Iterator[Window]:
    """Windows of `length` frames, each with up to `overlap` more on either side.

    Args:
      frames: of a whole part, or from the frame on that `Window.next` of an earlier run names.
      length: frames that a window gives; fewer in the last one.
      overlap: frames that it sees before and after.
      before: frames that come before those of the first window: `Window.before` of an earlier run.
    """
    margin = max(overlap, 1)  # one frame at least: it tells a cut at the border, and whether there is a next window
    held, first = [], before
    while True:
        held += itertools.islice(frames, first + length + margin - len(held))
        if len(held) <= first:
            return
        last = min(first + length, len(held))
        low, drop = max(0, first - overlap), max(0, last - margin)
        following = held[drop].times[0] if last < len(held) else None
        yield Window(held[low : last + overlap], (first - low, last - low), following, last - drop)
        del held[:drop]
        first = last - drop
