"""Tests of `jaxdyn.encode`: encoding and joining."""

import dataclasses
from fractions import Fraction

import av
import numpy as np
import pytest

from jaxdyn import colour, encode
from jaxdyn.errors import UserError
from jaxdyn.video import VideoSource
from tests.clips import packets, pan, read_clip, texture, write_clip


def encoding_for(source, target, rate=None, **options):
    properties = source.properties
    return encode.choose_encoding(properties, target, rate or properties.rate, properties.time_base / 8, **options)


def copy_clip(path, target, per_segment=1000, source=None, **options):
    """Every source frame through the encoder, in segments; gives the notes."""
    source = source or VideoSource(path)
    encoding, notes = encoding_for(source, target, **options)
    segments, writer, count = [], None, 0
    for picture in source.pictures():
        if writer is None:
            writer, count = encode.VideoWriter(target.with_name(f"{len(segments)}.nut"), encoding), 0
        writer.write_source(picture, picture.time)
        count += 1
        if count == per_segment:
            segments.append(encode.Segment(writer.path, writer.close()["ticks"]))
            writer = None
    if writer is not None:
        segments.append(encode.Segment(writer.path, writer.close()["ticks"]))
    end = picture.time + (picture.duration or 1 / source.properties.rate)
    return notes + encode.join_video(segments, target, encoding, end, source, source.properties.origin)


def same_pictures(path, target):
    before, after = read_clip(path), read_clip(target)
    assert before.pixel_format == after.pixel_format
    for one, two in zip(before.frames, after.frames, strict=True):
        for plane, other in zip(one.planes, two.planes, strict=True):
            np.testing.assert_array_equal(plane, other)
    return before, after


LOSSLESS = [
    ("libx264", "yuv420p", ".mp4", {"crf": 0}),
    ("libx264", "yuvj420p", ".mp4", {"crf": 0}),
    ("libx264", "yuv422p", ".mkv", {"crf": 0}),
    ("libx264", "yuv444p", ".mov", {"crf": 0}),
    ("libx264", "gray", ".mp4", {"crf": 0}),
    ("ffv1", "yuv420p10le", ".mkv", {"codec": "ffv1"}),
    ("ffv1", "bgr0", ".mkv", {"codec": "ffv1"}),
]


@pytest.mark.parametrize(("codec", "pixel_format", "suffix", "options"), LOSSLESS)
def test_source_frames_reach_the_encoder_bit_for_bit(tmp_path, codec, pixel_format, suffix, options):
    options_in = {"qp": "0", "preset": "veryfast"} if codec == "libx264" else {}
    path = write_clip(tmp_path / "in.mkv", pan(6), codec=codec, pixel_format=pixel_format, options=options_in)
    copy_clip(path, tmp_path / f"out{suffix}", **options)
    before, after = same_pictures(path, tmp_path / f"out{suffix}")
    assert before.times == after.times


@pytest.mark.parametrize("per_segment", [1, 3, 7, 50])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_segments_join_without_a_seam(tmp_path, per_segment, suffix):
    """Frames, times and length are those of one piece, and decoding times rise, also at a variable rate."""
    ticks = np.cumsum([0, *np.random.default_rng(0).integers(10, 400, 19)]).tolist()
    path = write_clip(tmp_path / "in.mp4", pan(20), ticks=ticks, time_base=Fraction(1, 1000), options={"qp": "0"})
    target = tmp_path / f"out{suffix}"
    copy_clip(path, target, per_segment, crf=0)
    before, after = same_pictures(path, target)
    assert before.times == after.times
    with av.open(str(target)) as container:
        read = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
    decode = [packet.dts for packet in read]
    assert decode == sorted(set(decode))
    assert all(packet.dts <= packet.pts for packet in read)
    if suffix == ".mp4":
        assert before.duration == after.duration


def test_sound_is_copied_packet_by_packet(tmp_path):
    path = write_clip(tmp_path / "in.mp4", pan(25), has_sound=True)
    for suffix in (".mp4", ".mkv", ".mov"):
        target = tmp_path / f"out{suffix}"
        copy_clip(path, target, per_segment=10)
        before, after = packets(path, "audio"), packets(target, "audio")
        assert [digest for digest, _ in before] == [digest for digest, _ in after]
        shift = before[0][1] - after[0][1]
        assert abs(shift) < Fraction(3, 100)  # Matroska starts at 0 what MP4 starts before it
        assert all(abs(a - b - shift) <= Fraction(1, 1000) for (_, a), (_, b) in zip(before, after, strict=True))


SUBTITLES = "1\n00:00:00,100 --> 00:00:00,500\nhello\n\n2\n00:00:00,600 --> 00:00:00,900\nthere\n"


def test_subtitles_are_copied_or_named(tmp_path):
    path = write_clip(tmp_path / "in.mkv", pan(25), subtitles=SUBTITLES)
    assert copy_clip(path, tmp_path / "out.mkv") == []
    assert packets(path, "subtitle") == packets(tmp_path / "out.mkv", "subtitle")
    notes = copy_clip(path, tmp_path / "out.mp4")
    assert notes == ["srt subtitle was left out: mp4 cannot hold it, .mkv can"]
    assert read_clip(tmp_path / "out.mp4").types == ["video"]


