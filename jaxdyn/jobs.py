"""What every job on a video shares: paths, sources, parts of a clip, whole segments, the account at the end.

    pictures -> intervals -> (a job's own steps) -> segments in OUT.parts -> OUT

A job is a `Run` whose `write` says what becomes of one step: `interpolating.Interpolation`, `upscaling.Upscaling`.
`pipeline` puts the pieces together.
"""

import abc
import dataclasses
import os
import time as clock
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Protocol

import av
import numpy as np

from jaxdyn import images
from jaxdyn.accounting import Counts, Progress, Report, plural
from jaxdyn.errors import SourceBrokenError, UserError
from jaxdyn.output import Output, Plan, shown_until
from jaxdyn.parts import Parts, Record
from jaxdyn.report.job import JobPage
from jaxdyn.threads import Worker, prefetch
from jaxdyn.version import __version__
from jaxdyn.video import Picture, Source, VideoSource

AHEAD = 2  # frames that wait between decoding and computing, and between computing and encoding
SEGMENT_PIXELS = 2**28  # of the output, in a segment: 129 frames at 1920x1080, within SEGMENT_FRAMES
SEGMENT_FRAMES = (24, 240)
FOLDER_RATE = Fraction(24)
Part = tuple[Fraction | None, Fraction | None]
"""(since, until) on the source's clock, s: frames with since <= time < until; None = from the first, to the last."""


class Step(Protocol):
    """What a run does at once: a segment is a whole number of steps.

    Attributes:
      begin: when the first source frame of it is shown, s.
      end: when the last one ends, s.
      next: the time (s) of the source frame at which a run that continues after this step has to begin to read; None
        at the end.
      data: what else such a run has to know, JSON values.
    """

    begin: Fraction
    end: Fraction
    next: Fraction | None
    data: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Interval:
    """A picture until the next one: a step, and what other steps are made of."""

    picture: Picture
    following: Picture | None
    end: Fraction

    data: ClassVar[Mapping[str, Any]] = {}

    @property
    def begin(self) -> Fraction:
        """When the picture is shown, s."""
        return self.picture.time

    @property
    def next(self) -> Fraction | None:
        """When the following one is shown, s."""
        return None if self.following is None else self.following.time


