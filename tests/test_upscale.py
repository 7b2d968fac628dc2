"""Tests of `jaxdyn.pipeline.upscale_video` and its command: whole jobs, with an upscaler that repeats pixels."""

import itertools
import weakref
from fractions import Fraction

import cv2
import numpy as np
import pytest

from jaxdyn import cli, images, jobs, windows
from jaxdyn.accounting import Counts, UpscaleReport
from jaxdyn.errors import SourceBrokenError, UserError
from jaxdyn.pipeline import interpolate_video, upscale_video
from jaxdyn.video import Picture
from tests.clips import Average, Nearest, packets, pan, read_clip, texture, write_clip
from tests.test_cli import refused
from tests.test_pipeline import left_over

LOSSLESS = {"qp": "0"}


class Failing(Nearest):
    """Raises at the n-th window."""

    def __init__(self, error, after, **options):
        super().__init__(**options)
        self.error, self.after = error, after

    def window(self, frames, starts, keep):
        if len(self.asked) >= self.after:
            raise self.error
        return super().window(frames, starts, keep)


@pytest.fixture
def short_segments(monkeypatch):
    """Segments of 8 output frames: two windows of 5."""
    monkeypatch.setattr(jobs, "SEGMENT_FRAMES", (8, 8))


def write_folder(folder, frames):
    folder.mkdir()
    for index, frame in enumerate(frames):
        images.write_image(folder / f"{index}.png", frame)
    return folder


def same_clips(one, two):
    one, two = read_clip(one), read_clip(two)
    assert (one.times, one.duration, one.size) == (two.times, two.duration, two.size)
    for a, b in zip(one.frames, two.frames, strict=True):
        for plane, other in zip(a.planes, b.planes, strict=True):
            np.testing.assert_array_equal(plane, other)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_every_frame_is_enlarged_at_its_time(tmp_path, suffix):
    source = write_clip(tmp_path / f"in{suffix}", pan(13), has_sound=True, rate=Fraction(30000, 1001))
    target = tmp_path / f"out{suffix}"
    report = upscale_video(source, target, Nearest())
    before, after = read_clip(source), read_clip(target)
    assert after.size == (256, 192)
    assert after.times == before.times
    assert after.duration == before.duration
    for one, two in zip(before.frames, after.frames, strict=True):
        assert np.abs(two.rgb[1::4, 1::4] - one.rgb).mean() < 0.02
    counts = report.counts
    assert (counts.frames_in, counts.frames_out, counts.made, counts.evaluations) == (13, 13, 13, 13)
    assert (counts.shown, counts.held, counts.cuts, counts.repeats, counts.copied) == (0, 0, 0, 0, 0)
    assert report.share == pytest.approx(0.3)
    assert packets(source, "audio") == packets(target, "audio")
    assert report.line().startswith(
        f"{target}: 13 frames in, 13 out (13 made, no repeated frames, no cuts), 30.0% of the dense FLOPs, "
        "64x48 -> 256x192, 0.4"
    )
    assert " s of video, took " in report.line()
    left_over(tmp_path, source.name, target.name)


@pytest.mark.parametrize("num_frames", [1, 4, 5, 6, 7, 8, 12, 15])
@pytest.mark.parametrize(("length", "overlap"), [(5, 2), (3, 0), (2, 4)])
def test_windows_cover_every_frame_once(tmp_path, num_frames, length, overlap):
    frames = pan(num_frames, 16, 16)
    source = write_folder(tmp_path / "in", frames)
    model = Nearest(length=length, overlap=overlap)
    upscale_video(source, tmp_path / "out", model)
    covered = []
    for seen, starts, (first, last) in model.asked:
        begin = len(covered)
        low, end = max(0, begin - overlap), min(num_frames, begin + length)
        high = min(num_frames, end + overlap)
        assert (first, last) == (begin - low, end - low)
        np.testing.assert_array_equal(np.rint(seen * 255), frames[low:high])
        assert starts == [True] + [False] * (high - low - 1)
        covered += range(begin, end)
    assert covered == list(range(num_frames))
    for frame, file in zip(frames, sorted((tmp_path / "out").iterdir()), strict=True):
        np.testing.assert_array_equal(images.read_image(file), frame.repeat(4, axis=0).repeat(4, axis=1))


