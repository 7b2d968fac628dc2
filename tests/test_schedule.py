"""Tests of `jaxdyn.schedule`."""

from fractions import Fraction

import pytest

from jaxdyn.schedule import GRID, Keep, Moment, Multiply, Resample, between


def shown(schedule, times, duration):
    """All moments of a clip whose source frames are at `times`; the last one is shown for `duration`."""
    ends = [*times[1:], times[-1] + duration]
    return [
        (index, moment)
        for index, (time, end) in enumerate(zip(times, ends, strict=True))
        for moment in schedule.moments(time, end, is_last=index == len(times) - 1)
    ]


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_multiply_gives_factor_times_n_minus_one_plus_one(factor):
    times = [Fraction(index, 25) for index in range(6)]
    moments = [moment for _, moment in shown(Multiply(factor), times, Fraction(1, 25))]
    assert len(moments) == factor * 5 + 1
    assert [moment.time for moment in moments] == [Fraction(index, 25 * factor) for index in range(factor * 5 + 1)]


def test_multiply_keeps_variable_rate_in_place():
    times = [Fraction(0), Fraction(1), Fraction(5)]
    moments = [moment for _, moment in shown(Multiply(2), times, Fraction(1))]
    assert moments == [
        Moment(Fraction(0), 0),
        Moment(Fraction(1, 2), 4),
        Moment(Fraction(1), 0),
        Moment(Fraction(3), 4),
        Moment(Fraction(5), 0),
    ]


def test_keep_keeps():
    times = [Fraction(0), Fraction(1), Fraction(5)]
    assert [moment for _, moment in shown(Keep(), times, Fraction(1))] == [Moment(time, 0) for time in times]


@pytest.mark.parametrize("factor", [0, 1, 3, 6, 16, -2])
def test_multiply_refuses_other_factors(factor):
    with pytest.raises(ValueError, match=rf"`factor` \(={factor}\).*2, 4 or 8.*--fps"):
        Multiply(factor)


@pytest.mark.parametrize(
    "rate", [Fraction(60), Fraction(60000, 1001), Fraction(24), Fraction(10), Fraction(50), Fraction(200)]
)
@pytest.mark.parametrize("origin", [Fraction(0), Fraction(7, 5)])
def test_resample_is_a_constant_rate_of_nearest_points(rate, origin):
    times = [origin + Fraction(index, 25) for index in range(10)]
    moments = shown(Resample(rate, origin), times, Fraction(1, 25))
    assert [moment.time for _, moment in moments] == [origin + index / rate for index in range(len(moments))]
    length = Fraction(10, 25)
    assert length <= len(moments) / rate < length + 1 / rate
    for index, moment in moments:
        assert 0 <= moment.point <= GRID
        if index < 9:
            place = times[index] + Fraction(moment.point, GRID * 25)
            assert abs(place - moment.time) <= Fraction(1, 2 * GRID * 25)


def test_resample_from_an_interval_in_the_middle_is_what_the_whole_gives():
    schedule = Resample(Fraction(60), Fraction(0))
    times = [Fraction(index, 24) for index in range(12)]
    whole = shown(schedule, times, Fraction(1, 24))
    tail = shown(schedule, times[5:], Fraction(1, 24))
    assert [moment for index, moment in whole if index >= 5] == [moment for _, moment in tail]


def test_resample_variable_rate():
    times = [Fraction(0), Fraction(1, 10), Fraction(1, 2)]
    points = [
        (index, moment.point) for index, moment in shown(Resample(Fraction(10), Fraction(0)), times, Fraction(1, 10))
    ]
    assert points == [(0, 0), (1, 0), (1, 2), (1, 4), (1, 6), (2, 0)]


@pytest.mark.parametrize("points", [[4], [2, 4, 6], list(range(1, 8)), [1], [3, 6], []])
def test_between_is_in_order_and_makes_only_what_is_needed(points):
    calls = []

    def middle(a, b):
        calls.append((a, b))
        return (a + b) / 2

    assert list(between(0.0, 8.0, points, middle)) == [(point, float(point)) for point in points]
    needed = {4} if points else set()
    for point in points:
        if point % 4:
            needed.add(2 if point < 4 else 6)
        if point % 2:
            needed.add(point)
    assert len(calls) == len(needed)


def test_resample_refuses_no_rate():
    with pytest.raises(ValueError, match=r"`fps` \(=0\)"):
        Resample(Fraction(0), Fraction(0))
