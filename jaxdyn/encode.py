"""Encode in segments, then join them with the source's sound.

Source frames reach the encoder as they were decoded, in their own pixel format wherever the codec has it. A segment is
a small NUT file; joining copies packets, writes each one's time from the segment's record, and never encodes again.
"""

import contextlib
import dataclasses
import heapq
import io
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from jaxdyn import colour
from jaxdyn.errors import UserError, one_line
from jaxdyn.video import Picture, Properties, VideoSource, fraction, video_stream

os.environ.setdefault("SVT_LOG", "1")  # errors only


@dataclasses.dataclass(frozen=True)
class Codec:
    """A codec by its common name: FFmpeg's encoder, its options and the CRF that is used if none is given."""

    encoder: str
    crf: int | None
    options: dict[str, str]


CODECS = {
    # Files as large as those of "medium", in 0.6 of the time, which the network needs; 0.1 to 0.6 dB less, of 43 to 49.
    "h264": Codec("libx264", 17, {"preset": "faster"}),
    "hevc": Codec("libx265", 20, {"preset": "medium", "x265-params": "log-level=error"}),
    "vp9": Codec("libvpx-vp9", 24, {"b": "0", "deadline": "good", "cpu-used": "2", "row-mt": "1"}),
    "av1": Codec("libsvtav1", 24, {"preset": "6"}),
    "ffv1": Codec("ffv1", None, {"level": "3"}),  # lossless
}
CONTAINERS = {  # suffix -> codecs, the first is the default
    ".mp4": ("h264", "hevc", "av1", "vp9"),
    ".m4v": ("h264", "hevc"),
    ".mov": ("h264", "hevc"),
    ".mkv": ("h264", "hevc", "vp9", "av1", "ffv1"),
    ".webm": ("vp9", "av1"),
}
MAX_TICKS = 10_000_000  # a second; time bases finer than this are kept at the source's own
NOT_METADATA = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "timecode", "vendor_id"}


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Everything an encoder has to know; a value, so that a resumed job can be compared with the first."""

    codec: str
    options: tuple[tuple[str, str], ...]
    pixel_format: str
    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    colour: colour.Colour
    aspect: Fraction | None
    display_matrix: tuple[int, ...] | None
    is_upsampled: bool  # made frames come from RGB whose chroma had the encoder's own resolution


def choose_encoding(
    properties: Properties,
    target: Path,
    rate: Fraction,
    time_base: Fraction,
    codec: str | None = None,
    crf: int | None = None,
    has_detail: bool = False,
) -> tuple[Encoding, list[str]]:
    """How to encode a clip for a target's container, and what is said about it.

    Args:
      properties: of the source, with the size of the result.
      target: its suffix names the container.
      rate: mean frames a second of the result.
      time_base: s; every time of the result is a multiple of it.
      codec: one of `CODECS`; None = the container's default.
      crf: constant rate factor; None = the codec's default.
      has_detail: made frames have colour detail of their own, finer than the source's.

    Raises:
      UserError: a container or a codec that is not known here, or that do not go together.
    """
    suffix = target.suffix.lower()
    if suffix not in CONTAINERS:
        raise UserError(f"{target}: unknown kind of video; end its name in {', '.join(CONTAINERS)}, or name a folder.")
    codec = codec or CONTAINERS[suffix][0]
    if codec not in CONTAINERS[suffix]:
        known = ", ".join(CONTAINERS[suffix])
        raise UserError(
            f"--codec {codec}: {suffix} is written with {known} here; choose one of these or another suffix."
        )
    options = dict(CODECS[codec].options)
    if CODECS[codec].crf is not None:
        options["crf"] = str(CODECS[codec].crf if crf is None else crf)
    pixel_format = choose_pixel_format(properties, codec)
    notes = []
    if properties.is_interlaced:
        notes.append(
            "the source is interlaced: its frames are taken as they are, deinterlace it first for smooth motion"
        )
    if colour.has_alpha(properties.pixel_format):
        notes.append("opacity was dropped: video keeps none here, write to a folder to keep it")
    if (
        colour.subsampling(pixel_format) != colour.subsampling(properties.pixel_format)
        and properties.width % 2 + properties.height % 2
    ):
        notes.append(f"odd size {properties.width}x{properties.height}: encoded with full chroma, {pixel_format}")
    elif pixel_format != properties.pixel_format:
        notes.append(
            f"{properties.pixel_format} frames were converted to {pixel_format}, the nearest that {codec} encodes"
        )
    source_is_rgb = av.VideoFormat(properties.pixel_format, 16, 16).is_rgb
    tags = properties.colour
    if source_is_rgb and not av.VideoFormat(pixel_format, 16, 16).is_rgb:
        tags = dataclasses.replace(tags, matrix=1, range=colour.LIMITED_RANGE)
    encoding = Encoding(
        codec=codec,
        options=tuple(sorted(options.items())),
        pixel_format=pixel_format,
        width=properties.width,
        height=properties.height,
        rate=rate,
        time_base=time_base,
        colour=tags,
        aspect=properties.aspect,
        display_matrix=properties.display_matrix,
        is_upsampled=not (source_is_rgb or has_detail) or colour.subsampling(pixel_format) == (1, 1),
    )
    return encoding, notes


def choose_pixel_format(properties: Properties, codec: str) -> str:
    """The source's own pixel format if the codec has it, else the nearest: chroma first, then depth.

    RGB becomes 4:2:0, which plays everywhere; an odd size keeps full chroma where the codec wants even sizes.
    """
    source = properties.pixel_format
    formats = [f.name for f in av.Codec(CODECS[codec].encoder, "w").video_formats or []]
    formats = [f for f in formats if not colour.has_alpha(f)]
    if codec != "ffv1":
        formats = [f for f in formats if not av.VideoFormat(f, 16, 16).is_rgb and not f.startswith("nv")]
    is_rgb = av.VideoFormat(source, 16, 16).is_rgb or av.VideoFormat(source, 16, 16).has_palette
    is_odd = properties.width % 2 or properties.height % 2
    chroma = (2, 2) if is_rgb and codec != "ffv1" else colour.subsampling(source)
    if is_odd and codec in ("h264", "hevc") and chroma != (1, 1):
        chroma = (1, 1)
    elif source in formats:
        return source
    is_full = source.startswith("yuvj")
    depth = colour.bit_depth(source)

    def distance(name: str) -> tuple:
        is_grey = len(av.VideoFormat(name, 16, 16).components) == 1
        wants_grey = len(av.VideoFormat(source, 16, 16).components) <= 2 and not is_rgb
        wants_rgb = is_rgb and codec == "ffv1"
        lost = max(0, depth - colour.bit_depth(name))
        return (
            av.VideoFormat(name, 16, 16).is_rgb != wants_rgb,
            is_grey != wants_grey,
            sum(abs(a - b) for a, b in zip(colour.subsampling(name), chroma, strict=True)),
            lost,
            colour.bit_depth(name) - depth,
            name.startswith("yuvj") != is_full,
        )

    return min(formats, key=distance)


class VideoWriter:
    """Encodes one segment. `close` gives its record: what joining needs to know."""

    def __init__(self, path: Path, encoding: Encoding):
        self.path, self.encoding = path, encoding
        self.times: list[int] = []  # of packets, in the order of decoding, in ticks
        self.container = av.open(str(path), "w", format="nut")
        self.stream = self.container.add_stream(
            CODECS[encoding.codec].encoder, rate=encoding.rate, options=dict(encoding.options)
        )
        context = self.stream.codec_context
        context.width, context.height = encoding.width, encoding.height
        context.pix_fmt, context.time_base = encoding.pixel_format, encoding.time_base
        context.color_primaries, context.color_trc = encoding.colour.primaries, encoding.colour.transfer
        context.colorspace, context.color_range = encoding.colour.matrix, encoding.colour.range
        if encoding.aspect:
            context.sample_aspect_ratio = encoding.aspect
        try:
            self.container.start_encoding()  # a size that the codec does not take is told before any frame is made
        except (av.FFmpegError, ValueError) as error:
            self.abort()
            raise self._refusal(error) from None

    def write_source(self, picture: Picture, time: Fraction) -> None:
        """A source frame, shown at `time` (s): what was decoded, untouched if the codec has its pixel format."""
        self._encode(self.frame_of(picture), time)

    def write_made(self, rgb: np.ndarray, alpha: np.ndarray | None, time: Fraction, like: Picture) -> None:
        """A made frame, float32 [H, W, 3] RGB in [0, 1], shown at `time` (s)."""
        del alpha, like
        encoding = self.encoding
        frame = colour.from_rgb(rgb, encoding.pixel_format, encoding.colour, is_upsampled=encoding.is_upsampled)
        self._encode(frame, time)

    def frame_of(self, picture: Picture) -> av.VideoFrame:
        """The decoded frame itself, or its nearest in the encoder's format."""
        wanted, image = self.encoding.pixel_format, picture.image
        if isinstance(image, av.VideoFrame):
            if image.format.name == wanted:
                return image
            if colour.subsampling(image.format.name) != (1, 1) and colour.subsampling(wanted) == (1, 1):
                return colour.to_444(image, wanted)
            if not image.format.is_rgb and not image.format.has_palette:
                return image.reformat(format=wanted)
        return colour.from_rgb(picture.rgb, wanted, self.encoding.colour, is_upsampled=False)

    def close(self) -> dict:
        """Ends the segment; gives {"ticks": the packets' times in the order of decoding}."""
        try:
            self._mux(self.stream.encode(None))
        finally:
            self.container.close()
        return {"ticks": self.times}

    def abort(self) -> None:
        """Closes the file, whatever is in it."""
        with contextlib.suppress(av.FFmpegError):
            self.container.close()

    def _encode(self, frame: av.VideoFrame, time: Fraction) -> None:
        frame.pts = int((time / self.encoding.time_base + Fraction(1, 2)) // 1)
        frame.time_base = self.encoding.time_base
        frame.pict_type = 0  # the source's choice of key frames is not the encoder's
        try:
            self._mux(self.stream.encode(frame))
        except av.FFmpegError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: Exception) -> UserError:
        encoding = self.encoding
        size = f"{encoding.width}x{encoding.height} {encoding.pixel_format}"
        return UserError(
            f"--codec {encoding.codec}: cannot encode {size} ({one_line(error)}); choose another codec or a folder."
        )

    def _mux(self, packets: list) -> None:
        for packet in packets:
            self.times.append(round(packet.pts * fraction(packet.time_base) / self.encoding.time_base))
            self.container.mux(packet)