def test_repeats_are_copied_and_cuts_start_anew(tmp_path):
    first, second = pan(4, seed=1), pan(3, seed=2)
    shown = [*first[:2], first[1], first[1], *first[2:], *second, second[-1]]
    source = write_clip(tmp_path / "in.mkv", shown, options=LOSSLESS)
    model = Nearest()
    report = upscale_video(source, tmp_path / "out.mkv", model, crf=0)
    counts = report.counts
    assert (counts.frames_in, counts.frames_out, counts.made) == (10, 10, 7)
    assert (counts.cuts, counts.repeats, counts.copied) == (1, 3, 3)
    assert "10 out (7 made, 3 copied at 3 repeated frames, 1 cut), 30.0%" in report.line()
    (_, starts, keep), (_, more, _) = model.asked
    assert (starts, keep) == ([True, False, False, False, True, False, False], (0, 5))
    assert more == [True, True, False, False]  # a window's first frame begins anew, and so does a shot
    after = read_clip(tmp_path / "out.mkv")
    for index, same in [(2, 1), (3, 1), (9, 8)]:
        np.testing.assert_array_equal(after.frames[index].planes[0], after.frames[same].planes[0])
    assert after.times == read_clip(source).times


def test_a_slow_fade_does_not_stand_still(tmp_path):
    base = texture(32, 32) // 2
    fade = [(base.astype(np.uint16) * 257 + 80 * index).astype(np.uint16) for index in range(20)]  # 0.3 steps of 8 bit
    source = write_folder(tmp_path / "in", fade)
    report = upscale_video(source, tmp_path / "out", Nearest())
    assert 4 <= report.counts.made <= 7
    last = images.read_image(tmp_path / "out" / "00000019.png")[::4, ::4]
    assert np.abs(last.astype(float) - fade[-1]).max() <= 257


def test_a_long_still_is_computed_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(windows, "MAX_REPEATS", 3)
    source = write_folder(tmp_path / "in", [texture(16, 16)] * 9)
    report = upscale_video(source, tmp_path / "out", Nearest())
    assert (report.counts.made, report.counts.copied, report.counts.cuts) == (3, 6, 0)


def test_variable_frame_rate_stays_in_place(tmp_path):
    clip = {"ticks": [0, 40, 200, 211, 600, 640, 900], "time_base": Fraction(1, 1000), "options": {"bf": "0"}}
    source = write_clip(tmp_path / "in.mp4", pan(7), **clip)
    upscale_video(source, tmp_path / "out.mp4", Nearest())
    before, after = read_clip(source), read_clip(tmp_path / "out.mp4")
    assert after.times == before.times == [Fraction(tick, 1000) for tick in clip["ticks"]]
    assert after.duration == before.duration


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (1, 1), (47, 63)])
def test_any_size_and_one_frame(tmp_path, size):
    frame = texture(*size, seed=1)
    source = write_clip(tmp_path / "in.mkv", [frame], codec="libvpx-vp9", options={"lossless": "1"})
    report = upscale_video(source, tmp_path / "out.mp4", Nearest())
    after = read_clip(tmp_path / "out.mp4")
    assert after.size == (4 * size[1], 4 * size[0])
    assert after.pixel_format == "yuv420p"
    assert (len(after.frames), report.notes) == (1, ())
    assert "1 frame in, 1 out (1 made, no repeated frames, no cuts)" in report.line()


