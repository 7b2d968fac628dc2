"""Interpolate a video: the whole flow on one page.

    video -> pictures -> pairs -> moments -> middle frames -> segments -> video

What each step needs is in a module of its own: `video` and `images` read, `scenes` judges pairs, `schedule` says what
is shown when, an interpolator makes middle frames, `encode`, `output` and `parts` write. Frames stream through: memory
does not depend on the clip's length.
"""

import contextlib
import dataclasses
import os
import time as clock
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from jaxdyn import images, maps
from jaxdyn.accounting import Counts, Progress, Report, plural
from jaxdyn.errors import SourceBrokenError, UserError
from jaxdyn.output import Output, choose_output, shown_until
from jaxdyn.parts import Parts, Record
from jaxdyn.scenes import Pair, judge
from jaxdyn.schedule import GRID, Multiply, Resample, between
from jaxdyn.threads import Worker, prefetch
from jaxdyn.version import __version__
from jaxdyn.video import Picture, Source, VideoSource

AHEAD = 2  # frames that wait between decoding and computing, and between computing and encoding
SEGMENT_PIXELS = 2**28  # of the output, in a segment: 129 frames at 1920x1080, within SEGMENT_FRAMES
SEGMENT_FRAMES = (24, 240)
FOLDER_RATE = Fraction(24)


class Middle(Protocol):
    """What an interpolator makes: frame float32 [H, W, 3]; route `types.Route` or None; cost `types.Cost` or None."""

    frame: np.ndarray
    route: Any
    cost: Any


class Interpolator(Protocol):
    """A model that makes middle frames, such as `jaxdyn.interpolator.Interpolator`."""

    def middle(self, frame0: np.ndarray, frame1: np.ndarray) -> Middle:
        """The frame between two, all float32 [H, W, 3] RGB in [0, 1]."""

    def dense_cost(self, height: int, width: int) -> Any:
        """`types.Cost` of the dense network for one frame."""