@dataclasses.dataclass(frozen=True)
class Segment:
    """A whole encoded segment: its file and the times of its packets, in the order of decoding, in ticks."""

    path: Path
    ticks: list[int]


def join_video(
    segments: list[Segment],
    target: Path,
    encoding: Encoding,
    end: Fraction,
    source: VideoSource | None,
    origin: Fraction,
    is_cut: bool = False,
) -> list[str]:
    """Writes segments and the source's sound and subtitles into one file, copying packets.

    Args:
      segments: in order.
      target: the file to write.
      encoding: what the segments were made with.
      end: when the last frame ends, s of the source's clock.
      source: where sound, subtitles, chapters and tags come from; None = nowhere.
      origin: the source's time, s, that is 0 in the target.
      is_cut: the target holds a part of the source: sound outside of it is left out.

    Returns:
      What is said about streams that were not copied.
    """
    notes: list[str] = []
    muxer = {"movflags": "+faststart"} if target.suffix.lower() in (".mp4", ".m4v", ".mov") else {}
    with av.open(str(target), "w", format=muxer_name(target), container_options=muxer) as out:
        with av.open(str(segments[0].path)) as first:
            video = out.add_stream_from_template(first.streams.video[0], opaque=True)
            video.time_base = encoding.time_base
            video.codec_context.framerate = encoding.rate
            if encoding.codec == "hevc" and muxer:
                video.codec_context.codec_tag = "hvc1"
        streams = [_video_packets(segments, video, encoding, end, origin)]
        if source is None:
            return _mux_all(out, streams, notes)
        if encoding.display_matrix:
            video.set_display_matrix(encoding.display_matrix)
        with source.open() as container:
            copied, notes = copy_streams(container, out, source.path)
            _copy_tags(container, out, video, source.path, origin, end)
            if copied:
                streams.append(_copied_packets(container, copied, origin, end, is_cut, notes))
            return _mux_all(out, streams, notes)


