"""Methods on the clips of a protocol: one record for each, streaming.

Of interpolation two frames and the truth between them are in memory, of upscaling one window of a clip, whatever the
set's size. All methods see the same frames; scores and costs are added up as they come and divided once at the end, so
that the same rows twice are identical, times aside.
"""

import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from eval import timing
from eval.methods import Dense, Interpolates, Made, Method, Pair, Upscales
from eval.protocols import Protocol
from eval.records import Row
from eval.samples import Clip, Samples
from jaxdyn import metrics, sampling, upscaler
from jaxdyn.data import sequences
from jaxdyn.errors import UserError


def evaluate(
    samples: Samples,
    methods: Sequence[Method],
    rounds: int = 0,
    on_clip: Callable[[Clip], None] = lambda clip: None,
) -> list[Row]:
    """Scores and costs of methods on a benchmark, one row each, in their order.

        protocol = protocols.named("middlebury")
        weights = [methods.load_weights("cain_sd")]
        rows = evaluate(
            samples.open_samples(protocol, "FOLDER"),
            points.build(protocol.task, weights, ["averaging", "finders", "exit1", "budget30%"]),
        )
        print(tables.render(rows))

    Args:
      samples: of a protocol, see `samples.open_samples`.
      methods: see `points.build`.
      rounds: of timing, in turn with the dense network, after the scores; 0: none. The times, and the peak of memory,
        are of the first frames of the first clip.
      on_clip: is told each clip that is done.

    Raises:
      ValueError: no clips.
      UserError: none of them has a frame to score.
    """
    protocol = samples.protocol
    if not samples.clips:
        raise ValueError(f"{protocol.name}: there are no clips to score")
    work = _Interpolation(protocol) if protocol.task == "interpolate" else _Upscaling(protocol)
    work.tune(samples, methods)
    sums = [_Sums(protocol) for _ in methods]
    for clip in samples:
        work.score(clip, methods, sums)
        on_clip(clip)
    rows = [total.row(method) for total, method in zip(sums, methods, strict=True)]
    return _timed(rows, work, samples.clips[0], methods, rounds) if rounds else rows


class _Sums:
    """What one method has come to so far."""

    def __init__(self, protocol: Protocol):
        self.protocol = protocol
        self.psnr: Counter[str] = Counter()  # by clip
        self.ssim = {window: Counter() for window in protocol.windows}
        self.scored: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.sizes: set[tuple[int, int]] = set()
        self.num_made, self.flops, self.multiply_adds, self.dense_flops = 0, 0.0, 0.0, 0.0

    def add_cost(self, made: Made, dense: Dense | None, size: tuple[int, int]) -> None:
        """A frame that was made, of input of (H, W)."""
        self.num_made += 1
        self.flops += made.cost.flops
        self.multiply_adds += made.cost.multiply_adds
        self.dense_flops += dense.dense_cost(*size).flops if dense else 0.0
        self.counts.update(made.counts)
        self.sizes.add(size[::-1])

    def add_score(self, clip: str, frame: np.ndarray, truth: np.ndarray) -> None:
        """A frame beside the true one."""
        how = self.protocol
        found = metrics.scores(frame, truth, how.channel, how.border, how.windows, how.is_rounded)
        self.psnr[clip] += found.psnr
        for window, value in found.ssim.items():
            self.ssim[window][clip] += value
        self.scored[clip] += 1

    def row(self, method: Method) -> Row:
        """The record."""
        how, label = self.protocol, method.label
        if not self.scored:
            raise UserError(f"{how.name}: the clips hold no frame to score; give longer ones.")
        return Row(
            benchmark=how.name,
            method=label.method,
            point=label.point,
            weights=label.weights,
            psnr=self._mean(self.psnr),
            ssim={window: self._mean(total) for window, total in self.ssim.items()},
            size=next(iter(self.sizes)) if len(self.sizes) == 1 else None,
            flops=self.flops / self.num_made,
            multiply_adds=self.multiply_adds / self.num_made,
            share=self.flops / self.dense_flops if self.dense_flops else None,
            parameters=label.parameters,
            num_frame=self.scored.total(),
            clips=self._by_clip(self.psnr),
            clips_ssim=self._by_clip(self.ssim[how.windows[0]]),
            counts=dict(self.counts),
            protocol=how.sentence(),
        )

    def _by_clip(self, total: Counter[str]) -> dict[str, float]:
        return {clip: total[clip] / number for clip, number in self.scored.items()}

    def _mean(self, total: Counter[str]) -> float:
        if self.protocol.average == "frames":
            return total.total() / self.scored.total()
        return sum(self._by_clip(total).values()) / len(self.scored)