def test_ten_bit_tags_aspect_and_rotation_are_kept(tmp_path):
    frames = [frame.astype(np.uint16) * 257 for frame in pan(3)]
    source = write_clip(tmp_path / "in.mp4", frames, pixel_format="yuv420p10le", tags=(9, 16, 9, 1), rotation=90)
    report = upscale_video(source, tmp_path / "out.mp4", Nearest())
    before, after = read_clip(source), read_clip(tmp_path / "out.mp4")
    assert (after.pixel_format, after.tags, report.notes) == ("yuv420p10le", (9, 16, 9, 1), ())
    assert after.rotation == before.rotation != 0
    assert len(np.unique(after.frames[1].planes[0] % 4)) == 4


def test_an_untagged_clip_keeps_its_colours(tmp_path):
    """Players take an untagged picture as BT.601 under 720 lines, and the large one as BT.709."""
    colours = np.uint8([[200, 40, 40], [40, 200, 40], [40, 40, 200], [230, 220, 30]])
    frame = np.repeat(np.repeat(colours.reshape(2, 2, 3), 92, axis=0), 64, axis=1)  # 184 lines -> 736
    source = write_clip(tmp_path / "in.mkv", [frame], options=LOSSLESS)
    upscale_video(source, tmp_path / "out.mkv", Nearest(), crf=0)
    before, after = read_clip(source).frames[0].rgb, read_clip(tmp_path / "out.mkv").frames[0].rgb
    for y, x in itertools.product((40, 140), (30, 100)):
        np.testing.assert_allclose(after[4 * y, 4 * x], before[y, x], atol=0.01)


