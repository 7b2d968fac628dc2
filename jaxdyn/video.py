"""Streaming decode: a video file as an iterator of pictures with exact times.

A `Source` says what a clip is; `pictures()` yields its frames as decoded, one at a time, with the time at which each is
shown. A frame stays the decoder's own `av.VideoFrame` until someone asks for its RGB, so that the encoder can be given
exactly what was decoded. `jaxdyn.encode` is the way back.
"""

import dataclasses
import functools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from jaxdyn import colour
from jaxdyn.errors import SourceBrokenError, UserError, one_line

TEXT_FORMATS = {
    "tty",
    "srt",
    "ass",
    "webvtt",
    "lrc",
    "subviewer",
    "microdvd",
    "sami",
    "concat",
}  # FFmpeg plays text as well
INDEXED_FORMATS = ("mp4", "matroska", "webm")  # containers with an index that seeking can trust


@dataclasses.dataclass(frozen=True)
class Properties:
    """What a source is, known before its frames are read."""

    path: Path
    width: int
    height: int
    pixel_format: str  # FFmpeg's name
    colour: colour.Colour
    time_base: Fraction  # s, all times are multiples of it
    rate: Fraction  # mean frames a second
    origin: Fraction  # s, where the container's clock starts
    first_time: Fraction  # s, when the first frame is shown
    num_frames: int | None = None  # an estimate, for progress
    aspect: Fraction | None = None  # of a pixel
    display_matrix: tuple[int, ...] | None = None  # the rotation tag, as in ISO 14496-12
    is_interlaced: bool = False

    def enlarged(self, scale: int) -> "Properties":
        """Of the same clip with sides `scale` times as long."""
        matrix = self.display_matrix
        if matrix is not None:  # its last row moves the picture, in px
            matrix = (*matrix[:6], matrix[6] * scale, matrix[7] * scale, matrix[8])
        return dataclasses.replace(self, width=self.width * scale, height=self.height * scale, display_matrix=matrix)


class Picture:
    """One source frame.

    Attributes:
      time: when it is shown, s of the source's clock.
      duration: how long, s, or None if the source does not say.
      image: what was decoded, `av.VideoFrame`; of an image folder, [H, W, 3 or 4] uint8 or uint16.
    """

    def __init__(self, time: Fraction, duration: Fraction | None, image: Any, path: Path | None = None):
        self.time, self.duration, self.image, self.path = time, duration, image, path

    @functools.cached_property
    def rgb(self) -> np.ndarray:
        """float32 [H, W, 3] in [0, 1]."""
        if isinstance(self.image, np.ndarray):
            return self.image[..., :3].astype(np.float32) * np.float32(1 / np.iinfo(self.image.dtype).max)
        return colour.to_rgb(self.image)

    @functools.cached_property
    def alpha(self) -> np.ndarray | None:
        """float32 [H, W] in [0, 1], of an image folder's picture that has it."""
        if isinstance(self.image, np.ndarray) and self.image.shape[-1] == 4:
            return self.image[..., 3].astype(np.float32) * np.float32(1 / np.iinfo(self.image.dtype).max)
        return None

    @property
    def is_damaged(self) -> bool:
        """Whether the decoder flagged the frame."""
        return isinstance(self.image, av.VideoFrame) and bool(self.image.is_corrupt)


class Source(Protocol):
    """A clip to read: a video file (`VideoSource`) or a folder of images (`jaxdyn.images.FolderSource`)."""

    properties: Properties
    expected_end: Fraction | None  # s, when the picture ends by the container's header

    def pictures(self, since: Fraction | None = None) -> Iterator[Picture]:
        """Frames in the order of their times, from the first one at `since` or later."""


