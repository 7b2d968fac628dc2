"""What a protocol scores, clip by clip: from records that `train.prepare` built, or from the unpacked archive itself.

Frames are decoded when they are asked for, in the order of time, and none is kept.
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from eval.protocols import Protocol
from jaxdyn import images
from jaxdyn.data import clips, datasets
from jaxdyn.data.datasets.layouts import Clip as Files
from jaxdyn.data.datasets.table import Dataset
from jaxdyn.errors import UserError


@dataclasses.dataclass(frozen=True)
class Clip:
    """Frames that follow each other; a triplet is a clip of three.

    Attributes:
      name: triplets of one clip share it.
      num_frame: how many there are; None where only decoding tells.
      frames: begins to decode them: uint8 [H, W, 3] each.
    """

    name: str
    num_frame: int | None
    frames: Callable[[], Iterator[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Samples:
    """The clips of a benchmark.

    Attributes:
      protocol: how they are scored; says what is missing.
      clips: in the published order.
    """

    protocol: Protocol
    clips: list[Clip]

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)


def open_samples(protocol: Protocol, data: str | Path, is_partial: bool = False) -> Samples:
    """The clips of a protocol.

    Args:
      protocol: which.
      data: folder in which `train.prepare` built records, or of the unpacked archive, or one that holds the archive
        under the dataset's name.
      is_partial: take what is there of an incomplete archive; the protocol's name and sentence then say so.

    Raises:
      UserError: nothing there, a file is missing, or a part of the benchmark is; says what to get and where to put it.
    """
    dataset, data = datasets.named(protocol.dataset), Path(data)
    if datasets.is_built(dataset, data):
        found = _of_records(datasets.open_dataset(dataset.name, protocol.split, data))
    else:
        found = _of_archive(dataset, protocol.split, data)
    missing = _missing(protocol, found)
    if missing and not is_partial:
        remedy = f"get {dataset.origin}, or score what is there as incomplete, with --partial"
        raise UserError(f"{protocol.name}: {data} holds {missing}; {remedy}.")
    if missing:
        protocol = dataclasses.replace(protocol, name=f"{protocol.name}, incomplete", partial=missing)
    return Samples(protocol, found)


def _of_records(source: datasets.Source) -> list[Clip]:
    read = _triplet if source.kind == "triplet" else _sequence
    return [Clip(source.clip(i), source.num_frames(i), partial(read, source, i)) for i in range(len(source))]


def _triplet(source: datasets.Source, index: int) -> Iterator[np.ndarray]:
    sample = source[index]
    yield from (sample.pop(name) for name in ("frame0", "target", "frame1"))


def _sequence(source: datasets.Source, index: int) -> Iterator[np.ndarray]:
    for number in range(source.num_frames(index)):
        yield source.frames(index, number, 1)[0]


def _of_archive(dataset: Dataset, split: str, data: Path) -> list[Clip]:
    if dataset.name == "folder":
        return [Clip(found.name, None, partial(clips.frames, *found.files)) for found in dataset.clips(split, data)]
    inner = data / dataset.name
    try:
        found = dataset.clips(split, inner if inner.is_dir() else data)
    except UserError as error:
        raise UserError(f"{str(error).rstrip('.')}; records of `python -m train.prepare` are read as well.") from None
    return [Clip(clip.name, len(clip.files), partial(_decoded, dataset, clip)) for clip in found]


def _decoded(dataset: Dataset, clip: Files) -> Iterator[np.ndarray]:
    for file in clip.files:
        for encoded in dataset.frames_of(file):
            image = images.decode_image(encoded.read(), file)
            if image.dtype != np.uint8:
                raise UserError(f"{file}: is of 16 bit, expected 8 as published; unpack the archive again.")
            yield image[..., :3]


def _missing(protocol: Protocol, found: list[Clip]) -> str:
    """How what was found differs from what is published, in words; "" where it does not."""
    if protocol.task == "upscale":
        number, what = len(found), "clips"
    else:
        number, what = sum((clip.num_frame - 1) // 2 for clip in found if clip.num_frame), "triplets"
    parts = []
    if protocol.num_sample not in (None, number):
        parts.append(f"{number} of {protocol.num_sample} {what}")
    lengths = {clip.name: clip.num_frame for clip in found}
    lacks = [name for name in protocol.lengths if name not in lengths]
    if lacks:
        parts.append(f"no {' and no '.join(lacks)}")
    parts += [
        f"{lengths[name]} of {length} frames of {name}"
        for name, length in protocol.lengths.items()
        if lengths.get(name, length) != length
    ]
    return ", ".join(parts)