def test_folders_keep_depth_and_opacity(tmp_path, short_segments):
    random = np.random.default_rng(0)
    frames = [cv2.resize(random.integers(0, 65535, (4, 6, 4)).astype(np.uint16), (36, 24)) for _ in range(12)]
    source = write_folder(tmp_path / "in", frames)
    report = upscale_video(source, tmp_path / "out", Nearest())
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [f"{index:08d}.png" for index in range(12)]
    assert report.notes == ()
    for file, frame in zip(files, frames, strict=True):
        large = images.read_image(file)
        assert (large.dtype, large.shape) == (np.uint16, (96, 144, 4))
        np.testing.assert_array_equal(large[..., :3], frame[..., :3].repeat(4, axis=0).repeat(4, axis=1))
        alpha = cv2.resize(frame[..., 3] / np.float32(65535), (144, 96), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_allclose(large[..., 3], np.clip(alpha, 0, 1) * 65535, atol=1)
    with pytest.raises(UserError, match="out: exists; add --overwrite"):
        upscale_video(source, tmp_path / "out", Nearest())
    upscale_video(source, tmp_path / "out", Nearest(scale=2), overwrite=True)
    assert images.read_image(files[0]).shape == (48, 72, 4)
    left_over(tmp_path, "in", "out")


def test_a_frame_whose_opacity_changes_is_no_repeat(tmp_path):
    rgb = texture(16, 16)
    frames = [np.dstack([rgb, np.full((16, 16), alpha, np.uint8)]) for alpha in (0, 0, 255, 255)]
    report = upscale_video(write_folder(tmp_path / "in", frames), tmp_path / "out", Nearest())
    assert (report.counts.made, report.counts.copied, report.counts.cuts) == (2, 2, 0)
    alphas = [images.read_image(file)[0, 0, 3] for file in sorted((tmp_path / "out").iterdir())]
    assert alphas == [0, 0, 255, 255]
    report = upscale_video(tmp_path / "in", tmp_path / "out.mp4", Nearest(), source_fps=10)
    assert any("opacity was dropped" in note for note in report.notes)
    assert read_clip(tmp_path / "out.mp4").times == [Fraction(index, 10) for index in range(4)]


def test_a_part_of_the_clip(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pan(50), has_sound=True, options=LOSSLESS)
    model = Nearest()
    report = upscale_video(source, tmp_path / "out.mp4", model, start=Fraction(1, 2), end=Fraction(1), crf=0)
    after = read_clip(tmp_path / "out.mp4")  # frames 13 (0.52 s) to 24 (0.96 s)
    assert (report.counts.frames_in, len(after.frames)) == (12, 12)
    assert (after.times[0], after.duration) == (0, Fraction(12, 25))
    assert model.asked[0][2] == (0, 5)  # the part is the clip: nothing from before it is seen
    before = read_clip(source)
    for one, two in zip(before.frames[13:25], after.frames, strict=True):
        np.testing.assert_allclose(two.rgb[1::4, 1::4], one.rgb, atol=0.04)
    expected = [digest for digest, time in packets(source, "audio") if Fraction(13, 25) <= time < 1]
    assert [digest for digest, _ in packets(tmp_path / "out.mp4", "audio")] == expected
    with pytest.raises(UserError, match="holds no frame in the part asked for"):
        upscale_video(source, tmp_path / "none.mp4", Nearest(), start=Fraction(100), budget=0.5)
    left_over(tmp_path, "in.mp4", "out.mp4")


@pytest.fixture
def eventful():
    """31 frames with repeats and two cuts, some of them where windows meet."""
    one, two, three = pan(9, seed=1), pan(11, seed=2), pan(6, seed=3)
    return [*one[:5], one[4], one[4], *one[5:], *two[:1], *two, two[-1], two[-1], *three]


@pytest.mark.parametrize(
    ("overlap", "options"), [(2, {}), (0, {}), (9, {}), (2, {"start": Fraction(1, 5)}), (2, {"budget": 0.5})]
)
def test_a_stopped_run_is_resumed(tmp_path, short_segments, eventful, options, overlap):
    source = write_clip(tmp_path / "in.mp4", eventful, has_sound=True)
    options = options | {"crf": 0}
    model = Nearest(overlap=overlap)
    whole = upscale_video(source, tmp_path / "whole.mp4", model, **options)
    assert whole.counts.cuts == 2
    assert whole.counts.copied >= 4
    num_windows, saved = len(model.asked), []
    for after in range(1, num_windows):
        stopped, again = Failing(KeyboardInterrupt(), after, overlap=overlap), Nearest(overlap=overlap)
        with pytest.raises(KeyboardInterrupt):
            upscale_video(source, tmp_path / "out.mp4", stopped, resume=True, **options)
        report = upscale_video(source, tmp_path / "out.mp4", again, resume=True, **options)
        saved.append(num_windows - len(again.asked))
        expected = model.asked[saved[-1] :]
        for (frames, starts, keep), (others, other_starts, other_keep) in zip(again.asked, expected, strict=True):
            np.testing.assert_array_equal(frames, others)
            assert (starts, keep) == (other_starts, other_keep)
        assert (report.frames_resumed > 0) == (saved[-1] > 0)
        assert report.counts == whole.counts
        assert report.duration_out == whole.duration_out
        assert report.notes == whole.notes
        same_clips(tmp_path / "whole.mp4", tmp_path / "out.mp4")
        assert packets(tmp_path / "whole.mp4", "audio") == packets(tmp_path / "out.mp4", "audio")
        left_over(tmp_path, "in.mp4", "whole.mp4", "out.mp4")
        (tmp_path / "out.mp4").unlink()
    assert saved[0] == 0
    assert sum(saved) >= num_windows - 2


def test_segments_make_no_difference(tmp_path, monkeypatch, eventful):
    source = write_clip(tmp_path / "in.mp4", eventful)
    one = upscale_video(source, tmp_path / "one.mp4", Nearest(), crf=0)
    monkeypatch.setattr(jobs, "SEGMENT_FRAMES", (1, 1))
    two = upscale_video(source, tmp_path / "two.mp4", Nearest(), crf=0)
    assert one.counts == two.counts
    same_clips(tmp_path / "one.mp4", tmp_path / "two.mp4")


def test_resuming_with_other_settings_is_refused(tmp_path, short_segments):
    source = write_clip(tmp_path / "in.mp4", pan(20))

    def run(model, **options):
        upscale_video(source, tmp_path / "out.mp4", model, resume=True, **{"settings": "a", "budget": 0.5, **options})

    with pytest.raises(KeyboardInterrupt):
        run(Failing(KeyboardInterrupt(), 3))
    for model, options, name in [
        (Nearest(), {"budget": 0.6}, "budget"),
        (Nearest(), {"budget": None}, "budget"),
        (Nearest(), {"settings": "b"}, "settings"),
        (Nearest(length=6), {}, "window"),
        (Nearest(scale=2), {}, "encoding, window"),
        (Nearest(), {"end": Fraction(1, 2)}, "part"),
    ]:
        with pytest.raises(UserError, match=f"was made with another {name}; repeat the first command"):
            run(model, **options)
        assert model.budgets == []  # refused before any work
    run(Nearest())
    left_over(tmp_path, "in.mp4", "out.mp4")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("broken model"), MemoryError()])
