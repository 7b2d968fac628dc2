"""Samples of a clip on which a model is set to meet a budget: the same clip gives the same ones in every run."""

import contextlib
import itertools
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from jaxdyn.jobs import Interval, Part, intervals, until_broken, until_time
from jaxdyn.scenes import Pair, judge
from jaxdyn.video import Source
from jaxdyn.windows import Distinct, distinct

NUM_WINDOWS = 3
NUM_PAIRS = 8
PAIRS_TRIED = 12  # neighbours that are looked at in each place


def sample_frames(clip: Source, part: Part, length: int, keep_partial: bool = False) -> list[list[Distinct]]:
    """Runs of up to `length` distinct frames from the beginning, from a third and from two thirds of a part.

    A run that would begin within the one before is left out: a short clip gives fewer.

    Args:
      clip: what is read.
      part: of it.
      length: frames of a run.
      keep_partial: of a clip that breaks, take what is whole.
    """
    samples = []
    for place in places(clip, part, NUM_WINDOWS):
        if samples and (place is None or place <= samples[-1][-1].times[-1]):
            continue
        with reading(clip, part, place, keep_partial) as found:
            sample = list(itertools.islice(distinct(found), length))
        if sample:
            samples.append(sample)
    return samples


def sample_pairs(clip: Source, part: Part, keep_partial: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """Up to 8 pairs of neighbouring frames, float32 [H, W, 3], that show motion, spread over a part."""
    pairs, last = [], None
    for place in places(clip, part, NUM_PAIRS):
        with reading(clip, part, place, keep_partial) as found:
            for interval in itertools.islice(found, PAIRS_TRIED):
                if interval.following is None or (last is not None and interval.begin <= last):
                    continue
                pair = (interval.picture.rgb, interval.following.rgb)
                if judge(*pair) is Pair.MOTION:
                    pairs.append(pair)
                    last = interval.begin
                    break
    return pairs


def places(clip: Source, part: Part, count: int) -> list[Fraction | None]:
    """Times, s, that divide a part evenly; only its beginning where the clip does not say how long it is."""
    since, until = part
    known = clip.properties
    begin, end = known.first_time if since is None else since, clip.expected_end
    if end is None and known.num_frames is not None:
        end = known.first_time + known.num_frames / known.rate
    if until is not None:
        end = until if end is None else min(end, until)
    if end is None or end <= begin:
        return [since]
    return [since, *(begin + (end - begin) * Fraction(index, count) for index in range(1, count))]


@contextlib.contextmanager
def reading(clip: Source, part: Part, place: Fraction | None, keep_partial: bool) -> Iterator[Iterator[Interval]]:
    """The intervals of a part from a time on, as a context that closes the file."""
    with contextlib.closing(clip.pictures(place)) as pictures:
        yield intervals(until_broken(until_time(pictures, part[1]), keep_partial, []), clip, part[1])