class _Interpolation:
    """Odd frames of a clip, from 0, are the truth between the even ones; a triplet is a clip of three."""

    def __init__(self, protocol: Protocol):
        self.protocol = protocol

    def triplets(self, clip: Clip) -> Iterator["_Triplet"]:
        """The triplets of a clip; nothing of them is kept."""
        frames = itertools.islice(clip.frames(), self.protocol.num_frame)
        if (frame := next(frames, None)) is None:
            return
        first = _float(frame)
        for truth in frames:
            if (frame := next(frames, None)) is None:
                return
            last = _float(frame)
            yield _Triplet(first, truth, last)
            first, truth, frame = last, None, None

    def tune(self, samples: Samples, methods: Sequence[Interpolates]) -> None:
        """Meets budgets."""
        for method in methods:
            method.tune(functools.partial(self.pairs, samples))

    def pairs(self, samples: Samples) -> Iterator[Pair]:
        """Up to 8 pairs, spread over the clips, and over each where it is known how long it is."""
        chosen = _spread(samples.clips, sampling.NUM_PAIRS)
        for index, clip in enumerate(chosen):
            number = -(-(sampling.NUM_PAIRS - index) // len(chosen))
            known = [length for length in (clip.num_frame, self.protocol.num_frame) if length is not None]
            places = set(_spread(range((min(known, default=2 * number + 1) - 1) // 2), number))
            yield from ((one.first, one.last) for at, one in enumerate(self.triplets(clip)) if at in places)

    def score(self, clip: Clip, methods: Sequence[Interpolates], sums: Sequence[_Sums]) -> None:
        """One clip, triplet by triplet."""
        for triplet in self.triplets(clip):
            for method, total in zip(methods, sums, strict=True):
                made = method.middle(triplet.first, triplet.last)
                total.add_cost(made, method.dense, triplet.truth.shape[:2])
                total.add_score(clip.name, made.frame, triplet.truth)
                del made
            del triplet  # before the next is decoded

    def calls(self, clip: Clip, methods: Sequence[Interpolates]) -> tuple[list[Callable[[], object]], int]:
        """What is timed: each method on the first pair, and how many frames that makes."""
        triplet = next(self.triplets(clip))
        return [functools.partial(method.middle, triplet.first, triplet.last) for method in methods], 1


class _Upscaling:
    """Frames are cropped to multiples of 4 and are the truth; small ones are made of them and rounded to 8 bits."""

    def __init__(self, protocol: Protocol):
        self.protocol = protocol

    def frames(self, clip: Clip) -> Iterator[Pair]:
        """True frames, uint8 [4 h, 4 w, 3], and small ones, uint8 [h, w, 3]."""
        for frame in itertools.islice(clip.frames(), self.protocol.num_frame):
            height, width = (side // sequences.SCALE * sequences.SCALE for side in frame.shape[:2])
            truth = frame[:height, :width]
            yield truth, np.asarray(_degraded(truth, self.protocol.degradation))

    def tune(self, samples: Samples, methods: Sequence[Upscales]) -> None:
        """Meets budgets."""
        windows = functools.cache(functools.partial(self.first_windows, samples))
        for method in methods:
            method.tune(windows)

    def first_windows(self, samples: Samples) -> list[Pair]:
        """The first frames of up to 3 clips, and where shots begin."""
        windows = []
        for clip in _spread(samples.clips, sampling.NUM_WINDOWS):
            small = [small for _, small in itertools.islice(self.frames(clip), upscaler.PROBE)]
            windows.append((_float(np.stack(small)), _starts(len(small))))
        return windows

    def windows(self, clip: Clip, methods: Sequence[Upscales]) -> Iterator["_Window"]:
        """A clip in windows that suit all methods; a mirrored one is followed by itself in reverse.

        Raises:
          ValueError: a mirrored clip that does not fit one window.
        """
        frames = self.frames(clip)
        if (begun := next(frames, None)) is None:
            return
        limits = [method.window_length(*begun[1].shape[:2]) for method in methods]
        length = min((limit for limit in limits if limit is not None), default=self.protocol.length or upscaler.LENGTH)
        frames = itertools.chain([begun], frames)
        del begun
        if self.protocol.is_mirrored:
            forth = list(itertools.islice(frames, length + 1))
            if 2 * len(forth) > length:
                raise ValueError(f"{clip.name}: with its reverse it has more frames than the window of {length}")
            frames = iter(forth + forth[::-1])
        yield from _cut(frames, length, max((method.overlap for method in methods), default=0))

    def score(self, clip: Clip, methods: Sequence[Upscales], sums: Sequence[_Sums]) -> None:
        """One clip, window by window."""
        for window in self.windows(clip, methods):
            for method, total in zip(methods, sums, strict=True):
                made = method.window(window.small, _starts(len(window.small)), window.keep)
                for one in made:
                    total.add_cost(one, method.dense, window.small.shape[1:3])
                self._score_frames(clip, window, [one.frame for one in made], total)
                del made
            del window  # before the next is decoded

    def _score_frames(self, clip: Clip, window: "_Window", large: list[np.ndarray], total: _Sums) -> None:
        """Those of a window that count."""
        if self.protocol.is_mirrored:
            large = [(large[t] + large[-1 - t]) / 2 for t in range(len(large) // 2)]
        for offset, frame in enumerate(large):
            if self.protocol.is_scored(window.number + offset, clip.num_frame):
                total.add_score(clip.name, frame, window.truth[window.keep[0] + offset])

    def calls(self, clip: Clip, methods: Sequence[Upscales]) -> tuple[list[Callable[[], object]], int]:
        """What is timed: each method on the first window, and how many frames that makes."""
        window = next(self.windows(clip, methods))
        given = window.small, _starts(len(window.small)), window.keep
        return [functools.partial(method.window, *given) for method in methods], window.keep[1] - window.keep[0]


@dataclasses.dataclass(frozen=True)
class _Triplet:
    """Two frames, float32 [H, W, 3] in [0, 1], and the true one between them, uint8."""

    first: np.ndarray
    truth: np.ndarray
    last: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Window:
    """A stretch of a clip.

    Attributes:
      number: of the first frame that is wanted, from 0.
      truth: uint8 [4 h, 4 w, 3] each.
      small: float32 [n, h, w, 3] in [0, 1].
      keep: (first, last) of those that are wanted, within the window.
    """

    number: int
    truth: list[np.ndarray]
    small: np.ndarray
    keep: tuple[int, int]


def _cut(frames: Iterator[Pair], length: int, overlap: int) -> Iterator[_Window]:
    """Windows of `length` frames that are wanted, each with up to `overlap` more on either side."""
    held: list[Pair] = []
    number = before = 0
    while True:
        held += itertools.islice(frames, before + length + overlap - len(held))
        last = min(before + length, len(held))
        if last <= before:
            return
        yield _Window(number, [truth for truth, _ in held], _float(np.stack([one for _, one in held])), (before, last))
        number += last - before
        drop = max(0, last - overlap)
        before = last - drop
        del held[:drop]


def _timed(
    rows: Sequence[Row], work: _Interpolation | _Upscaling, clip: Clip, methods: Sequence[Method], rounds: int
) -> list[Row]:
    """Rows with their times, in turn with the dense networks', and with the peaks of memory."""
    dense = list({id(method.dense): method.dense for method in methods if method.dense is not None}.values())
    calls, number = work.calls(clip, [*dense, *methods])
    measured = timing.interleaved(calls, rounds)
    times = {id(one): found.seconds for one, found in zip(dense, measured, strict=False)}
    platform = jax.default_backend()
    return [
        dataclasses.replace(
            row,
            milliseconds={platform: 1e3 * found.seconds / number},
            dense_milliseconds={platform: 1e3 * times[id(method.dense)] / number} if method.dense else {},
            peak_memory=found.peak_memory,
        )
        for row, method, found in zip(rows, methods, measured[len(dense) :], strict=True)
    ]


def _spread(items: Sequence, number: int) -> list:
    """Up to so many of them, evenly spread, the first one included."""
    return [items[len(items) * index // number] for index in range(number)] if len(items) > number else list(items)


def _starts(number: int) -> np.ndarray:
    """A shot begins at the first of so many frames."""
    return np.arange(number) == 0


def _float(frame: np.ndarray) -> np.ndarray:
    return frame.astype(np.float32) / 255


@functools.partial(jax.jit, static_argnums=1)
def _degraded(frame, degradation):
    return sequences.degrade(frame, degradation)