def test_nothing_is_left_when_a_run_stops_early(tmp_path, error):
    source = write_clip(tmp_path / "in.mp4", pan(10))
    with pytest.raises(type(error)):
        upscale_video(source, tmp_path / "out.mp4", Failing(error, 1))
    left_over(tmp_path, "in.mp4")


def test_a_clip_that_breaks_midway(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pan(100), container_options={"movflags": "faststart"}, has_sound=True)
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 6 // 10])
    for options in ({}, {"budget": 0.5}):
        with pytest.raises(SourceBrokenError, match=r"breaks at \d\.\d{3} s"):
            upscale_video(source, tmp_path / "out.mp4", Nearest(), **options)
        left_over(tmp_path, "in.mp4")
    report = upscale_video(source, tmp_path / "out.mp4", Nearest(), keep_partial=True, budget=0.5)
    assert len(read_clip(tmp_path / "out.mp4").frames) == report.counts.frames_out == report.counts.frames_in
    assert 20 < report.counts.frames_in < 90
    assert sum("kept what is whole" in note for note in report.notes) == 1


def test_a_model_that_gives_nan_is_stopped(tmp_path):
    class Broken(Nearest):
        def large(self, frame):
            result = super().large(frame)
            result.frame[0, 0, 0] = np.nan
            return result

    source = write_clip(tmp_path / "in.mp4", pan(3))
    with pytest.raises(UserError, match="not finite; its weights are damaged"):
        upscale_video(source, tmp_path / "out.mp4", Broken())
    left_over(tmp_path, "in.mp4")


def test_a_size_that_the_codec_refuses_is_told_before_any_work(tmp_path):
    source = write_folder(tmp_path / "in", [np.zeros((2, 100, 3), np.uint8)])
    model = Nearest(scale=200)
    with pytest.raises(UserError, match=r"--codec h264: cannot encode 20000x400 .*choose another codec or a folder"):
        upscale_video(source, tmp_path / "out.mp4", model)
    assert model.asked == []
    left_over(tmp_path, "in")


def test_damaged_frames_are_counted_once(tmp_path, short_segments, monkeypatch):
    """Those that samples and overlaps read again are not counted again."""
    damaged = {Fraction(index, 25) for index in (0, 9, 10, 14)}
    monkeypatch.setattr(Picture, "is_damaged", property(lambda self: self.time in damaged))
    source = write_clip(tmp_path / "in.mp4", pan(20))
    with pytest.raises(KeyboardInterrupt):
        upscale_video(source, tmp_path / "out.mp4", Failing(KeyboardInterrupt(), 3), resume=True, budget=0.5)
    report = upscale_video(source, tmp_path / "out.mp4", Nearest(), resume=True, budget=0.5)
    assert report.frames_resumed == 10
    assert report.counts.damaged == 4
    assert "4 source frames arrived damaged and went through as decoded" in report.notes


def test_a_budget_that_the_model_refuses(tmp_path):
    class Static(Nearest):
        def meet(self, budget, windows):
            raise UserError("a static network has no budget")

    source = write_clip(tmp_path / "in.mp4", pan(5))
    with pytest.raises(UserError, match="a static network has no budget"):
        upscale_video(source, tmp_path / "out.mp4", Static(), budget=0.5)
    left_over(tmp_path, "in.mp4")


