"""From files to encoded pictures, one a frame, made when they are written and not before."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from jaxdyn import images, video
from jaxdyn.errors import UserError

XIPH_SOURCE = (4096, 2160)
"""Width and height of the published clips."""

XIPH_SIZE = (2048, 1080)
"""Width and height of both Xiph sets."""

XIPH_BORDER = (540, 1024)
"""Rows and columns that "4K" loses on each side of 4096 x 2160."""


class Encoded:
    """An encoded picture that is read once; what it is made of is dropped then.

    The writer of records holds every example of a shard until the shard ends: this keeps it to one frame in memory.
    """

    def __init__(self, make: Callable[[], bytes]):
        self._make = make

    def read(self) -> bytes:
        """The picture's bytes."""
        make, self._make = self._make, None
        return make()


def stored(file: Path) -> Iterator[Encoded]:
    """An image file as it is."""
    yield Encoded(partial(_whole_bytes, file))


def xiph_2k(file: Path) -> Iterator[Encoded]:
    """A frame at 2048 x 1080, reduced by area."""
    yield Encoded(lambda: encode(reduce_2k(_xiph_frame(file))))


def xiph_4k(file: Path) -> Iterator[Encoded]:
    """A frame's middle 2048 x 1080 pixels."""
    yield Encoded(lambda: encode(crop_4k(_xiph_frame(file))))


def of_clip(path: Path) -> Iterator[Encoded]:
    """Every frame of a video or of a folder of images, at 8 bits, without opacity; PNG and JPEG files as they are."""
    source = images.FolderSource(path, Fraction(24)) if path.is_dir() else video.VideoSource(path)
    for picture in source.pictures():
        is_plain = isinstance(picture.image, np.ndarray) and picture.image.dtype == np.uint8
        if is_plain and picture.image.shape[-1] == 3 and picture.path.suffix.lower() in (".png", ".jpg", ".jpeg"):
            yield from stored(picture.path)
        else:
            frame = picture.image[..., :3] if is_plain else images.codes(picture.rgb, False)
            yield Encoded(partial(encode, frame))


def reduce_2k(frame: np.ndarray) -> np.ndarray:
    """Xiph-2K: uint8 [2160, 4096, 3] -> [1080, 2048, 3] by area."""
    return cv2.resize(frame, XIPH_SIZE, interpolation=cv2.INTER_AREA)


def crop_4k(frame: np.ndarray) -> np.ndarray:
    """Xiph-"4K": uint8 [2160, 4096, 3] -> its middle [1080, 2048, 3]."""
    rows, columns = XIPH_BORDER
    return frame[rows:-rows, columns:-columns]


def encode(frame: np.ndarray) -> bytes:
    """PNG of uint8 [H, W, 3]."""
    done, data = cv2.imencode(".png", frame[..., ::-1])
    if not done:
        raise OSError(f"OpenCV could not encode a PNG of shape {frame.shape}")
    return data.tobytes()


def decode(image: np.ndarray) -> np.ndarray:
    """What TFDS decodes, grey or with opacity too, as uint8 [H, W, 3]."""
    image = image.reshape(*image.shape[:2], -1)
    return np.repeat(image[..., :1], 3, axis=-1) if image.shape[-1] < 3 else image[..., :3]


def _xiph_frame(file: Path) -> np.ndarray:
    """A frame of a published clip, uint8 [2160, 4096, 3]."""
    frame = images.read_image(file)
    if frame.dtype != np.uint8 or frame.shape[1::-1] != XIPH_SOURCE:
        width, height = XIPH_SOURCE
        found = f"{frame.shape[1]}x{frame.shape[0]} of {8 * frame.itemsize} bit"
        raise UserError(f"{file}: is {found}, expected {width}x{height} of 8 bit; convert the published clip as it is.")
    return frame[..., :3]


def _whole_bytes(file: Path) -> bytes:
    """A file's bytes; of a PNG, its end must be there, which an interrupted copy lacks."""
    data = file.read_bytes()
    if not data or (file.suffix.lower() == ".png" and b"IEND" not in data[-16:]):
        raise UserError(f"{file}: is cut short ({len(data)} bytes); unpack or copy it again.")
    return data
