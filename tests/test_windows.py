"""Tests of `jaxdyn.windows`: frames without repeats, and the windows that are cut from them."""

from fractions import Fraction

import numpy as np
import pytest

from jaxdyn.jobs import Interval
from jaxdyn.video import Picture
from jaxdyn.windows import Distinct, arrays, cut_windows, distinct
from tests.clips import pan


def frames_at(times):
    return [
        Distinct(Picture(Fraction(time), None, None), False, [Fraction(time)], Fraction(time + 1), 0) for time in times
    ]


def times_of(frames):
    return [int(frame.times[0]) for frame in frames]


def test_an_example():
    first, second, third = cut_windows(iter(frames_at(range(8))), length=3, overlap=1)
    assert (times_of(first.frames), first.keep, first.next, first.data) == ([0, 1, 2, 3], (0, 3), 2, {"before": 1})
    assert (times_of(second.frames), second.keep, second.next) == ([2, 3, 4, 5, 6], (1, 4), 5)
    assert (times_of(third.frames), third.keep, third.next) == ([5, 6, 7], (1, 3), None)
    assert [(window.begin, window.end) for window in (first, second, third)] == [(0, 3), (3, 6), (6, 8)]


@pytest.mark.parametrize("num_frames", [1, 2, 3, 6, 7, 20])
@pytest.mark.parametrize("length", [1, 3, 8])
@pytest.mark.parametrize("overlap", [0, 1, 2, 9])
def test_reading_from_where_a_window_says_gives_the_windows_that_follow(num_frames, length, overlap):
    def seen(windows):
        return [(times_of(window.frames), window.keep, window.next, window.before) for window in windows]

    whole = list(cut_windows(iter(frames_at(range(num_frames))), length, overlap))
    assert [time for window in whole for time in times_of(window.kept)] == list(range(num_frames))
    for index, window in enumerate(whole):
        if window.next is None:
            assert index == len(whole) - 1
            continue
        rest = frames_at(range(int(window.next), num_frames))
        assert seen(cut_windows(iter(rest), length, overlap, window.before)) == seen(whole[index + 1 :])


def test_no_frames_no_windows():
    assert list(cut_windows(iter([]), 5, 2)) == []


def test_only_what_a_window_needs_is_read():
    read = []
    source = (read.append(index) or frame for index, frame in enumerate(frames_at(range(50))))
    windows = cut_windows(source, length=5, overlap=2)
    next(windows)
    assert len(read) == 7
    next(windows)
    assert len(read) == 12


def test_repeats_are_folded_and_cuts_marked():
    one, two = pan(2, 32, 32, seed=1), pan(1, 32, 32, seed=2)
    pictures = [
        Picture(Fraction(t), Fraction(1), image) for t, image in enumerate([one[0], one[0], one[1], two[0], two[0]])
    ]
    intervals = [Interval(picture, None, picture.time + 1) for picture in pictures]
    found = list(distinct(iter(intervals)))
    assert [(frame.times, frame.is_cut, frame.end) for frame in found] == [
        ([0, 1], False, 2),
        ([2], False, 3),
        ([3, 4], True, 5),
    ]
    frames, starts = arrays(found[1:])
    assert starts.tolist() == [True, True]
    np.testing.assert_array_equal(np.rint(frames * 255), [one[1], two[0]])