def test_one_window_of_frames_is_in_memory(tmp_path, monkeypatch):
    """However long the clip: one window, its large frames, and the queues."""
    source = write_clip(tmp_path / "in.mp4", pan(80, 16, 16))
    alive, most = {"pictures": 0, "large frames": 0}, {"pictures": 0, "large frames": 0}
    plain = Picture.__init__

    def watch(thing, kind):
        def gone():
            alive[kind] -= 1

        alive[kind] += 1
        most[kind] = max(most[kind], alive[kind])
        weakref.finalize(thing, gone)

    def watched(self, *arguments):
        plain(self, *arguments)
        watch(self, "pictures")

    class Watching(Nearest):
        def window(self, frames, starts, keep):
            found = super().window(frames, starts, keep)
            self.asked.clear()
            for large in found:
                watch(large.frame, "large frames")
            return found

    monkeypatch.setattr(Picture, "__init__", watched)
    model = Watching(length=5, overlap=2)
    assert upscale_video(source, tmp_path / "out.mp4", model).counts.frames_in == 80
    assert 5 + 2 * 2 <= most["pictures"] <= 5 + 2 * 2 + jobs.AHEAD + 4
    assert 5 <= most["large frames"] <= 5 + jobs.AHEAD + 2


def test_maps(tmp_path):
    source = write_clip(tmp_path / "in.mp4", [*pan(3, 48, 64), pan(3, 48, 64)[-1]])
    report = upscale_video(source, tmp_path / "out.mp4", Nearest(has_blocks=True), map_folder=tmp_path / "maps")
    assert report.counts.made == 3
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [f"0000000{index}.png" for index in range(3)]
    assert images.read_image(tmp_path / "maps" / "00000001.png").shape == (192 + 28, 256, 3)
    report = upscale_video(source, tmp_path / "none.mp4", Nearest(), map_folder=tmp_path / "none")
    assert report.notes == ("no maps: this network takes the same path everywhere",)


def test_progress_goes_up_to_the_end(tmp_path):
    seen = []
    source = write_clip(tmp_path / "in.mp4", pan(7))
    upscale_video(source, tmp_path / "out.mp4", Nearest(), progress=seen.append)
    assert [(now.frames_in, now.total, now.frames_out) for now in seen] == [(n, 7, n) for n in range(1, 8)]


@pytest.mark.parametrize(("num_frames", "sizes"), [(60, [9, 9, 9]), (5, [5]), (12, [9]), (20, [9, 6]), (1, [1])])
def test_a_budget_is_met_on_sampled_windows(tmp_path, num_frames, sizes):
    source = write_clip(tmp_path / "in.mp4", pan(num_frames, 16, 16))
    model = Nearest()
    report = upscale_video(source, tmp_path / "out.mp4", model, budget=0.6)
    assert model.budgets == [(0.6, sizes)]
    windows = f"{len(sizes)} sampled window{'s' if len(sizes) > 1 else ''}"
    assert report.notes == (f"threshold 0.43 comes nearest to the budget of 60% on {windows}; all frames took 30.0%",)


def test_budgets_of_interpolation(tmp_path):
    shots = [*pan(20, seed=1), *pan(20, seed=2)]
    source = write_clip(tmp_path / "in.mp4", shots)
    model = Average()
    report = interpolate_video(source, tmp_path / "out.mp4", model, budget=0.25)
    assert model.budgets == [(0.25, 8)]
    assert report.notes[0] == (
        "a bias of -1.5 on the finders' logits comes nearest to the budget of 25% on 8 sampled pairs; "
        "all frames took 25.0%"
    )
    still = write_clip(tmp_path / "still.mp4", [pan(1)[0]] * 5)
    model = Average()
    report = interpolate_video(still, tmp_path / "still-out.mp4", model, budget=0.25)
    assert model.budgets == []
    assert report.notes == ("the budget changed nothing: no two neighbouring frames show motion",)


