"""Where frames go: a video file or a folder of images, both written in segments and joined at the end."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av

from jaxdyn import encode, images
from jaxdyn.errors import UserError
from jaxdyn.parts import Record
from jaxdyn.schedule import GRID, Keep, Multiply, Resample
from jaxdyn.video import Source, VideoSource

Plan = Keep | Multiply | Resample


class Output(Protocol):
    """A target.

    Attributes:
      notes: what is said about it before the work begins.
      suffix: of a segment's name.
    """

    notes: list[str]
    suffix: str

    def describe(self) -> str:
        """Every setting, for comparison with an earlier run's."""

    def open_segment(self, path: Path, first_number: int) -> Any:
        """A writer: `write_source`, `write_made`, `close` and `abort`."""

    def join(self, records: list[Record], joined: Path, clip: Source, origin: Fraction, is_cut: bool) -> list[str]:
        """Writes the whole output at `joined`; gives what is said about it."""


class VideoOutput:
    """A video file with the source's sound, its sides `scale` times as long."""

    suffix = ".nut"

    def __init__(
        self, clip: Source, target: Path, plan: Plan, codec: str | None = None, crf: int | None = None, scale: int = 1
    ):
        properties = clip.properties.enlarged(scale)
        if isinstance(plan, Keep):
            rate, time_base = properties.rate, properties.time_base
        elif isinstance(plan, Multiply):
            rate, time_base = properties.rate * plan.factor, properties.time_base / GRID
            time_base = time_base if time_base.denominator <= encode.MAX_TICKS else properties.time_base
        else:
            rate, time_base = plan.rate, 1 / (plan.rate * -(-90000 // plan.rate))
        self.encoding, self.notes = encode.choose_encoding(
            properties, target, rate, time_base, codec, crf, has_detail=scale > 1
        )
        self.plan = plan
        if isinstance(clip, VideoSource):
            with clip.open() as container, av.open(io.BytesIO(), "w", format=encode.muxer_name(target)) as trial:
                self.notes += encode.copy_streams(container, trial, clip.path)[1]

    def describe(self) -> str:
        """Every setting of the encoder."""
        return repr(self.encoding)

    def open_segment(self, path: Path, first_number: int) -> encode.VideoWriter:
        """Encodes a segment."""
        del first_number
        return encode.VideoWriter(path, self.encoding)

    def join(self, records: list[Record], joined: Path, clip: Source, origin: Fraction, is_cut: bool) -> list[str]:
        """Segments and sound in one file."""
        segments = [encode.Segment(record.path, record.data["ticks"]) for record in records]
        source = clip if isinstance(clip, VideoSource) else None
        return encode.join_video(
            segments, joined, self.encoding, shown_until(records, self.plan), source, origin, is_cut
        )


class FolderOutput:
    """A folder of numbered PNG files."""

    suffix = ""

    def __init__(self, clip: Source):
        self.notes = []
        if isinstance(clip, VideoSource):
            with clip.open() as container:
                if container.streams.audio:
                    self.notes.append("sound was left out: a folder holds pictures only")
            if clip.properties.display_matrix:
                self.notes.append("the rotation tag was left out: pictures are as the camera stored them")

    def describe(self) -> str:
        """There is nothing to set."""
        return "folder"

    def open_segment(self, path: Path, first_number: int) -> images.FolderWriter:
        """A folder of its own for a segment."""
        return images.FolderWriter(path, first_number)

    def join(self, records: list[Record], joined: Path, clip: Source, origin: Fraction, is_cut: bool) -> list[str]:
        """All files in one folder."""
        del clip, origin, is_cut
        images.join_folders([record.path for record in records], joined)
        return []


def choose_output(
    clip: Source, target: Path, plan: Plan, codec: str | None = None, crf: int | None = None, scale: int = 1
) -> VideoOutput | FolderOutput:
    """A folder if the target's name has no suffix, else a video; frames are `scale` times as large in both sides.

    Raises:
      UserError: an unknown kind of video, codec or combination; sound that the container cannot hold.
    """
    if target.suffix:
        return VideoOutput(clip, target, plan, codec, crf, scale)
    if codec is not None or crf is not None:
        raise UserError(
            f"{target}: a folder of PNG files has no --codec and no --crf; leave them out, or name a video."
        )
    return FolderOutput(clip)


def shown_until(records: list[Record], plan: Plan) -> Fraction:
    """When the output's last frame ends, s of the source's clock."""
    if not isinstance(plan, Resample):
        return Fraction(records[-1].data["end"])
    frames = sum(record.data["frames"] for record in records)
    return plan.origin + frames / plan.rate
