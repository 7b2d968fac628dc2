"""Interpolate or upscale a video: each flow on half a page.

    video -> pictures -> intervals -> moments -> middle frames -> segments -> video
    video -> pictures -> intervals -> distinct frames -> windows -> large frames -> segments -> video

What each step needs is in a module of its own: `video` and `images` read, `scenes` judges pairs, `schedule` says what
is shown when, `windows` what an upscaler sees, `interpolating` and `upscaling` ask the models, `encode`, `output` and
`parts` write, `jobs` holds what both flows share. Frames stream through: memory does not depend on the clip's length.
"""

import contextlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from jaxdyn.accounting import Progress, Report
from jaxdyn.interpolating import Interpolation, Interpolator, make_plan
from jaxdyn.jobs import check_budget, check_paths, describe_job, intervals, open_source, part_of, prepare_folder
from jaxdyn.output import choose_output
from jaxdyn.parts import Parts
from jaxdyn.report import check_path
from jaxdyn.report.job import InterpolationPage, UpscalingPage
from jaxdyn.schedule import Keep
from jaxdyn.upscaling import Upscaler, Upscaling
from jaxdyn.windows import distinct


def interpolate_video(
    source: str | Path,
    target: str | Path,
    interpolator: Interpolator,
    *,
    factor: int = 2,
    fps: Fraction | int | None = None,
    budget: float | None = None,
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
    report: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Writes a video with in-between frames; sound and subtitles are copied.

    Args:
      source: a video file or a folder of images.
      target: a video file (.mp4, .m4v, .mov, .mkv, .webm) or, without a suffix, a folder of PNG files.
      interpolator: makes middle frames.
      factor: 2, 4 or 8 times as many frames: n become factor * (n - 1) + 1, the last one keeps its duration.
      fps: any constant rate instead, each time showing the nearest point of a grid of 8 steps between source frames.
      budget: a share of the dense FLOPs to meet, over 0 and at most 1: the finders' choices are shifted until sampled
        pairs of the clip take about that much.
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
      report: a file for a page of the job, see `jaxdyn.report.job`.
      progress: called after every source frame.

    Raises:
      UserError: what the user can put right; no output is left behind.
      SourceBrokenError: the clip cannot be read to its end, and `keep_partial` is off.
    """
    source, target = Path(source), Path(target)
    check_budget(budget)
    check_paths(source, target, overwrite)
    check_path(report, overwrite, (source, target))
    clip = open_source(source, source_fps)  # Source: size, rate, clock, colours
    part = part_of(clip, start, end)  # s
    plan = make_plan(clip, factor, fps, part[0])  # what is shown when
    output = choose_output(clip, target, plan, codec, crf)
    job = describe_job(clip, plan, output, part, settings, budget=budget)
    asked = {"model": settings, "factor": None if fps else factor, "fps": fps, "budget": budget}
    page = InterpolationPage.at(report, asked | {"start, s": start, "end, s": end, "codec": codec, "crf": crf})
    with Parts(target, job, resume, overwrite) as parts:
        run = Interpolation(clip, output, parts, interpolator, plan, prepare_folder(map_folder), progress, part, page)
        if budget is not None and not run.is_complete:
            run.meet(budget, keep_partial)  # pairs [H, W, 3] x 2 from all over the part
        with contextlib.closing(run.pictures(keep_partial)) as pictures:  # Picture [H, W, 3], one after the other
            run.all(intervals(pictures, clip, part[1]))  # whole segments in OUT.parts
        return run.finish(source, target, plan)


def upscale_video(
    source: str | Path,
    target: str | Path,
    upscaler: Upscaler,
    *,
    budget: float | None = None,
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
    report: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Writes a video with larger frames, each at its time; sound and subtitles are copied.

    Args:
      source: a video file or a folder of images.
      target: a video file (.mp4, .m4v, .mov, .mkv, .webm) or, without a suffix, a folder of PNG files.
      upscaler: enlarges frames.
      budget: a share of the dense FLOPs to meet, over 0 and at most 1: the threshold is set so that sampled windows of
        the clip take about that much.
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
      report: a file for a page of the job, see `jaxdyn.report.job`.
      progress: called after every source frame.

    Raises:
      UserError: what the user can put right; no output is left behind.
      SourceBrokenError: the clip cannot be read to its end, and `keep_partial` is off.
    """
    source, target = Path(source), Path(target)
    check_budget(budget)
    check_paths(source, target, overwrite)
    check_path(report, overwrite, (source, target))
    clip = open_source(source, source_fps)  # Source: size, rate, clock, colours
    part = part_of(clip, start, end)  # s
    plan = Keep()  # every frame at its own time
    output = choose_output(clip, target, plan, codec, crf, upscaler.scale)
    length = upscaler.window_length(clip.properties.height, clip.properties.width)
    window = [upscaler.scale, length, upscaler.overlap]
    job = describe_job(clip, plan, output, part, settings, budget=budget, window=window)
    asked = {"model": settings, "budget": budget}
    page = UpscalingPage.at(report, asked | {"start, s": start, "end, s": end, "codec": codec, "crf": crf})
    with Parts(target, job, resume, overwrite) as parts:
        run = Upscaling(clip, output, parts, upscaler, prepare_folder(map_folder), progress, part, page)
        if budget is not None and not run.is_complete:
            run.meet(budget, keep_partial)  # windows [n, H, W, 3] from the beginning, a third, two thirds of the part
        with contextlib.closing(run.pictures(keep_partial)) as pictures:  # Picture [H, W, 3], one after the other
            frames = distinct(intervals(pictures, clip, part[1]))  # repeats folded into what they repeat, cuts marked
            run.all(run.windows(frames))  # whole segments in OUT.parts
        return run.finish(source, target, plan)