def muxer_name(target: Path) -> str:
    """FFmpeg's name of the container."""
    return {".mkv": "matroska", ".m4v": "mp4"}.get(target.suffix.lower(), target.suffix.lower()[1:])


def copy_streams(container: Any, out: Any, path: Path) -> tuple[dict[int, Any], list[str]]:
    """Adds every sound, subtitle and attachment stream that the target's container can hold.

    Returns:
      ({index in the source: stream of the target}, what is said about the others).

    Raises:
      UserError: a sound stream that the container cannot hold.
    """
    copied, notes, others = {}, [], []
    main = video_stream(container, path).index
    for stream in container.streams:
        if stream.index == main:
            continue
        name = getattr(stream, "name", None) or "unknown"
        if stream.type not in ("audio", "subtitle", "attachment"):
            others.append(f"{stream.type} ({name})")
            continue
        if not can_hold(stream, out.format.name):
            if stream.type == "audio":
                raise UserError(
                    f"{path}: its {name} sound cannot be copied into .{out.format.name}; name the output .mkv."
                )
            notes.append(f"{name} {stream.type} was left out: {out.format.name} cannot hold it, .mkv can")
            continue
        copied[stream.index] = out.add_stream_from_template(stream, opaque=True)
        copied[stream.index].disposition = stream.disposition
        copied[stream.index].metadata.update(_kept(stream.metadata))
    if others:
        notes.append(f"not copied: {', '.join(others)}")
    return copied, notes


