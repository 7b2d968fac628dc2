"""Tests of `jaxdyn.pipeline`: whole jobs, with an interpolator that averages."""

import itertools
import threading
from fractions import Fraction

import cv2
import numpy as np
import pytest

from jaxdyn import images, jobs
from jaxdyn.accounting import Counts, Report
from jaxdyn.errors import SourceBrokenError, UserError
from jaxdyn.pipeline import interpolate_video
from tests.clips import Average, packets, pan, read_clip, texture, write_clip


def left_over(folder, *expected):
    """Nothing but these names is in a folder, and no thread of a job runs on."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(expected)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("jaxdyn")]


class Failing(Average):
    """Raises at the n-th evaluation."""

    def __init__(self, error, after):
        super().__init__()
        self.error, self.after = error, after

    def middle(self, frame0, frame1):
        if self.calls >= self.after:
            raise self.error
        return super().middle(frame0, frame1)


@pytest.fixture
def short_segments(monkeypatch):
    """Segments of 8 output frames."""
    monkeypatch.setattr(jobs, "SEGMENT_FRAMES", (8, 8))


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_n_frames_become_factor_times_n_minus_one_plus_one(tmp_path, factor):
    source = write_clip(tmp_path / "in.mp4", pan(9), has_sound=True, rate=Fraction(30000, 1001))
    model = Average()
    report = interpolate_video(source, tmp_path / "out.mp4", model, factor=factor)
    before, after = read_clip(source), read_clip(tmp_path / "out.mp4")
    assert len(after.frames) == factor * 8 + 1
    assert after.times == [Fraction(1001 * index, 30000 * factor) for index in range(factor * 8 + 1)]
    assert after.duration == before.duration == 9 * Fraction(1001, 30000)
    assert model.calls == (factor - 1) * 8
    counts = report.counts
    assert (counts.frames_in, counts.frames_out, counts.shown, counts.made) == (9, factor * 8 + 1, 9, (factor - 1) * 8)
    assert (counts.cuts, counts.repeats, counts.held, counts.copied, counts.damaged) == (0, 0, 0, 0, 0)
    assert report.share == pytest.approx(0.25)
    assert report.duration_in == report.duration_out == pytest.approx(9 * 1001 / 30000)
    assert packets(source, "audio") == packets(tmp_path / "out.mp4", "audio")
    left_over(tmp_path, "in.mp4", "out.mp4")


def test_source_frames_are_untouched_and_made_frames_are_the_models(tmp_path):
    source = write_clip(tmp_path / "in.mkv", pan(6), options={"qp": "0"})
    interpolate_video(source, tmp_path / "out.mp4", Average(), factor=4, crf=0)
    before, after = read_clip(source).frames, read_clip(tmp_path / "out.mp4").frames
    for index, frame in enumerate(before):
        for plane, other in zip(frame.planes, after[4 * index].planes, strict=True):
            np.testing.assert_array_equal(plane, other)
    for index in range(5):
        first, last = before[index].rgb, before[index + 1].rgb
        for quarter in (1, 2, 3):
            expected = first + (last - first) * quarter / 4
            assert np.abs(after[4 * index + quarter].rgb - expected).mean() < 0.01


def test_variable_frame_rate_stays_in_place(tmp_path):
    ticks = [0, 40, 200, 211, 600]
    source = write_clip(tmp_path / "in.mp4", pan(5), ticks=ticks, time_base=Fraction(1, 1000))
    interpolate_video(source, tmp_path / "out.mp4", Average())
    halves = sorted([*ticks, *((a + b) / 2 for a, b in itertools.pairwise(ticks))])
    after = read_clip(tmp_path / "out.mp4")
    assert after.times == [Fraction(int(2 * tick), 2000) for tick in halves]
    assert Fraction(600, 1000) < after.duration < 1


def test_the_last_frame_keeps_its_duration(tmp_path):
    for ticks in ([0, 40, 80, 120, 500], [0, 40, 80], [0, 300, 600, 640]):
        options = {"bf": "0"}  # MP4 counts durations in the order of decoding; without B-frames that is the order shown
        clip = {"ticks": ticks, "time_base": Fraction(1, 1000), "options": options}
        source = write_clip(tmp_path / "in.mp4", pan(len(ticks)), **clip)
        interpolate_video(source, tmp_path / "out.mp4", Average(), overwrite=True)
        assert read_clip(tmp_path / "out.mp4").duration == read_clip(source).duration


@pytest.mark.parametrize("fps", [Fraction(60), Fraction(60000, 1001), Fraction(10), Fraction(24), Fraction(190)])
def test_any_rate(tmp_path, fps):
    source = write_clip(tmp_path / "in.mp4", pan(13), rate=24, has_sound=True)
    report = interpolate_video(source, tmp_path / "out.mp4", Average(), fps=fps)
    after = read_clip(tmp_path / "out.mp4")
    length = Fraction(13, 24)
    assert length <= len(after.frames) / fps < length + 1 / fps
    for index, time in enumerate(after.times):
        assert abs(time - index / fps) < Fraction(1, 50000)
    assert report.counts.frames_out == len(after.frames)
    assert abs(float(after.duration) - len(after.frames) / float(fps)) < 1e-3
    if fps == 24:
        assert report.counts.made == 0
    assert packets(source, "audio") == packets(tmp_path / "out.mp4", "audio")


def test_any_rate_shows_the_nearest_of_eight_steps(tmp_path):
    source = write_clip(tmp_path / "in.mkv", pan(4), rate=25, options={"qp": "0"})
    interpolate_video(source, tmp_path / "out.mp4", Average(), fps=Fraction(60), crf=0)
    before, after = read_clip(source).frames, read_clip(tmp_path / "out.mp4").frames
    for index, frame in enumerate(after):
        place = round(Fraction(index, 60) * 25 * 8)
        low, step = divmod(place, 8)
        expected = before[3].rgb if low >= 3 else before[low].rgb + (before[low + 1].rgb - before[low].rgb) * step / 8
        assert np.abs(frame.rgb - expected).mean() < 0.01


def test_cuts_are_held_and_repeats_copied(tmp_path):
    first, second = pan(4, seed=1), pan(4, seed=2)
    frames = [*first[:2], first[1], *first[2:], *second]  # one repeat, one cut
    source = write_clip(tmp_path / "in.mkv", frames, options={"qp": "0"})
    model = Average()
    report = interpolate_video(source, tmp_path / "out.mkv", model, factor=4, crf=0)
    counts = report.counts
    assert (counts.cuts, counts.held, counts.repeats, counts.copied) == (1, 3, 1, 3)
    assert counts.made == model.calls == 3 * 6
    assert counts.frames_out == 4 * 8 + 1
    after = read_clip(tmp_path / "out.mkv").frames
    before = read_clip(source).frames
    for index, nearest in [(17, 4), (18, 4), (19, 5), (5, 1), (6, 1), (7, 1)]:
        np.testing.assert_array_equal(after[index].planes[0], before[nearest].planes[0])
    assert "3 held at 1 cut, 3 copied at 1 repeated frame" in report.line()


def test_one_frame_is_copied(tmp_path):
    source = write_clip(tmp_path / "in.mp4", [texture(48, 64)], has_sound=True)
    report = interpolate_video(source, tmp_path / "out.mp4", Average(), factor=8)
    assert (report.counts.frames_in, report.counts.frames_out) == (1, 1)
    assert read_clip(tmp_path / "out.mp4").duration == read_clip(source).duration
    assert "1 frame in, 1 out (1 shown, 0 made, no cuts, no repeated frames), 0.04 s in" in report.line()


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (1, 1), (47, 63), (120, 2)])
def test_any_size(tmp_path, size):
    frames = [texture(*size, seed=1), texture(*size, seed=1) // 2]
    source = write_clip(tmp_path / "in.mkv", frames, codec="libvpx-vp9", options={"lossless": "1"})
    report = interpolate_video(source, tmp_path / "out.mp4", Average())
    after = read_clip(tmp_path / "out.mp4")
    assert after.size == (size[1], size[0])
    assert len(after.frames) == 3
    assert bool(report.notes) == (size[0] % 2 + size[1] % 2 > 0)


def test_ten_bit_stays_ten_bit(tmp_path):
    frames = [frame.astype(np.uint16) * 257 for frame in pan(3)]
    source = write_clip(tmp_path / "in.mp4", frames, pixel_format="yuv420p10le", tags=(9, 16, 9, 1))
    report = interpolate_video(source, tmp_path / "out.mp4", Average())
    after = read_clip(tmp_path / "out.mp4")
    assert after.pixel_format == "yuv420p10le"
    assert after.tags == (9, 16, 9, 1)
    assert report.notes == ()
    levels = np.unique(after.frames[1].planes[0] % 4)
    assert len(levels) == 4  # made frames use the two lower bits too


def test_rotation_and_no_sound(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pan(3), rotation=90)
    interpolate_video(source, tmp_path / "out.mp4", Average())
    assert read_clip(tmp_path / "out.mp4").rotation == read_clip(source).rotation != 0
    assert read_clip(tmp_path / "out.mp4").types == ["video"]


def test_what_a_folder_cannot_hold_is_said(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pan(3), rotation=90, has_sound=True)
    report = interpolate_video(source, tmp_path / "out", Average())
    assert report.notes == (
        "sound was left out: a folder holds pictures only",
        "the rotation tag was left out: pictures are as the camera stored them",
    )


def test_alpha_is_dropped_from_video_with_a_note(tmp_path):
    source = write_clip(tmp_path / "in.mov", pan(3), codec="png", pixel_format="rgba", options={})
    report = interpolate_video(source, tmp_path / "out.mp4", Average())
    assert any("opacity was dropped" in note for note in report.notes)
    assert len(read_clip(tmp_path / "out.mp4").frames) == 5


def test_a_part_of_the_clip(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pan(50), has_sound=True)
    report = interpolate_video(source, tmp_path / "out.mp4", Average(), start=Fraction(1, 2), end=Fraction(1))
    # Frames 13 (0.52 s) to 24 (0.96 s).
    after = read_clip(tmp_path / "out.mp4")
    assert (report.counts.frames_in, len(after.frames)) == (12, 23)
    assert after.times[0] == 0
    assert after.duration == Fraction(12, 25)
    sound = [digest for digest, _ in packets(tmp_path / "out.mp4", "audio")]
    whole = packets(source, "audio")
    expected = [(digest, time) for digest, time in whole if Fraction(13, 25) <= time < 1]
    assert sound == [digest for digest, _ in expected]
    assert abs(packets(tmp_path / "out.mp4", "audio")[0][1] - (expected[0][1] - Fraction(13, 25))) < Fraction(1, 1000)
    with pytest.raises(UserError, match="holds no frame in the part asked for"):
        interpolate_video(source, tmp_path / "none.mp4", Average(), start=Fraction(100))
    for options in ({"start": Fraction(2), "end": Fraction(1)}, {"end": Fraction(0)}, {"start": Fraction(-1)}):
        with pytest.raises(UserError, match="must begin at 0 s or later and end after its start"):
            interpolate_video(source, tmp_path / "none.mp4", Average(), **options)
    left_over(tmp_path, "in.mp4", "out.mp4")


def test_segments_make_no_difference(tmp_path, monkeypatch):
    source = write_clip(tmp_path / "in.mp4", pan(30), has_sound=True)
    whole = interpolate_video(source, tmp_path / "whole.mp4", Average(), factor=4, crf=0)
    monkeypatch.setattr(jobs, "SEGMENT_FRAMES", (8, 8))
    parts = interpolate_video(source, tmp_path / "parts.mp4", Average(), factor=4, crf=0)
    assert whole.counts == parts.counts
    one, two = read_clip(tmp_path / "whole.mp4"), read_clip(tmp_path / "parts.mp4")
    assert (one.times, one.duration) == (two.times, two.duration)
    for a, b in zip(one.frames, two.frames, strict=True):
        np.testing.assert_array_equal(a.planes[0], b.planes[0])
    assert packets(tmp_path / "whole.mp4", "audio") == packets(tmp_path / "parts.mp4", "audio")


@pytest.mark.parametrize("options", [{}, {"fps": Fraction(60)}, {"factor": 8}, {"start": Fraction(1, 5)}])
def test_a_stopped_run_is_resumed(tmp_path, short_segments, options):
    source = write_clip(tmp_path / "in.mp4", pan(30), has_sound=True)
    options = options | {"crf": 0}  # lossless: the same input gives the same picture
    whole = interpolate_video(source, tmp_path / "whole.mp4", Average(), **options)
    model = Failing(KeyboardInterrupt(), 20)
    with pytest.raises(KeyboardInterrupt):
        interpolate_video(source, tmp_path / "out.mp4", model, resume=True, **options)
    left_over(tmp_path, "in.mp4", "whole.mp4", "out.mp4.parts")
    again = Average()
    report = interpolate_video(source, tmp_path / "out.mp4", again, resume=True, **options)
    assert again.calls < whole.counts.evaluations
    assert report.frames_resumed > 0
    assert report.counts == whole.counts
    one, two = read_clip(tmp_path / "whole.mp4"), read_clip(tmp_path / "out.mp4")
    assert (one.times, one.duration) == (two.times, two.duration)
    for a, b in zip(one.frames, two.frames, strict=True):
        np.testing.assert_array_equal(a.planes[0], b.planes[0])
    assert packets(tmp_path / "whole.mp4", "audio") == packets(tmp_path / "out.mp4", "audio")
    left_over(tmp_path, "in.mp4", "whole.mp4", "out.mp4")


def test_a_run_that_stopped_while_joining_is_resumed_without_computing(tmp_path, short_segments, monkeypatch):
    source = write_clip(tmp_path / "in.mp4", pan(20))
    with monkeypatch.context() as patch:
        patch.setattr("jaxdyn.encode.join_video", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            interpolate_video(source, tmp_path / "out.mp4", Average())
    left_over(tmp_path, "in.mp4", "out.mp4.parts")
    model = Average()
    report = interpolate_video(source, tmp_path / "out.mp4", model, resume=True)
    assert model.calls == 0
    assert report.counts.frames_out == len(read_clip(tmp_path / "out.mp4").frames) == 39
    left_over(tmp_path, "in.mp4", "out.mp4")


def test_resuming_with_other_settings_is_refused(tmp_path, short_segments):
    source = write_clip(tmp_path / "in.mp4", pan(20))
    with pytest.raises(KeyboardInterrupt):
        interpolate_video(source, tmp_path / "out.mp4", Failing(KeyboardInterrupt(), 10), resume=True)
    for options, name in [
        ({"factor": 4}, "encoding, rate"),
        ({"crf": 30}, "encoding"),
        ({"settings": "x"}, "settings"),
    ]:
        with pytest.raises(UserError, match=f"was made with another {name}; repeat the first command"):
            interpolate_video(source, tmp_path / "out.mp4", Average(), resume=True, **options)
    with pytest.raises(UserError, match=r"holds \d whole segments? of an unfinished run; add --resume"):
        interpolate_video(source, tmp_path / "out.mp4", Average())
    interpolate_video(source, tmp_path / "out.mp4", Average(), overwrite=True, factor=4)
    left_over(tmp_path, "in.mp4", "out.mp4")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("broken model"), MemoryError()])
def test_nothing_is_left_when_a_run_stops_early(tmp_path, error):
    source = write_clip(tmp_path / "in.mp4", pan(10))
    with pytest.raises(type(error)):
        interpolate_video(source, tmp_path / "out.mp4", Failing(error, 4))
    left_over(tmp_path, "in.mp4")


def test_an_output_that_exists_is_replaced_only_when_whole(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pan(5))
    target = tmp_path / "out.mp4"
    target.write_bytes(b"precious")
    with pytest.raises(UserError, match=r"out\.mp4: exists; add --overwrite"):
        interpolate_video(source, target, Average())
    with pytest.raises(RuntimeError):
        interpolate_video(source, target, Failing(RuntimeError(), 2), overwrite=True)
    assert target.read_bytes() == b"precious"
    interpolate_video(source, target, Average(), overwrite=True)
    assert len(read_clip(target).frames) == 9


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv"])
def test_a_clip_that_breaks_midway(tmp_path, name):
    faststart = {"movflags": "faststart"} if name == "in.mp4" else {}
    source = write_clip(tmp_path / name, pan(100), container_options=faststart, has_sound=True)
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 6 // 10])
    target = tmp_path / "out.mp4"
    with pytest.raises(SourceBrokenError, match=r"breaks at \d\.\d{3} s"):
        interpolate_video(source, target, Average())
    left_over(tmp_path, name)
    report = interpolate_video(source, target, Average(), keep_partial=True)
    after = read_clip(target)
    assert len(after.frames) == report.counts.frames_out == 2 * report.counts.frames_in - 1
    assert 20 < report.counts.frames_in < 90
    assert any("kept what is whole" in note and "breaks at" in note for note in report.notes)


def test_image_folder_to_image_folder_keeps_depth_and_opacity(tmp_path, short_segments):
    (tmp_path / "in").mkdir()
    random = np.random.default_rng(0)
    frames = [cv2.resize(random.integers(0, 65535, (4, 6, 4)).astype(np.uint16), (36, 24)) for _ in range(7)]
    for index, frame in enumerate(frames):
        images.write_image(tmp_path / "in" / f"{index}.png", frame)
    report = interpolate_video(tmp_path / "in", tmp_path / "out", Average())
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [f"{index:08d}.png" for index in range(13)]
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(images.read_image(files[2 * index]), frame)
    assert report.counts.cuts + report.counts.made == 6
    for file in files[1::2]:
        assert images.read_image(file).dtype == np.uint16
        assert images.read_image(file).shape == (24, 36, 4)
    with pytest.raises(UserError, match="out: exists; add --overwrite"):
        interpolate_video(tmp_path / "in", tmp_path / "out", Average())
    interpolate_video(tmp_path / "in", tmp_path / "out", Average(), overwrite=True, factor=4)
    assert len(list((tmp_path / "out").iterdir())) == 25
    left_over(tmp_path, "in", "out")


def test_opacity_is_interpolated(tmp_path):
    (tmp_path / "in").mkdir()
    for index, opacity in enumerate((0, 100, 100)):
        alpha = np.full((32, 32, 1), opacity, np.uint8)
        images.write_image(tmp_path / "in" / f"{index}.png", np.concatenate([pan(3, 32, 32)[index], alpha], axis=-1))
    model = Average()
    interpolate_video(tmp_path / "in", tmp_path / "out", model)
    between = [images.read_image(tmp_path / "out" / f"{index:08d}.png")[..., 3] for index in (1, 3)]
    assert [np.unique(alpha).tolist() for alpha in between] == [[50], [100]]
    assert model.calls == 3  # the second pair's opacity does not change


def test_image_folder_to_video_and_back(tmp_path):
    (tmp_path / "in").mkdir()
    for index, frame in enumerate(pan(6)):
        images.write_image(tmp_path / "in" / f"{index}.png", frame)
    interpolate_video(tmp_path / "in", tmp_path / "out.mp4", Average(), source_fps=10)
    clip = read_clip(tmp_path / "out.mp4")
    assert clip.times == [Fraction(index, 20) for index in range(11)]
    assert clip.pixel_format == "yuv420p"
    report = interpolate_video(tmp_path / "out.mp4", tmp_path / "back", Average())
    files = sorted((tmp_path / "back").iterdir())
    assert len(files) == 21
    for index, frame in enumerate(pan(6)):
        assert np.abs(images.read_image(files[4 * index]) / 255 - frame / 255).mean() < 0.02
    assert report.notes == ()


def test_maps_are_written_for_made_frames(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pan(3, 64, 64))
    interpolate_video(source, tmp_path / "out.mp4", Average(has_route=True), map_folder=tmp_path / "maps")
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == ["00000001.png", "00000003.png"]
    assert images.read_image(tmp_path / "maps" / "00000001.png").shape == (64, 64, 3)


def test_progress_goes_up_to_the_end(tmp_path):
    seen = []
    source = write_clip(tmp_path / "in.mp4", pan(5))
    interpolate_video(source, tmp_path / "out.mp4", Average(), progress=seen.append)
    assert [progress.frames_in for progress in seen] == [1, 2, 3, 4, 5]
    assert [progress.frames_out for progress in seen] == [2, 4, 6, 8, 9]
    assert {progress.total for progress in seen} == {5}
    seen.clear()
    part = {"start": Fraction(1, 25), "end": Fraction(4, 25)}
    interpolate_video(source, tmp_path / "part.mp4", Average(), progress=seen.append, **part)
    assert [(progress.frames_in, progress.total) for progress in seen] == [(1, 3), (2, 3), (3, 3)]


def test_frames_do_not_pile_up(tmp_path):
    """However slow the model, only a few frames are decoded ahead."""
    source = write_clip(tmp_path / "in.mp4", pan(60, 16, 16))
    from jaxdyn.video import VideoSource

    clip = VideoSource(source)
    alive = [0, 0]
    original = VideoSource.pictures

    def watched(self, since=None):
        for picture in original(self, since):
            alive[0] += 1
            yield picture

    class Watching(Average):
        def middle(self, frame0, frame1):
            alive[1] = max(alive[1], alive[0] - self.calls)
            return super().middle(frame0, frame1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoSource, "pictures", watched)
        interpolate_video(source, tmp_path / "out.mp4", Watching())
    assert clip.properties.num_frames == 60
    assert alive[1] <= jobs.AHEAD + 4


def test_a_model_that_gives_nan_is_stopped(tmp_path):
    class Broken(Average):
        def middle(self, frame0, frame1):
            result = super().middle(frame0, frame1)
            result.frame[0, 0, 0] = np.nan
            return result

    source = write_clip(tmp_path / "in.mp4", pan(3))
    with pytest.raises(UserError, match="not finite; its weights are damaged"):
        interpolate_video(source, tmp_path / "out.mp4", Broken())
    left_over(tmp_path, "in.mp4")


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("in.mp4", {"overwrite": True}, r"in\.mp4: is the input; give the output another name"),
        ("no/out.mp4", {}, "does not exist; make it first"),
        ("in.mp4/out.mp4", {}, "does not exist; make it first"),
        ("out.mp4", {"factor": 3}, r"--factor 3: must be 2, 4 or 8, powers of two; for any other rate use --fps"),
        ("out.mp4", {"factor": 16}, "--factor 16: must be 2, 4 or 8"),
        ("out.mp4", {"fps": Fraction(0)}, "--fps 0: must be over 0"),
        ("out.mp4", {"fps": Fraction(500)}, "--fps 500: must be over 0 and at most 8 times the source's 25"),
        ("out.mp4", {"source_fps": 24}, "--source-fps 24: is for image folders"),
        ("out.gif", {}, r"out\.gif: unknown kind of video"),
        ("out", {"codec": "h264"}, "has no --codec and no --crf"),
        ("folder.mp4", {}, r"folder\.mp4: is a folder; name a file"),
        ("album", {}, r"holds files that are not frames of an earlier run \(me\.jpg\)"),
    ],
)
def test_what_is_refused_before_any_work(tmp_path, target, options, message):
    source = write_clip(tmp_path / "in.mp4", pan(3))
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "me.jpg").write_bytes(b"")
    model = Average()
    with pytest.raises(UserError, match=message) as caught:
        interpolate_video(source, tmp_path / target, model, **options)
    assert "\n" not in str(caught.value)
    assert model.calls == 0
    left_over(tmp_path, "in.mp4", "folder.mp4", "album")


def test_the_last_line_accounts_for_every_frame():
    counts = Counts(frames_in=10, shown=10, made=6, held=2, copied=1, cuts=2, repeats=1, flops=48.0, dense_flops=100.0)
    line = Report("in.mp4", "out.mp4", counts, 0.4, 0.4, 12.34, frames_resumed=8).line()
    assert line == (
        "out.mp4: 10 frames in, 19 out (10 shown, 6 made, 2 held at 2 cuts, 1 copied at 1 repeated frame), "
        "48.0% of the dense FLOPs, 0.40 s in, 0.40 s out, took 12.3 s, 8 frames from an earlier run"
    )