def test_sound_that_the_container_cannot_hold_is_refused(tmp_path):
    path = write_clip(tmp_path / "in.mp4", pan(5), has_sound=True)
    with pytest.raises(UserError, match=r"its aac sound cannot be copied into \.webm; name the output \.mkv"):
        copy_clip(path, tmp_path / "out.webm")


@pytest.mark.parametrize("tags", [(1, 1, 1, 1), (9, 16, 9, 1), (6, 6, 6, 1), (5, 1, 5, 2)])
def test_colour_tags_rotation_and_metadata_are_kept(tmp_path, tags):
    path = write_clip(tmp_path / "in.mp4", pan(5), tags=tags, rotation=90, metadata={"title": "A walk", "artist": "me"})
    copy_clip(path, tmp_path / "out.mp4")
    before, after = read_clip(path), read_clip(tmp_path / "out.mp4")
    assert before.tags == after.tags == tags
    assert before.rotation == after.rotation != 0
    assert after.metadata["title"] == "A walk"
    assert after.metadata["artist"] == "me"


def test_chapters_are_kept(tmp_path):
    path = write_clip(tmp_path / "plain.mkv", pan(50))
    marked = tmp_path / "in.mkv"
    spans = [(0, 500, "start"), (500, 1500, "middle")]
    chapters = [
        {"id": number, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
        for number, (start, end, title) in enumerate(spans)
    ]
    with av.open(str(path)) as source, av.open(str(marked), "w") as container:
        container.set_chapters(chapters)
        video = container.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = video
                container.mux(packet)
    copy_clip(marked, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        kept = [(c["start"], c["end"], encode.fraction(c["time_base"]), c["metadata"]) for c in container.chapters()]
    assert [(a * base, b * base, data["title"]) for a, b, base, data in kept] == [
        (Fraction(a, 1000), Fraction(b, 1000), title) for a, b, title in spans
    ]


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (31, 47), (1, 1), (5, 9)])
def test_odd_sizes_have_full_chroma(tmp_path, size):
    path = write_clip(tmp_path / "in.mkv", pan(4, *size), codec="ffv1")
    notes = copy_clip(path, tmp_path / "out.mp4", crf=0)
    assert notes == [f"odd size {size[1]}x{size[0]}: encoded with full chroma, yuv444p"]
    before, after = read_clip(path), read_clip(tmp_path / "out.mp4")
    assert after.size == (size[1], size[0])
    assert after.pixel_format == "yuv444p"
    for one, two in zip(before.frames, after.frames, strict=True):
        np.testing.assert_array_equal(one.planes[0], two.planes[0])
        np.testing.assert_allclose(one.rgb, two.rgb, atol=0.02)


@pytest.mark.parametrize("codec", ["h264", "vp9", "ffv1"])
def test_two_by_two_pixels(tmp_path, codec):
    path = write_clip(tmp_path / "in.mp4", [texture(2, 2, seed) for seed in range(3)])
    copy_clip(path, tmp_path / "out.mkv", codec=codec)
    assert read_clip(tmp_path / "out.mkv").size == (2, 2)


@pytest.mark.parametrize(
    ("suffix", "codec", "name"), [(".mp4", "hevc", "hevc"), (".webm", None, "vp9"), (".mkv", "av1", "av1")]
)
def test_other_codecs(tmp_path, suffix, codec, name):
    path = write_clip(tmp_path / "in.mp4", pan(6, 64, 80))
    copy_clip(path, tmp_path / f"out{suffix}", codec=codec)
    before, after = read_clip(path), read_clip(tmp_path / f"out{suffix}")
    assert name in after.codec or "dav1d" in after.codec
    assert len(after.frames) == 6
    assert max(abs(a - b) for a, b in zip(before.times, after.times, strict=True)) <= Fraction(1, 1000)
    for one, two in zip(before.frames, after.frames, strict=True):
        assert np.abs(one.rgb - two.rgb).mean() < 0.03


def test_hevc_too_small_is_refused(tmp_path):
    path = write_clip(tmp_path / "in.mp4", pan(2, 8, 8))
    with pytest.raises(UserError, match=r"--codec hevc: cannot encode 8x8 yuv420p .*choose another codec"):
        copy_clip(path, tmp_path / "out.mkv", codec="hevc")


