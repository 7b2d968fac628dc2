"""What became of every frame of a job, and the line that says so."""

import dataclasses
from pathlib import Path
from typing import Any


@dataclasses.dataclass
class Counts:
    """Frames of a job or of one segment; `frames_out` is the sum of `shown`, `made`, `held` and `copied`.

    Of an upscaled video, `made` are its large frames and `copied` those at source frames that repeat the one before.
    """

    frames_in: int = 0  # source frames read
    shown: int = 0  # source frames in the output at their own time
    made: int = 0  # frames by the model
    held: int = 0  # in-between times at a cut: the nearest source frame
    copied: int = 0  # in-between times between equal frames: the first of them
    cuts: int = 0
    repeats: int = 0  # source frames that repeat the one before
    evaluations: int = 0  # of the model
    flops: float = 0.0  # of these evaluations, as executed
    dense_flops: float = 0.0  # of the dense network, as often
    damaged: int = 0  # frames that the decoder flagged

    @property
    def frames_out(self) -> int:
        """Frames in the output."""
        return self.shown + self.made + self.held + self.copied

    def add(self, other: "Counts") -> None:
        """Adds another segment's counts."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def as_dict(self) -> dict[str, Any]:
        """Plain values; `Counts(**values)` is the way back."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Report:
    """What a job did.

    Attributes:
      source: what was read.
      target: what was written.
      counts: every frame, in and out.
      duration_in: of the source's picture, s.
      duration_out: of the target's picture, s.
      seconds: wall time of this run.
      frames_resumed: output frames that an earlier run had made.
      notes: what else the user should know, one line each.
      size_in: (width, height) of the source's frames.
      size_out: of the target's.
    """

    source: Path
    target: Path
    counts: Counts
    duration_in: float
    duration_out: float
    seconds: float
    frames_resumed: int = 0
    notes: tuple[str, ...] = ()
    size_in: tuple[int, int] | None = None
    size_out: tuple[int, int] | None = None

    @property
    def share(self) -> float | None:
        """Executed FLOPs as a share of the dense network's; None if nothing was computed or the model does not say."""
        return self.counts.flops / self.counts.dense_flops if self.counts.dense_flops else None

    def line(self) -> str:
        """The last line of a job."""
        c = self.counts
        kinds = [f"{c.shown} shown", f"{c.made} made"]
        kinds.append(f"{c.held} held at {plural(c.cuts, 'cut')}" if c.cuts else "no cuts")
        kinds.append(self._copies())
        return self._line(kinds, f"{self.duration_in:.2f} s in, {self.duration_out:.2f} s out")

    def _copies(self) -> str:
        c = self.counts
        return f"{c.copied} copied at {plural(c.repeats, 'repeated frame')}" if c.repeats else "no repeated frames"

    def _line(self, kinds: list[str], extent: str) -> str:
        c = self.counts
        share = "" if self.share is None else f", {self.share:.1%} of the dense FLOPs"
        resumed = f", {self.frames_resumed} frames from an earlier run" if self.frames_resumed else ""
        return (
            f"{self.target}: {plural(c.frames_in, 'frame')} in, {c.frames_out} out ({', '.join(kinds)}){share}, "
            f"{extent}, took {self.seconds:.1f} s{resumed}"
        )


class UpscaleReport(Report):
    """What an upscaling job did."""

    def line(self) -> str:
        """The last line of a job."""
        c = self.counts
        kinds = [f"{c.made} made", self._copies(), plural(c.cuts, "cut") if c.cuts else "no cuts"]
        sizes = " -> ".join(f"{width}x{height}" for width, height in (self.size_in, self.size_out))
        return self._line(kinds, f"{sizes}, {self.duration_out:.2f} s of video")


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a job is: source frames done, of about how many, and output frames so far."""

    frames_in: int
    total: int | None
    frames_out: int


def plural(count: int, noun: str) -> str:
    """1 frame, 2 frames."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
