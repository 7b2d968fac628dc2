"""A whole job, from file to file, against its compute alone: the same calls of the network, on frames in memory.

Where decoding, computing and encoding overlap, the two are alike. On a CPU they share its cores.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.benches.drawn import write_clip
from eval.benches.rows import in_turn, markdown, seconds_of
from jaxdyn import pipeline, pretrained

SIZES = {"interpolate": (1280, 720), "upscale": (320, 180)}
FRAMES = {"interpolate": 9, "upscale": 96}
"""Of drawn clips; three windows of an upscaler, so that there is something to overlap with."""


@dataclasses.dataclass(frozen=True)
class WholeRow:
    """Seconds of a job and of its compute alone, medians; `ratio` of the first to the second."""

    name: str
    job_seconds: float
    compute_seconds: float
    ratio: float
    num_call: int


class Recorded:
    """A model that notes what it is asked, and is otherwise the model."""

    def __init__(self, model: Any, method: str):
        self._model, self.calls = model, []
        function = getattr(model, method)

        def noted(*arguments: Any) -> Any:
            self.calls.append(arguments)
            return function(*arguments)

        setattr(self, method, noted)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def measure(job: str, rounds: int = 3, clip: str | None = None, weights: str | None = None) -> WholeRow:
    """Times a job and its compute in turn, everything compiled.

    Args:
      job: "interpolate" or "upscale".
      rounds: interleaved repetitions.
      clip: a video; None: a drawn one at `SIZES`.
      weights: a name or a file; None: the default ones.
    """
    from jaxdyn.interpolator import Interpolator
    from jaxdyn.upscaler import Upscaler

    is_middle = job == "interpolate"
    network, variables = pretrained.load(weights or ("cain_sd" if is_middle else "skipvsr"))
    model = Interpolator(network, variables) if is_middle else Upscaler(network, variables)
    method, run = ("middle", pipeline.interpolate_video) if is_middle else ("window", pipeline.upscale_video)
    with tempfile.TemporaryDirectory(prefix="jaxdyn-bench-") as folder:
        source = Path(clip) if clip else write_clip(Path(folder) / "in.mp4", *SIZES[job], FRAMES[job])
        target, recorded = Path(folder) / "out.mp4", Recorded(model, method)
        run(source, target, recorded)  # compiles, and notes the calls

        def alone() -> None:
            for arguments in recorded.calls:
                getattr(model, method)(*arguments)

        calls = {"whole": lambda: run(source, target, model, overwrite=True), "alone": alone}
        spent = in_turn({name: functools.partial(seconds_of, call) for name, call in calls.items()}, rounds)
    return WholeRow(job, spent["whole"], spent["alone"], spent["whole"] / spent["alone"], len(recorded.calls))


def table(found: Sequence[WholeRow]) -> str:
    """The rows as Markdown."""
    cells = [
        [row.name, f"{row.job_seconds:.2f}", f"{row.compute_seconds:.2f}", f"{row.ratio:.3f}", str(row.num_call)]
        for row in found
    ]
    return markdown(["job", "whole s", "compute alone s", "ratio", "calls of the network"], cells)