class VideoSource:
    """A video file.

    Args:
      path: of any container and codec that FFmpeg reads.

    Raises:
      UserError: no such file; not a video; no video stream; no frame in it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"{path}: no such file; check the path.")
        with self.open() as container:
            stream = video_stream(container, self.path)
            stream.codec_context.thread_type = "NONE"  # one frame only
            first = _first_frame(container, stream, self.path)
            rate = fraction(stream.average_rate) or fraction(stream.guessed_rate) or Fraction(25)
            time_base = fraction(stream.time_base) or 1 / rate
            origin = Fraction(container.start_time or 0, av.time_base)
            first_time = origin if first.pts is None else first.pts * time_base
            self.expected_end = _expected_end(container, stream, time_base)
            is_indexed = any(name in container.format.name for name in INDEXED_FORMATS)
            self._can_seek = is_indexed and first.pts is not None
            self.properties = Properties(
                path=self.path,
                width=first.width,
                height=first.height,
                pixel_format=first.format.name,
                colour=colour.colour_of(first),
                time_base=time_base,
                rate=rate,
                origin=origin,
                first_time=first_time,
                num_frames=_estimate(container, stream, rate),
                aspect=fraction(stream.sample_aspect_ratio),
                display_matrix=_display_matrix(first),
                is_interlaced=first.interlaced_frame,
            )

    def open(self) -> av.container.InputContainer:
        """The file's container; the caller closes it."""
        try:
            return av.open(str(self.path), metadata_errors="replace") if _AV_MAJOR < 19 else av.open(str(self.path))
        except (av.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or one_line(error)
            raise UserError(
                f"{self.path}: cannot be opened as a video ({reason}); "
                "a recording that was cut short has lost its index, another kind of file has to be converted first."
            ) from None

    def pictures(self, since: Fraction | None = None) -> Iterator[Picture]:
        """Frames in order, from the first one at `since` or later.

        Raises:
          SourceBrokenError: the clip cannot be read to its end; frames before that were yielded.
        """
        if since is not None and self._can_seek and since > self.properties.first_time:
            for index, picture in enumerate(
                self._decode(since - 1)
            ):  # a second early, so that all references are there
                if index == 0 and picture.time > since:
                    break  # the index led astray: read from the start instead
                if picture.time >= since:
                    yield picture
            else:
                return
        for picture in self._decode(None):
            if since is None or picture.time >= since:
                yield picture

    def _decode(self, seek_to: Fraction | None) -> Iterator[Picture]:
        wanted = (self.properties.width, self.properties.height)
        time = end = None
        with self.open() as container:
            stream = video_stream(container, self.path)
            stream.codec_context.thread_type = "AUTO"
            if seek_to is not None:
                try:
                    container.seek(max(0, int(seek_to / self.properties.time_base)), stream=stream)
                except av.FFmpegError:
                    return
            is_trimmed = False
            frames = self._frames(container, stream)
            while True:
                try:
                    frame, is_discard = next(frames)
                except StopIteration:
                    break
                except (av.FFmpegError, ValueError) as error:
                    self._broken(end, getattr(error, "strerror", None) or one_line(error))
                is_trimmed |= is_discard
                if frame is None:
                    continue
                if (frame.width, frame.height) != wanted:
                    self._broken(
                        end, f"the frame size changes from {wanted[0]}x{wanted[1]} to {frame.width}x{frame.height}"
                    )
                duration = frame.duration * self.properties.time_base if frame.duration else None
                time = self._time(frame, time, duration)
                end = time + (duration or 1 / self.properties.rate)
                yield Picture(time, duration, frame)
        missing = (self.expected_end - end) if self.expected_end and end and not is_trimmed else 0
        if missing > max(Fraction(1, 2), 3 / self.properties.rate):
            self._broken(end, f"the file ends there, {float(missing):.1f} s early")

    def _frames(self, container: Any, stream: Any) -> Iterator[tuple[av.VideoFrame | None, bool]]:
        """Decoded frames, and for every packet whether it is trimmed. Frames before an error still come out."""
        for packet in container.demux(stream):
            yield None, packet.is_discard
            if packet.is_corrupt and packet.size:
                continue  # cut off in the middle: what it would show is not whole
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                for frame in _drain(stream):
                    yield frame, False
                raise
            for frame in decoded:
                yield frame, False

    def _time(self, frame: av.VideoFrame, previous: Fraction | None, duration: Fraction | None) -> Fraction:
        """When a frame is shown: its timestamp, or one step after the frame before if it has none or an earlier one."""
        time = None if frame.pts is None else frame.pts * self.properties.time_base
        if time is None or (previous is not None and time <= previous):
            step = duration or 1 / self.properties.rate
            time = self.properties.first_time if previous is None else previous + step
        return time

    def _broken(self, end: Fraction | None, reason: str) -> None:
        seconds = float((end or self.properties.origin) - self.properties.origin)
        raise SourceBrokenError(
            f"{self.path}: breaks at {seconds:.3f} s ({reason}); --keep-partial keeps what is whole before that.",
            seconds,
        ) from None


_AV_MAJOR = int(av.__version__.split(".")[0])


def fraction(value: Any) -> Fraction | None:
    """A rational of any PyAV version as a Fraction; None for None, 0/0 and 0."""
    if value is None or not value.denominator or not value.numerator:
        return None
    return Fraction(value.numerator, value.denominator)


def video_stream(container: av.container.InputContainer, path: Path) -> av.video.stream.VideoStream:
    """The first video stream that is no cover picture."""
    attached = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & attached]
    if not streams or set(container.format.name.split(",")) & TEXT_FORMATS:
        kinds = sorted({stream.type for stream in container.streams if stream.type not in ("video", "data")})
        held = f" (it holds {' and '.join(kinds)})" if kinds else ""
        raise UserError(f"{path}: is not a video{held}; give a file with a video stream, or a folder of images.")
    if streams[0].codec_context is None:
        raise UserError(f"{path}: its video codec is unknown to this FFmpeg; convert it to H.264 first.")
    return streams[0]


def _first_frame(container: Any, stream: Any, path: Path) -> av.VideoFrame:
    try:
        for frame in container.decode(stream):
            if frame.width and frame.height:
                return frame
        reason = "no frame in it"
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
    raise UserError(f"{path}: holds no frame that can be decoded ({reason}); check that it plays.")


def _drain(stream: Any) -> list[av.VideoFrame]:
    try:
        return stream.codec_context.decode(None)
    except (av.FFmpegError, EOFError):
        return []


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    data = frame.side_data.get(av.sidedata.sidedata.Type.DISPLAYMATRIX)
    return None if data is None else tuple(int(value) for value in np.frombuffer(bytes(data), np.int32))


def _expected_end(container: Any, stream: Any, time_base: Fraction) -> Fraction | None:
    """When the video ends by the container's own header, s; None where no header says."""
    if "mp4" in container.format.name and stream.duration:
        return ((stream.start_time or 0) + stream.duration) * time_base
    said = stream.metadata.get("DURATION")  # Matroska, "00:00:12.078000000"
    if said and said.count(":") == 2:
        hours, minutes, seconds = said.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    return None


def _estimate(container: Any, stream: Any, rate: Fraction) -> int | None:
    if stream.frames:
        return stream.frames
    return round(Fraction(container.duration, av.time_base) * rate) if container.duration else None