@pytest.mark.parametrize("budget", [0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_budget_that_is_no_share(tmp_path, budget):
    source = write_clip(tmp_path / "in.mp4", pan(2))
    message = rf"--budget {budget}: must be over 0 and at most 1, a share of the dense compute, for example 0\.6"
    with pytest.raises(UserError, match=message):
        upscale_video(source, tmp_path / "out.mp4", Nearest(), budget=budget)
    with pytest.raises(UserError, match=message):
        interpolate_video(source, tmp_path / "out.mp4", Average(), budget=budget)


def test_the_last_line_accounts_for_every_frame():
    counts = Counts(frames_in=10, made=9, copied=1, cuts=2, repeats=1, flops=48.0, dense_flops=100.0)
    report = UpscaleReport("in", "out.mp4", counts, 0.4, 0.4, 12.34, 8, (), (320, 180), (1280, 720))
    assert report.line() == (
        "out.mp4: 10 frames in, 10 out (9 made, 1 copied at 1 repeated frame, 2 cuts), 48.0% of the dense FLOPs, "
        "320x180 -> 1280x720, 0.40 s of video, took 12.3 s, 8 frames from an earlier run"
    )


@pytest.fixture
def nearest(monkeypatch):
    """The command gets an upscaler that repeats pixels; no weights are read."""
    model = Nearest()
    monkeypatch.setattr(cli, "load_upscaler", lambda arguments: model)
    return model


def test_the_command(tmp_path, nearest, capsys):
    source = write_clip(tmp_path / "in.mp4", pan(20), has_sound=True)
    command = ["upscale", str(source), str(tmp_path / "out.mkv"), "--start", "0.04", "--end", "0:00.6", "--resume"]
    assert cli.main([*command, "--codec", "ffv1", "--maps", str(tmp_path / "maps"), "--budget", "60%"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert out.startswith(f"{tmp_path / 'out.mkv'}: 14 frames in, 14 out (14 made, ")
    assert "note: no maps: this network takes the same path everywhere" in err
    assert "note: threshold 0.43 comes nearest to the budget of 60% on 2 sampled windows; all frames took 30.0%" in err
    assert read_clip(tmp_path / "out.mkv").codec == "ffv1"


def test_the_model_is_made_as_asked(tmp_path, monkeypatch, capsys):
    made, prepared = [], []

    class Prepared(Nearest):
        """It has no program to load, and notes for which size it should."""

        def prepare(self, height, width):
            prepared.append((height, width))

    monkeypatch.setattr("jaxdyn.pretrained.load", lambda name: (f"model of {name}", "variables"))
    upscaler = type("upscaler", (), {"Upscaler": staticmethod(lambda *a, **o: made.append((a, o)) or Prepared())})
    monkeypatch.setitem(__import__("sys").modules, "jaxdyn.upscaler", upscaler)
    monkeypatch.setattr("jaxdyn.choices.key_of", lambda *given: given)
    monkeypatch.setattr("jaxdyn.choices.read", lambda part, key: None)
    source = write_clip(tmp_path / "in.mp4", pan(2))
    for number, options in enumerate(
        [[], ["--threshold", "0.3", "--execution", "masked", "--parallel", "8", "--weights", "x"]]
    ):
        assert cli.main(["upscale", str(source), str(tmp_path / f"{number}.mp4"), *options]) == 0
    model, other = ("model of skipvsr", "variables"), ("model of x", "variables")
    assert {options.pop("programs").name for _, options in made} == {"traced"}
    assert prepared == [(48, 64)] * 2
    assert made == [
        (model, {"threshold": None, "execution": "packed", "device": None, "parallel": None}),
        (other, {"threshold": 0.3, "execution": "masked", "device": None, "parallel": 8}),
    ]
    described = [
        cli.describe_model(cli.make_parser().parse_args(["upscale", "in", "out", *options]))
        for options in ([], ["--threshold", "0.3"], ["--threshold", "0"], ["--parallel", "2"])
    ]
    plain = "skipvsr, packed"
    assert described == [plain, f"{plain}, threshold 0.3", f"{plain}, threshold 0.0", plain]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.mp4", "out.mp4"], "nothing.mp4: no such file or folder; check the path."),
        (["text.mp4", "out.mp4"], "text.mp4: cannot be opened as a video"),
        (["empty", "out.mp4"], "empty: holds no image; give a folder of .png or .jpg files."),
        (["in.mp4", "in.mp4", "--overwrite"], "in.mp4: is the input; give the output another name."),
        (["in.mp4", "old.mp4"], "old.mp4: exists; add --overwrite to replace it, or choose another name."),
        (["in.mp4", "nowhere/out.mp4"], "nowhere/out.mp4: its folder nowhere does not exist; make it first."),
        (["in.mp4", "out.xyz"], "out.xyz: unknown kind of video"),
        (["in.mp4", "out.mp4", "--threshold", "2"], "'2' is over 1; a threshold from 0 to 1 is needed"),
        (["in.mp4", "out.mp4", "--threshold", "-1"], "'-1' is negative; a threshold from 0 to 1 is needed"),
        (["in.mp4", "out.mp4", "--threshold", "nan"], "'nan' is not a threshold from 0 to 1"),
        (["in.mp4", "out.mp4", "--threshold", "0.2", "--budget", "0.5"], "not allowed with argument"),
        (["in.mp4", "out.mp4", "--budget", "0"], "'0' must be over 0 and at most 1, such as 0.6 or 60%"),
        (["in.mp4", "out.mp4", "--budget", "60"], "'60' must be over 0 and at most 1, such as 0.6 or 60%"),
        (["in.mp4", "out.mp4", "--budget", "%"], "'%' is not a share such as 0.6 or 60%"),
        (["in.mp4", "out.mp4", "--budget", "much"], "'much' is not a share such as 0.6 or 60%"),
        (["in.mp4", "out.mp4", "--parallel", "0"], "'0' must be a whole number, 1 or more"),
        (["in.mp4", "out.mp4", "--parallel", "some"], "'some' must be a whole number, 1 or more"),
        (["in.mp4", "out.mp4", "--factor", "2"], "unrecognized arguments: --factor 2"),
        (["in.mp4", "out.mp4", "--start", "5"], "in.mp4: holds no frame in the part asked for"),
        (["in.mp4", "out.mp4", "--source-fps", "5"], "--source-fps 5: is for image folders"),
        (["in.mp4", "out.mp4", "--device", "tpu"], "'tpu' is no device; write cpu, gpu or gpu:1"),
        (["in.mp4", "out.webm"], "its aac sound cannot be copied into .webm; name the output .mkv."),
        (["in.mp4", "out", "--crf", "5"], "has no --codec and no --crf"),
        (["in.mp4"], "the following arguments are required: OUT"),
        (["in.mp4", "out.mp4", "--maps", "in.mp4/maps"], "--maps in.mp4/maps: cannot be made"),
    ],
)
def test_wrong_input_is_refused_in_one_line(tmp_path, nearest, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "in.mp4", pan(5), has_sound=True)
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "old.mp4").write_text("precious")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    assert message in refused(capsys, "upscale", *arguments)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "old.mp4").read_text() == "precious"
    assert nearest.asked == []


def test_ctrl_c_and_weights_that_are_not_there(tmp_path, capsys, monkeypatch):
    source = write_clip(tmp_path / "in.mp4", pan(5))
    message = refused(capsys, "upscale", source, tmp_path / "out.mp4", "--weights", tmp_path / "no.safetensors")
    assert "no.safetensors: no such weights file" in message
    monkeypatch.setattr(cli, "load_upscaler", lambda arguments: Failing(KeyboardInterrupt(), 0))
    assert cli.main(["upscale", str(source), str(tmp_path / "out.mp4")]) == 130
    assert capsys.readouterr().err == "jaxdyn: stopped\n"
    left_over(tmp_path, "in.mp4")