def interpolate_video(
    source: str | Path,
    target: str | Path,
    interpolator: Interpolator,
    *,
    factor: int = 2,
    fps: Fraction | int | None = None,
    start: Fraction | None = None,
    end: Fraction | None = None,
    codec: str | None = None,
    crf: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    keep_partial: bool = False,
    map_folder: str | Path | None = None,
    source_fps: Fraction | int | None = None,
    settings: str = "",
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Writes a video with in-between frames; sound and subtitles are copied.

    Args:
      source: a video file or a folder of images.
      target: a video file (.mp4, .m4v, .mov, .mkv, .webm) or, without a suffix, a folder of PNG files.
      interpolator: makes middle frames.
      factor: 2, 4 or 8 times as many frames: n become factor * (n - 1) + 1, the last one keeps its duration.
      fps: any constant rate instead, each time showing the nearest point of a grid of 8 steps between source frames.
      start: of the part of the source to take, s from its beginning.
      end: of that part: frames with start <= time < end are taken.
      codec: see `jaxdyn.encode.CODECS`; None = the container's default.
      crf: constant rate factor, lower is better; None = the codec's default.
      resume: continue from whole segments that are there, and keep them if this run stops early as well.
      overwrite: replace an output that exists.
      keep_partial: of a clip that breaks midway, keep what is whole.
      map_folder: a folder for pictures of every Route, see `jaxdyn.maps`.
      source_fps: rate of an image folder; 24 if not given.
      settings: what else the frames depend on (weights, execution): a resumed run must have the same.
      progress: called after every source frame.

    Raises:
      UserError: what the user can put right; no output is left behind.
      SourceBrokenError: the clip cannot be read to its end, and `keep_partial` is off.
    """
    began, source, target = clock.perf_counter(), Path(source), Path(target)
    check_paths(source, target, overwrite)
    clip = open_source(source, source_fps)  # Source: size, rate, clock, colours
    since, until = part_of(clip, start, end)
    plan = make_plan(clip, factor, fps, since)  # what is shown when
    output = choose_output(clip, target, plan, codec, crf)
    job = describe_job(clip, plan, output, (since, until), settings)
    with Parts(target, job, resume, overwrite) as parts:
        run = Run(clip, plan, output, parts, interpolator, prepare_folder(map_folder), progress, (since, until))
        pictures = clip.pictures(run.continue_at(since))  # Picture [H, W, 3], one after the other
        pictures = until_time(pictures, until)
        pictures = until_broken(pictures, keep_partial, output.notes)
        with contextlib.closing(prefetch(pictures, AHEAD)) as pictures:
            run.all(pictures)  # whole segments in OUT.parts
        if not parts.records:
            raise UserError(f"{source}: holds no frame in the part asked for; change --start and --end.")
        origin = clip.properties.origin if since is None else Fraction(parts.records[0].data["start"])
        joined = parts.folder / f"joined{target.suffix}"
        notes = output.join(parts.records, joined, clip, origin, is_cut=since is not None or until is not None)
        parts.finish(joined, target)
    begin, end = Fraction(parts.records[0].data["start"]), Fraction(parts.records[-1].data["end"])
    return Report(
        source=source,
        target=target,
        counts=run.total,
        duration_in=float(end - begin),
        duration_out=float(shown_until(parts.records, plan) - begin),
        seconds=clock.perf_counter() - began,
        frames_resumed=run.frames_resumed,
        notes=tuple(dict.fromkeys([*output.notes, *notes, *run.notes()])),
    )


@dataclasses.dataclass(frozen=True)
class Made:
    """A frame at a point of the grid: rgb [H, W, 3]; alpha [H, W] or None; the Route that made it, or None."""

    rgb: np.ndarray
    alpha: np.ndarray | None
    route: Any = None


class Run:
    """One pass over the pictures: judges neighbours, makes what lies between, writes whole segments."""

    def __init__(
        self,
        clip: Source,
        plan: Multiply | Resample,
        output: Output,
        parts: Parts,
        interpolator: Interpolator,
        map_folder: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
        part: tuple[Fraction | None, Fraction | None] = (None, None),
    ):
        self.clip, self.plan, self.output, self.parts = clip, plan, output, parts
        self.interpolator, self.map_folder, self.progress = interpolator, map_folder, progress
        self.total, self.counts = Counts(), Counts()  # of whole segments, of the one at work
        for record in parts.records:
            self.total.add(Counts(**record.counts))
        self.frames_resumed = self.total.frames_out
        self.step = 1 / clip.properties.rate  # s, between the last two pictures
        self.clip_end = None if part[1] is not None else clip.expected_end  # s, by the header
        self.num_expected = expected_frames(clip, *part)
        size = (clip.properties.height, clip.properties.width)
        self.segment_length = int(np.clip(SEGMENT_PIXELS // (size[0] * size[1]), *SEGMENT_FRAMES))
        self.dense_flops = interpolator.dense_cost(*size).flops

    def continue_at(self, since: Fraction | None) -> Fraction | None:
        """Where to read from: after the whole segments that are there; at the clip's end if they are all."""
        if not self.parts.records:
            return since
        following = self.parts.records[-1].next
        return Fraction(10**9) if following is None else Fraction(following)

    def all(self, pictures: Iterator[Picture]) -> None:
        """Segment after segment; each begins with the picture that the one before ended at."""
        picture = next(pictures, None)
        while picture is not None:
            picture = self.segment(picture, pictures)

    def segment(self, picture: Picture, pictures: Iterator[Picture]) -> Picture | None:
        """Writes one segment; gives the picture that the next one begins with."""
        self.counts, begin = Counts(), picture.time
        writer = self.output.open_segment(self.parts.path(self.output.suffix), self.total.frames_out)
        try:
            with Worker(AHEAD) as worker:
                while True:
                    following = next(pictures, None)
                    end = self.end_of(picture, following)
                    self.interval(picture, following, end, writer, worker.submit)
                    if self.progress:
                        frames_in = self.total.frames_in + self.counts.frames_in
                        frames_out = self.total.frames_out + self.counts.frames_out
                        self.progress(Progress(frames_in, self.num_expected, frames_out))
                    if following is None or self.counts.frames_out >= self.segment_length:
                        break
                    picture = following
                data: dict[str, Any] = {}
                worker.submit(lambda: data.update(writer.close()))
        except BaseException:
            writer.abort()
            raise
        self.counts.damaged, self.clip.num_damaged = self.clip.num_damaged, 0
        data |= {"start": str(begin), "end": str(end), "frames": self.counts.frames_out}
        self.parts.add(Record(writer.path, following and str(following.time), self.counts.as_dict(), data))
        self.total.add(self.counts)
        return following

    def end_of(self, picture: Picture, following: Picture | None) -> Fraction:
        """When a picture ends: when the next one begins. The last one keeps the duration that the source says."""
        if following is not None:
            self.step = following.time - picture.time
            return following.time
        said = (self.clip_end or picture.time) - picture.time
        usual = picture.duration or self.step
        return picture.time + (said if 0 < said <= 2 * max(usual, self.step) else usual)

    def interval(
        self, picture: Picture, following: Picture | None, end: Fraction, writer: Any, submit: Callable[..., None]
    ) -> None:
        """Writes what is shown from a picture on, up to the next one."""
        self.counts.frames_in += 1
        moments = self.plan.moments(picture.time, end, is_last=following is None)  # (time, point 0 to 8), in order
        pair = Pair.REPEAT if following is None else judge(picture.rgb, following.rgb)
        self.counts.cuts += pair is Pair.CUT
        self.counts.repeats += pair is Pair.REPEAT and following is not None
        points = sorted({moment.point for moment in moments} - {0, GRID}) if pair is Pair.MOTION else []
        frames = self.between(picture, following, points) if points else iter(())  # (point, Made [H, W, 3])
        point, frame = 0, None
        for moment in moments:
            if moment.point in (0, GRID):
                self.counts.shown += 1
                submit(writer.write_source, following if moment.point else picture, moment.time)
            elif pair is Pair.MOTION:
                while point < moment.point:
                    point, frame = next(frames)
                self.draw(frame, self.total.frames_out + self.counts.frames_out)
                self.counts.made += 1
                submit(writer.write_made, frame.rgb, frame.alpha, moment.time, picture)
            else:
                self.counts.held += pair is Pair.CUT
                self.counts.copied += pair is Pair.REPEAT
                is_nearer_next = pair is Pair.CUT and moment.point > GRID // 2
                submit(writer.write_source, following if is_nearer_next else picture, moment.time)

    def between(self, picture: Picture, following: Picture, points: list[int]) -> Iterator[tuple[int, Made]]:
        """Frames at points of the grid, in order, by recursion."""
        return between(Made(picture.rgb, picture.alpha), Made(following.rgb, following.alpha), points, self.middle)

    def middle(self, first: Made, last: Made) -> Made:
        """One evaluation of the model. Opacity, where it changes, is a picture of its own and takes another."""
        result = self.evaluate(first.rgb, last.rgb)
        if first.alpha is None and last.alpha is None:
            return Made(result.frame, None, result.route)
        opaque = np.ones(first.rgb.shape[:2], np.float32)
        alpha0, alpha1 = (opaque if alpha is None else alpha for alpha in (first.alpha, last.alpha))
        if np.array_equal(alpha0, alpha1):
            return Made(result.frame, alpha0, result.route)
        grey = self.evaluate(*(np.repeat(alpha[..., None], 3, axis=-1) for alpha in (alpha0, alpha1)))
        return Made(result.frame, grey.frame.mean(-1), result.route)

    def evaluate(self, frame0: np.ndarray, frame1: np.ndarray) -> Middle:
        """Asks the model, and counts what it cost."""
        result = self.interpolator.middle(frame0, frame1)
        if not np.isfinite(result.frame).all():
            raise UserError(
                "the model gave a frame that is not finite; its weights are damaged, load others by --weights."
            )
        self.counts.evaluations += 1
        if result.cost is not None:
            self.counts.flops += result.cost.flops
            self.counts.dense_flops += self.dense_flops
        return result

    def draw(self, frame: Made, number: int) -> None:
        """A picture of the Route, named as the output frame, if asked for and if the model has one."""
        if self.map_folder is None:
            return
        if frame.route is None:
            self.output.notes.append("no maps: this network takes the same path everywhere")
            return
        model = getattr(self.interpolator, "model", None)
        grid = {name: getattr(model, name) for name in ("patch", "stride") if hasattr(model, name)}
        picture = maps.draw(frame.rgb, frame.route, getattr(model, "num_group", 5), **grid)
        images.write_image(self.map_folder / f"{number:08d}.png", picture)

    def notes(self) -> list[str]:
        """What else is to be said."""
        damaged = self.total.damaged
        return [f"{plural(damaged, 'source frame')} arrived damaged and went through as decoded"] if damaged else []


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


def part_of(clip: Source, start: Fraction | None, end: Fraction | None) -> tuple[Fraction | None, Fraction | None]:
    """(since, until) on the source's clock, s; None = from the first, to the last frame."""
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


def make_plan(clip: Source, factor: int, fps: Fraction | int | None, since: Fraction | None) -> Multiply | Resample:
    """What is shown when."""
    if fps is None:
        if factor not in (2, 4, 8):
            raise UserError(f"--factor {factor}: must be 2, 4 or 8, powers of two; for any other rate use --fps.")
        return Multiply(factor)
    rate, most = clip.properties.rate, GRID * clip.properties.rate
    if not 0 < fps <= most:
        raise UserError(f"--fps {fps}: must be over 0 and at most {GRID} times the source's {float(rate):.6g}.")
    if since is None:
        return Resample(Fraction(fps), clip.properties.first_time)
    first = next(clip.pictures(since), None)
    if first is None:
        raise UserError(f"{clip.properties.path}: holds no frame after --start; choose an earlier one.")
    return Resample(Fraction(fps), first.time)


def describe_job(
    clip: Source,
    plan: Multiply | Resample,
    output: Output,
    part: tuple[Fraction | None, Fraction | None],
    settings: str,
) -> dict[str, Any]:
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