class Run(abc.ABC):
    """One pass over the pictures, written in whole segments. Subclasses say what becomes of a step.

    Args:
      clip: what is read.
      output: where frames go.
      parts: whole segments, those of an earlier run included.
      map_folder: where pictures of Routes go; None = nowhere.
      progress: called after every source frame.
      part: of the clip.
      scale: how much larger the output's sides are.
      page: what is shown of the job afterwards; None = nothing.
    """

    report = Report

    def __init__(
        self,
        clip: Source,
        output: Output,
        parts: Parts,
        map_folder: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
        part: Part = (None, None),
        scale: int = 1,
        page: JobPage | None = None,
    ):
        self.clip, self.output, self.parts, self.part, self.page = clip, output, parts, part, page
        self.map_folder, self.progress, self.began = map_folder, progress, clock.perf_counter()
        self.total, self.counts = Counts(), Counts()  # of whole segments, of the one at work
        for record in parts.records:
            self.total.add(Counts(**record.counts))
        self.frames_resumed = self.total.frames_out
        self.num_expected = expected_frames(clip, *part)
        self.size = (clip.properties.height, clip.properties.width)
        self.size_out = (self.size[0] * scale, self.size[1] * scale)
        self.segment_length = int(np.clip(SEGMENT_PIXELS // (self.size_out[0] * self.size_out[1]), *SEGMENT_FRAMES))
        self.found = ""  # what was set to meet a budget

    @property
    def is_complete(self) -> bool:
        """Whether an earlier run has left nothing but joining to do."""
        return bool(self.parts.records) and self.parts.records[-1].next is None

    @property
    def number(self) -> int:
        """Of the output frame that is written next."""
        return self.total.frames_out + self.counts.frames_out

    def pictures(self, keep_partial: bool) -> Iterator[Picture]:
        """What is still to be read, a few ahead in a thread: after the whole segments that are there."""
        since, until = self.part
        if self.parts.records:
            following = self.parts.records[-1].next
            since = Fraction(10**9) if following is None else Fraction(following)
        pictures = until_time(self.clip.pictures(since), until)
        return prefetch(until_broken(pictures, keep_partial, self.output.notes), AHEAD)

    def all(self, steps: Iterator[Step]) -> None:
        """Segment after segment."""
        while self.segment(steps):
            pass

    def segment(self, steps: Iterator[Step]) -> bool:
        """Writes one segment; says whether there is more."""
        step = next(steps, None)
        if step is None:
            return False
        self.counts, begin = Counts(), step.begin
        writer = self.output.open_segment(self.parts.path(self.output.suffix), self.total.frames_out)
        try:
            with Worker(AHEAD) as worker:
                while step is not None:
                    self.write(step, writer, worker.submit)
                    end, following, data = step.end, step.next, dict(step.data)
                    step = None  # its frames are let go before others are read
                    if following is not None and self.counts.frames_out < self.segment_length:
                        step = next(steps, None)
                worker.submit(lambda: data.update(writer.close()))
        except BaseException:
            writer.abort()
            raise
        data |= {"start": str(begin), "end": str(end), "frames": self.counts.frames_out}
        later = None if following is None else str(following)
        self.parts.add(Record(writer.path, later, self.counts.as_dict(), data))
        self.total.add(self.counts)
        return following is not None

    @abc.abstractmethod
    def write(self, step: Step, writer: Any, submit: Callable[..., None]) -> None:
        """What becomes of one step: counts it, and submits what is to be written.

        Args:
          step: one of what `all` is given.
          writer: of the segment, see `output.Output.open_segment`.
          submit: queues a call of a method of the writer.
        """

    @abc.abstractmethod
    def write_page(self, done: Report) -> None:
        """Writes the page of the job."""

    def tell(self) -> None:
        """Reports progress."""
        if self.progress:
            self.progress(Progress(self.total.frames_in + self.counts.frames_in, self.num_expected, self.number))

    def save_map(self, picture: np.ndarray) -> None:
        """Writes a picture of a Route, named as the output frame that is written next."""
        images.write_image(self.map_folder / f"{self.number:08d}.png", picture)

    def say_no_map(self) -> None:
        """Notes that there is nothing to draw."""
        self.output.notes.append("no maps: this network takes the same path everywhere")

    def notes(self) -> list[str]:
        """What else is to be said."""
        notes, total = [], self.total
        if self.found:
            share = f"; all frames took {total.flops / total.dense_flops:.1%}" if total.dense_flops else ""
            notes.append(f"{self.found}{share}")
        if total.damaged:
            notes.append(f"{plural(total.damaged, 'source frame')} arrived damaged and went through as decoded")
        return notes

    def finish(self, source: Path, target: Path, plan: Plan) -> Report:
        """Joins the segments into the target, and writes the page if there is to be one.

        Raises:
          UserError: there is no frame; a page that cannot be written.
        """
        records, (since, until) = self.parts.records, self.part
        if not records:
            raise UserError(f"{source}: holds no frame in the part asked for; change --start and --end.")
        begin, end = Fraction(records[0].data["start"]), Fraction(records[-1].data["end"])
        origin = self.clip.properties.origin if since is None else begin
        joined = self.parts.folder / f"joined{target.suffix}"
        notes = self.output.join(records, joined, self.clip, origin, is_cut=since is not None or until is not None)
        self.parts.finish(joined, target)
        done = self.report(
            source=source,
            target=target,
            counts=self.total,
            duration_in=float(end - begin),
            duration_out=float(shown_until(records, plan) - begin),
            seconds=clock.perf_counter() - self.began,
            frames_resumed=self.frames_resumed,
            notes=tuple(dict.fromkeys([*self.output.notes, *notes, *self.notes()])),
            size_in=self.size[::-1],
            size_out=self.size_out[::-1],
        )
        if self.page is not None:
            self.write_page(done)
        return done


def check_paths(source: Path, target: Path, overwrite: bool) -> None:
    """Refuses, before any work, an output that cannot or must not be written."""
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; check the path.")
    if target.exists() and target.samefile(source):
        raise UserError(f"{target}: is the input; give the output another name.")
    if not target.parent.is_dir():
        raise UserError(f"{target}: its folder {target.parent} does not exist; make it first.")
    if not os.access(target.parent, os.W_OK):
        raise UserError(f"{target}: its folder {target.parent} cannot be written; choose another one.")
    if target.is_dir() and target.suffix:
        raise UserError(f"{target}: is a folder; name a file, or a folder without a suffix.")
    if target.is_dir() and any(target.iterdir()):
        images.check_replaceable(target)
    elif target.is_dir():
        return
    if target.exists() and not overwrite:
        raise UserError(f"{target}: exists; add --overwrite to replace it, or choose another name.")


def check_budget(budget: float | None) -> None:
    """Refuses a budget that is no share."""
    if budget is not None and not 0 < budget <= 1:
        raise UserError(
            f"--budget {budget}: must be over 0 and at most 1, a share of the dense compute, for example 0.6."
        )


def check_finite(frame: np.ndarray) -> None:
    """Refuses a frame of a model that holds NaN or infinity."""
    if not np.isfinite(frame).all():
        raise UserError("the model gave a frame that is not finite; its weights are damaged, load others by --weights.")


def open_source(source: Path, source_fps: Fraction | int | None) -> Source:
    """A video file or a folder of images."""
    if source.is_dir():
        rate = FOLDER_RATE if source_fps is None else Fraction(source_fps)
        if rate <= 0:
            raise UserError(f"--source-fps {source_fps}: must be over 0.")
        return images.FolderSource(source, rate)
    if source_fps is not None:
        raise UserError(f"--source-fps {source_fps}: is for image folders; {source} has its own timestamps.")
    return VideoSource(source)


def part_of(clip: Source, start: Fraction | None, end: Fraction | None) -> Part:
    """The part of a clip between two times from its beginning, s."""
    if (start or 0) < 0 or (end is not None and end <= (start or 0)):
        raise UserError(
            f"--start {start or 0} --end {end}: the part must begin at 0 s or later and end after its start."
        )
    origin = clip.properties.origin
    return None if start is None else origin + start, None if end is None else origin + end


def expected_frames(clip: Source, since: Fraction | None, until: Fraction | None) -> int | None:
    """About how many source frames a part has; None if the clip does not say how many it has."""
    num_frames, first, rate = clip.properties.num_frames, clip.properties.first_time, clip.properties.rate
    if num_frames is None:
        return None
    begin = 0 if since is None else max(0, round((since - first) * rate))
    return max(1, (num_frames if until is None else min(num_frames, round((until - first) * rate))) - begin)


def describe_job(clip: Source, plan: Plan, output: Output, part: Part, settings: str, **more: Any) -> dict[str, Any]:
    """What segments depend on: a resumed run must have all of it the same."""
    path = clip.properties.path
    files = [path] if path.is_file() else list(clip.files)
    stats = [file.stat() for file in files]
    return {
        "version": __version__,
        "libraries": [av.__version__, *map(str, av.library_versions.items())],
        "source": [str(path.resolve()), len(files), sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)],
        "rate": repr(plan),
        "part": [str(time) for time in part],
        "encoding": output.describe(),
        "settings": settings,
        **more,
    }


def prepare_folder(path: str | Path | None) -> Path | None:
    """The folder for maps, made if it is not there."""
    if path is None:
        return None
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--maps {path}: cannot be made ({error.strerror}); name another folder.") from None
    return Path(path)


def until_time(pictures: Iterator[Picture], until: Fraction | None) -> Iterator[Picture]:
    """Pictures before a time."""
    for picture in pictures:
        if until is not None and picture.time >= until:
            return
        yield picture


def until_broken(pictures: Iterator[Picture], keep_partial: bool, notes: list[str]) -> Iterator[Picture]:
    """All pictures; with `keep_partial`, those before the clip breaks, and a note."""
    try:
        yield from pictures
    except SourceBrokenError as error:
        if not keep_partial:
            raise
        notes.append(f"kept what is whole: {str(error).split(';')[0]}")


def intervals(pictures: Iterator[Picture], clip: Source, until: Fraction | None = None) -> Iterator[Interval]:
    """Each picture with the one after it and the time at which it ends: when the next one begins.

    The last one keeps the duration that the source says: a clip's end by its header, unless the part ends `until`.
    """
    clip_end, step = None if until is not None else clip.expected_end, 1 / clip.properties.rate
    picture = next(pictures, None)
    while picture is not None:
        following = next(pictures, None)
        if following is not None:
            end, step = following.time, following.time - picture.time
        else:
            said, usual = (clip_end or picture.time) - picture.time, picture.duration or step
            end = picture.time + (said if 0 < said <= 2 * max(usual, step) else usual)
        yield Interval(picture, following, end)
        picture = following