def can_hold(stream: Any, muxer: str) -> bool:
    """Whether a container takes a stream, by writing a header with nothing else in it."""
    if stream.type == "attachment":
        return muxer == "matroska"
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    """Tags that stay true: not those which a muxer writes about its own file."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in NOT_METADATA and not key.startswith(("_STATISTICS", "BPS", "NUMBER_OF"))
    }


def _copy_tags(container: Any, out: Any, video: Any, path: Path, origin: Fraction, end: Fraction) -> None:
    out.metadata.update(_kept(container.metadata))
    source_video = video_stream(container, path)
    video.metadata.update(_kept(source_video.metadata))
    video.disposition = source_video.disposition
    chapters = []
    for chapter in container.chapters():
        base = fraction(chapter["time_base"]) or Fraction(1, av.time_base)
        start, stop = max(chapter["start"] * base, origin), min(chapter["end"] * base, end)
        if start < stop:
            times = {"start": round((start - origin) / base), "end": round((stop - origin) / base)}
            chapters.append(chapter | times)
    if chapters:
        out.set_chapters(chapters)


Timed = tuple[Fraction, int, av.Packet]


def _mux_all(out: Any, streams: list[Iterator[Timed]], notes: list[str]) -> list[str]:
    """Interleaves packets by time, so that the muxer holds few of them however long the clip is."""
    for _, _, packet in heapq.merge(*streams, key=lambda timed: timed[:2]):
        out.mux(packet)
    return notes


def _video_packets(
    segments: list[Segment], video: Any, encoding: Encoding, end: Fraction, origin: Fraction
) -> Iterator[Timed]:
    """Packets of all segments with their times: shown as recorded, decoded in order, each until the next is shown."""
    base = encoding.time_base
    shift = round(origin / base)
    shown = [tick for segment in segments for tick in sorted(segment.ticks)]
    until = [*shown[1:], max(round(end / base), shown[-1] + 1)]
    length = {tick: after - tick for tick, after in zip(shown, until, strict=True)}
    delay = max(_reorder_delay(segment.ticks) for segment in segments)
    lead = [shown[0] - (delay - index) * length[shown[0]] for index in range(delay)]
    times = [*lead, *shown]  # the i-th packet is decoded when the frame `delay` places before is shown
    decode = iter(times)
    # MP4's length is from the first decoding to the end of the packet decoded last: made to be what is shown.
    length[segments[-1].ticks[-1]] = max(1, until[-1] - shown[0] - (times[len(shown) - 1] - times[0]))
    for segment in segments:
        with av.open(str(segment.path)) as container:
            packets = (packet for packet in container.demux(container.streams.video[0]) if packet.size)
            for tick, packet in zip(segment.ticks, packets, strict=True):
                packet.stream = video
                packet.time_base = base
                packet.pts, packet.dts, packet.duration = tick - shift, next(decode) - shift, length[tick]
                yield packet.dts * base, 0, packet


def _reorder_delay(ticks: list[int]) -> int:
    """By how many places decoding has to run ahead of showing: the least d with sorted[i - d] <= ticks[i]."""
    rank = {tick: place for place, tick in enumerate(sorted(ticks))}
    return max(index - rank[tick] for index, tick in enumerate(ticks))


def _copied_packets(
    container: Any, copied: dict[int, Any], origin: Fraction, end: Fraction, is_cut: bool, notes: list[str]
) -> Iterator[Timed]:
    """Sound and subtitle packets, untouched but for the clock's start."""
    indices = [index for index, stream in copied.items() if stream.type != "attachment"]
    time = Fraction(0)
    try:
        for packet in container.demux([container.streams[index] for index in indices]) if indices else ():
            if packet.dts is None and packet.pts is None:
                continue
            base = fraction(packet.time_base)
            start = (packet.pts if packet.pts is not None else packet.dts) * base
            if is_cut and not origin <= start < end:
                continue
            shift = round(origin / base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
            packet.stream = copied[packet.stream_index]
            time = (packet.dts if packet.dts is not None else packet.pts) * base
            yield time, 1, packet
    except av.FFmpegError:
        notes.append(f"sound could be read up to {float(time):.3f} s only")
