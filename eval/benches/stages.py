"""Where the time of a whole job goes, from file to file, frame by frame: reading, motion, finders, network, writing.

Stages are timed alone, in turn, on the frames of one clip. In a job they overlap, so they add up to more than it takes.
"""

import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval import observed
from eval.benches.opened import opened
from eval.benches.rows import in_turn, markdown, seconds_of
from jaxdyn import jobs
from jaxdyn.interpolator import Interpolator, Middle
from jaxdyn.types import Cost
from jaxdyn.upscaler import Large, Upscaler


@dataclasses.dataclass(frozen=True)
class StageRow:
    """A stage, and its seconds of a made frame, median; `share` of the whole job's."""

    name: str
    seconds: float
    share: float


class Still:
    """Makes frames at once: a job with it reads and writes, and does nothing else."""

    scale, overlap = Upscaler.scale, Upscaler.overlap

    def __init__(self, model: Interpolator | Upscaler):
        self.dense_cost = model.dense_cost
        self.window_length = getattr(model, "window_length", None)

    def middle(self, frame0: np.ndarray, frame1: np.ndarray) -> Middle:
        """The first of both."""
        del frame1
        return Middle(frame0, None, Cost(()))

    def window(self, frames: np.ndarray, starts: np.ndarray, keep: tuple[int, int]) -> list[Large]:
        """Each pixel 16 times."""
        del starts
        return [Large(one.repeat(self.scale, 0).repeat(self.scale, 1), None, Cost(())) for one in frames[slice(*keep)]]


def measure(job: str, rounds: int = 3, clip: str | None = None, weights: str | None = None) -> list[StageRow]:
    """Times the stages of a job, and the job; the last row is what its first run takes more, in all and not by frame.

    Args:
      job, clip, weights: as `opened` takes them.
      rounds: interleaved repetitions.
    """
    with opened(job, clip, weights) as what:
        source, model = what.source, what.make()

        def run(runner: Any) -> Any:
            return what.run(source, what.target, runner, overwrite=True)

        begun = time.perf_counter()
        report = run(model)
        first = time.perf_counter() - begun
        calls = {
            "reading": lambda: frames_of(source),
            "reading, judging, writing": lambda: run(Still(model)),
            "whole job": lambda: run(model),
        }
        spent = in_turn({name: functools.partial(seconds_of, call) for name, call in calls.items()}, rounds)
        inside = _inside(model, what.make(execution="dense"), frames_of(source))
    per = report.counts.made
    rest = spent["reading, judging, writing"] - spent["reading"]
    seconds = {"reading": spent["reading"] / per, **inside, "judging, encoding, writing": max(0.0, rest) / per}
    whole = spent["whole job"]
    seconds |= {"whole job": whole / per, "first run, more": first - whole}
    return [StageRow(f"{job}: {name}", own, own / seconds["whole job"]) for name, own in seconds.items()]


def _inside(model: Any, dense: Any, frames: np.ndarray) -> dict[str, float]:
    """What the network and its motion take, seconds of a made frame."""
    if isinstance(model, Interpolator):
        return dict(observed.interpolation_seconds(model, dense, frames[0], frames[1])["dynamic"])
    window = frames[: model.window_length(*frames.shape[1:3])]
    return dict(observed.enlargement_seconds(model, dense, window)["dynamic"])


def frames_of(source: Path) -> np.ndarray:
    """Reads a clip: float32 [T, H, W, 3] in [0, 1]."""
    return np.stack([picture.rgb for picture in jobs.open_source(source, None).pictures()])


def table(found: Sequence[StageRow]) -> str:
    """The rows as Markdown."""
    cells = [[row.name, f"{1e3 * row.seconds:.1f}", f"{row.share:.0%}"] for row in found[:-1]]
    more = found[-1]
    return markdown(["stage", "ms a made frame", "of the job"], cells) + f"\n{more.name}: {more.seconds:.1f} s"