@pytest.mark.parametrize(
    ("source", "codec", "size", "expected"),
    [
        ("yuv420p", "h264", (64, 48), "yuv420p"),
        ("yuv420p10le", "h264", (64, 48), "yuv420p10le"),
        ("yuv420p10le", "hevc", (64, 48), "yuv420p10le"),
        ("yuv420p10le", "vp9", (64, 48), "yuv420p"),
        ("yuv420p12le", "h264", (64, 48), "yuv420p10le"),
        ("yuv422p12le", "hevc", (64, 48), "yuv422p12le"),
        ("yuva420p", "h264", (64, 48), "yuv420p"),
        ("yuva444p10le", "h264", (64, 48), "yuv444p10le"),
        ("yuv411p", "h264", (64, 48), "yuv422p"),
        ("nv12", "h264", (64, 48), "yuv420p"),
        ("p010le", "h264", (64, 48), "yuv420p10le"),
        ("yuvj422p", "h264", (64, 48), "yuvj422p"),
        ("rgb24", "h264", (64, 48), "yuv420p"),
        ("rgb48le", "h264", (64, 48), "yuv420p10le"),
        ("gbrp", "h264", (64, 48), "yuv420p"),
        ("rgba", "h264", (64, 48), "yuv420p"),
        ("pal8", "h264", (64, 48), "yuv420p"),
        ("gray", "h264", (64, 48), "gray"),
        ("yuv420p", "h264", (63, 48), "yuv444p"),
        ("yuv420p10le", "h264", (64, 47), "yuv444p10le"),
        ("yuvj420p", "h264", (63, 48), "yuvj444p"),
        ("rgb24", "h264", (63, 48), "yuv444p"),
        ("yuv420p", "vp9", (63, 47), "yuv420p"),
        ("yuv420p", "ffv1", (63, 47), "yuv420p"),
        ("yuv444p", "av1", (64, 48), "yuv420p"),
        ("yuv420p10le", "av1", (64, 48), "yuv420p10le"),
    ],
)
def test_pixel_formats(tmp_path, source, codec, size, expected):
    path = write_clip(tmp_path / "in.mp4", pan(1))
    properties = dataclasses.replace(VideoSource(path).properties, pixel_format=source, width=size[0], height=size[1])
    assert encode.choose_pixel_format(properties, codec) == expected


def test_what_is_converted_is_said(tmp_path):
    path = write_clip(tmp_path / "in.mp4", pan(1))
    properties = VideoSource(path).properties
    for source, message in [
        ("yuva420p", "opacity was dropped: video keeps none here, write to a folder to keep it"),
        ("gbrp", "gbrp frames were converted to yuv420p, the nearest that h264 encodes"),
    ]:
        changed = dataclasses.replace(properties, pixel_format=source)
        notes = encode.choose_encoding(changed, tmp_path / "out.mp4", Fraction(25), Fraction(1, 25))[1]
        assert message in notes
    assert encode.choose_encoding(properties, tmp_path / "out.mp4", Fraction(25), Fraction(1, 25))[1] == []


def test_rgb_sources_are_tagged_as_what_they_become(tmp_path):
    path = write_clip(tmp_path / "in.mkv", pan(4), codec="ffv1", pixel_format="bgr0")
    copy_clip(path, tmp_path / "out.mp4", crf=5)
    after = read_clip(tmp_path / "out.mp4")
    assert after.tags[2:] == (1, 1)
    for one, frame in zip(after.frames, pan(4), strict=True):
        assert np.abs(one.rgb - frame / 255).mean() < 0.02


def test_made_frames_have_the_sources_colours(tmp_path):
    """RGB of a decoded frame, given back as a made frame, is encoded to the very frame it came from."""
    for tags, pixel_format in [((1, 1, 1, 1), "yuv420p"), ((6, 6, 6, 1), "yuv420p"), ((1, 1, 1, 2), "yuvj420p")]:
        path = write_clip(tmp_path / "in.mkv", pan(3), tags=tags, pixel_format=pixel_format, options={"qp": "0"})
        source = VideoSource(path)
        encoding, _ = encoding_for(source, tmp_path / "out.mkv", crf=0)
        writer = encode.VideoWriter(tmp_path / "0.nut", encoding)
        for picture in source.pictures():
            writer.write_made(picture.rgb, None, picture.time, picture)
        writer.close()
        for one, two in zip(read_clip(path).frames, read_clip(tmp_path / "0.nut").frames, strict=True):
            for plane, other in zip(one.planes, two.planes, strict=True):
                assert np.abs(plane.astype(int) - other).max() <= 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("out.avi", {}, r"out\.avi: unknown kind of video; end its name in \.mp4, .*or name a folder"),
        ("out.webm", {"codec": "h264"}, r"--codec h264: \.webm is written with vp9, av1 here"),
        ("out.mp4", {"codec": "ffv1"}, r"--codec ffv1: \.mp4 is written with h264"),
    ],
)
def test_unknown_targets(tmp_path, name, options, message):
    path = write_clip(tmp_path / "in.mp4", pan(1))
    with pytest.raises(UserError, match=message):
        encoding_for(VideoSource(path), tmp_path / name, **options)


def test_reorder_delay():
    assert encode._reorder_delay([0, 1, 2]) == 0
    assert encode._reorder_delay([0, 2, 1]) == 1
    assert encode._reorder_delay([0, 4, 2, 1, 3]) == 2


def test_colour_of_a_frame_is_not_lost_by_conversion():
    frame = colour.tag(av.VideoFrame(16, 16, "nv12"), colour.Colour(9, 16, 9, 1))
    assert colour.colour_of(colour._planar(frame)) == colour.Colour(9, 16, 9, 1)
