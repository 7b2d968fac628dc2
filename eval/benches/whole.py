"""A whole job, from file to file, against its compute alone: the same calls of the network, on frames in memory.

Where decoding, computing and encoding overlap, the two are alike. On a CPU they share its cores.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from eval.benches.opened import opened
from eval.benches.rows import in_turn, markdown, seconds_of


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
      job, clip, weights: as `opened` takes them.
      rounds: interleaved repetitions.
    """
    with opened(job, clip, weights) as what:
        model = what.make()
        recorded = Recorded(model, what.method)
        what.run(what.source, what.target, recorded)  # compiles, and notes the calls

        def alone() -> None:
            for arguments in recorded.calls:
                getattr(model, what.method)(*arguments)

        whole = functools.partial(what.run, what.source, what.target, model, overwrite=True)
        spent = in_turn({"whole": lambda: seconds_of(whole), "alone": lambda: seconds_of(alone)}, rounds)
    return WholeRow(job, spent["whole"], spent["alone"], spent["whole"] / spent["alone"], len(recorded.calls))


def table(found: Sequence[WholeRow]) -> str:
    """The rows as Markdown."""
    cells = [
        [row.name, f"{row.job_seconds:.2f}", f"{row.compute_seconds:.2f}", f"{row.ratio:.3f}", str(row.num_call)]
        for row in found
    ]
    return markdown(["job", "whole s", "compute alone s", "ratio", "calls of the network"], cells)
