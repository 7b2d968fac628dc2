"""Tests of `jaxdyn.video`: decoding."""

import dataclasses
import itertools
from fractions import Fraction

import av
import numpy as np
import pytest

from jaxdyn import colour
from jaxdyn.errors import SourceBrokenError, UserError
from jaxdyn.video import VideoSource
from tests.clips import pan, read_clip, texture, write_clip


def times(source, since=None):
    return [picture.time for picture in source.pictures(since)]


def test_what_a_clip_is(tmp_path):
    clip = VideoSource(write_clip(tmp_path / "in.mp4", pan(7), rate=Fraction(30000, 1001), tags=(1, 1, 1, 1)))
    properties = clip.properties
    assert (properties.width, properties.height, properties.pixel_format) == (64, 48, "yuv420p")
    assert properties.rate == Fraction(30000, 1001)
    assert properties.colour == colour.Colour(1, 1, 1, 1)
    assert (properties.num_frames, properties.origin, properties.first_time) == (7, 0, 0)
    assert times(clip) == [Fraction(1001 * index, 30000) for index in range(7)]
    assert properties.display_matrix is None


def test_frames_are_what_the_decoder_gave(tmp_path):
    frames = pan(4)
    clip = VideoSource(write_clip(tmp_path / "in.mkv", frames, codec="ffv1", pixel_format="bgr0"))
    for picture, pixels in zip(clip.pictures(), frames, strict=True):
        assert isinstance(picture.image, av.VideoFrame)
        assert picture.rgb.dtype == np.float32
        np.testing.assert_array_equal(np.rint(picture.rgb * 255), pixels)
        assert picture.alpha is None


def test_variable_frame_rate(tmp_path):
    ticks = [0, 40, 200, 210, 600]
    clip = VideoSource(write_clip(tmp_path / "in.mp4", pan(5), ticks=ticks, time_base=Fraction(1, 1000)))
    assert times(clip) == [Fraction(tick, 1000) for tick in ticks]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_reading_from_any_time_gives_the_same_frames(tmp_path, suffix):
    path = write_clip(tmp_path / f"in{suffix}", pan(70, 16, 16), options={"g": "12", "bf": "2"})
    clip = VideoSource(path)
    whole = list(clip.pictures())
    for index in (0, 1, 11, 12, 13, 37, 69):
        part = list(itertools.islice(clip.pictures(whole[index].time), 3))
        assert [p.time for p in part] == [p.time for p in whole[index : index + 3]]
        np.testing.assert_array_equal(part[0].rgb, whole[index].rgb)
    between = (whole[5].time + whole[6].time) / 2
    assert next(clip.pictures(between)).time == whole[6].time
    assert times(clip, Fraction(1000)) == []


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_tag(tmp_path, degrees):
    path = write_clip(tmp_path / "in.mp4", pan(3), rotation=degrees)
    assert read_clip(path).rotation in (degrees, -degrees)
    matrix = VideoSource(path).properties.display_matrix
    assert len(matrix) == 9
    assert matrix[8] == 1 << 30


def test_an_enlarged_clip_is_turned_within_its_own_size(tmp_path):
    properties = VideoSource(write_clip(tmp_path / "in.mp4", pan(1), rotation=90)).properties
    moved = dataclasses.replace(properties, display_matrix=(0, 65536, 0, -65536, 0, 0, 48 << 16, 5 << 16, 1 << 30))
    large = moved.enlarged(4)
    assert (large.width, large.height, large.rate) == (256, 192, properties.rate)
    assert large.display_matrix == (0, 65536, 0, -65536, 0, 0, 192 << 16, 20 << 16, 1 << 30)
    assert properties.enlarged(1) == properties


def test_ten_bit(tmp_path):
    deep = [frame.astype(np.uint16) * 257 for frame in pan(3)]
    clip = VideoSource(write_clip(tmp_path / "in.mp4", deep, pixel_format="yuv420p10le"))
    assert clip.properties.pixel_format == "yuv420p10le"
    rgb = next(clip.pictures()).rgb
    np.testing.assert_allclose(rgb, deep[0] / 65535, atol=0.1)


def test_one_frame_and_two_pixels(tmp_path):
    clip = VideoSource(write_clip(tmp_path / "in.mp4", [texture(2, 2)]))
    assert times(clip) == [0]
    assert next(clip.pictures()).rgb.shape == (2, 2, 3)


def test_frames_without_timestamps_are_one_step_apart(tmp_path):
    path = tmp_path / "in.h264"
    write_clip(path, pan(5))
    moments = times(VideoSource(path))
    steps = {b - a for a, b in itertools.pairwise(moments)}
    assert len(moments) == 5
    assert all(step > 0 for step in steps)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.mp4: no such file; check the path"):
        VideoSource(tmp_path / "nothing.mp4")


@pytest.mark.parametrize("content", [b"", b"not a video at all\n" * 50, bytes(range(256)) * 20])
@pytest.mark.parametrize("name", ["in.mp4", "in.txt", "in.srt"])
def test_not_a_video(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=name) as caught:
        VideoSource(path)
    assert "\n" not in str(caught.value)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "in.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 4096), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UserError, match=r"is not a video \(it holds audio\); give a file with a video stream"):
        VideoSource(path)


def test_cut_short_without_its_index(tmp_path):
    path = write_clip(tmp_path / "in.mp4", pan(30))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"cannot be opened as a video .*cut short"):
        VideoSource(path)


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv"])
def test_a_clip_that_breaks_midway_says_when(tmp_path, name):
    path = write_clip(tmp_path / name, pan(100), container_options={"movflags": "faststart"} if "mp4" in name else {})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    read = []
    with pytest.raises(SourceBrokenError, match=r"breaks at \d\.\d{3} s .*--keep-partial keeps") as caught:
        read.extend(picture.time for picture in VideoSource(path).pictures())
    assert 20 < len(read) < 90
    assert caught.value.seconds == pytest.approx(float(read[-1]) + 0.04, abs=0.05)


def test_a_frame_that_changes_size_breaks_the_clip(tmp_path):
    # Two H.264 streams after each other in one transport stream.
    paths = [write_clip(tmp_path / f"{side}.ts", pan(10, side, side)) for side in (32, 64)]
    joined = tmp_path / "in.ts"
    joined.write_bytes(b"".join(path.read_bytes() for path in paths))
    with pytest.raises(SourceBrokenError, match=r"breaks at .*frame size changes from 32x32 to 64x64"):
        list(VideoSource(joined).pictures())


def test_a_cover_picture_is_not_the_video(tmp_path):
    path = write_clip(tmp_path / "plain.mp4", pan(3), has_sound=True)
    covered = tmp_path / "in.mp4"
    with av.open(str(path)) as source, av.open(str(covered), "w") as container:
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        sound = container.add_stream_from_template(source.streams.audio[0], opaque=True)
        container.mux(cover.encode(av.VideoFrame.from_ndarray(texture(16, 16), format="rgb24")))
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = sound
                container.mux(packet)
    with pytest.raises(UserError, match="is not a video"):
        VideoSource(covered)


def test_real_clip(shared):
    clip = VideoSource(shared / "video" / "val" / "gopro_karma.mp4")
    assert clip.properties.pixel_format == "yuvj420p"
    moments = times(clip)
    assert len(moments) == clip.properties.num_frames == 362
    assert next(clip.pictures(moments[200])).time == moments[200]
