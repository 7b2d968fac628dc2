"""Image folders, in and out: every frame a file, 8 or 16 bit, opacity kept."""

import dataclasses
import re
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from jaxdyn import colour
from jaxdyn.errors import SourceBrokenError, UserError
from jaxdyn.video import Picture, Properties

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}
OUTPUT_NAME = re.compile(r"\d{8}\.png")


class FolderSource:
    """A folder of images, in the order of the numbers in their names ("2.png" before "10.png").

    Args:
      path: the folder.
      rate: frames a second; a folder does not say.

    Raises:
      UserError: no such folder, no image in it, or a first image that cannot be read.
    """

    def __init__(self, path: str | Path, rate: Fraction):
        self.path = Path(path)
        self.expected_end = None
        self.files = sorted((f for f in self.path.iterdir() if f.suffix.lower() in SUFFIXES), key=_natural)
        if not self.files:
            raise UserError(f"{path}: holds no image; give a folder of .png or .jpg files.")
        first = read_image(self.files[0])
        self.properties = Properties(
            path=self.path,
            width=first.shape[1],
            height=first.shape[0],
            pixel_format=("rgba" if first.shape[2] == 4 else "rgb24") if first.dtype == np.uint8 else "rgb48le",
            colour=colour.SRGB,
            time_base=1 / rate,
            rate=rate,
            origin=Fraction(0),
            first_time=Fraction(0),
            num_frames=len(self.files),
        )
        if first.dtype != np.uint8 and first.shape[2] == 4:
            self.properties = dataclasses.replace(self.properties, pixel_format="rgba64le")

    def pictures(self, since: Fraction | None = None) -> Iterator[Picture]:
        """Images in order, from the first one at `since` or later.

        Raises:
          SourceBrokenError: an image cannot be read, or has another size.
        """
        wanted = (self.properties.width, self.properties.height)
        step = 1 / self.properties.rate
        first = 0 if since is None else max(0, int(-(-since // step)))
        for index, file in enumerate(self.files[first:], first):
            hint = "--keep-partial keeps what is whole before that."
            try:
                image = read_image(file)
            except UserError as error:
                raise SourceBrokenError(f"{str(error).rstrip('.')}; {hint}", float(index * step)) from None
            if image.shape[1::-1] != wanted:
                sizes = f"{image.shape[1]}x{image.shape[0]}, the first image {wanted[0]}x{wanted[1]}"
                raise SourceBrokenError(f"{file}: is {sizes}; all must have one size, or {hint}", float(index * step))
            yield Picture(index * step, step, image, file)


class FolderWriter:
    """Writes numbered PNG files, "00000000.png" first; each frame keeps the depth and opacity it has."""

    def __init__(self, path: Path, first_number: int):
        path.mkdir()
        self.path, self.number = path, first_number

    def write_source(self, picture: Picture, time: Fraction) -> None:
        """A source frame: its file's bytes if that is a PNG, its pixels exactly if not."""
        del time
        if picture.path is not None and picture.path.suffix.lower() == ".png":
            shutil.copyfile(picture.path, self._next())
        elif isinstance(picture.image, np.ndarray):
            write_image(self._next(), picture.image)
        else:
            write_image(self._next(), codes(picture.rgb, colour.bit_depth(picture.image.format.name) > 8))

    def write_made(self, rgb: np.ndarray, alpha: np.ndarray | None, time: Fraction, like: Picture) -> None:
        """A made frame, float32 [H, W, 3] and [H, W] in [0, 1], at the depth of a source frame."""
        del time
        if isinstance(like.image, np.ndarray):
            is_deep = like.image.dtype != np.uint8
        else:
            is_deep = colour.bit_depth(like.image.format.name) > 8
        pixels = rgb if alpha is None else np.concatenate([rgb, alpha[..., None]], axis=-1)
        write_image(self._next(), codes(pixels, is_deep))

    def close(self) -> dict:
        """What was written, for the segment's record."""
        return {}

    def abort(self) -> None:
        """Nothing is open."""

    def _next(self) -> Path:
        self.number += 1
        return self.path / f"{self.number - 1:08d}.png"


def join_folders(segments: list[Path], target: Path) -> None:
    """Moves the numbered files of all segments into one new folder."""
    target.mkdir()
    for segment in segments:
        for file in sorted(segment.iterdir()):
            file.rename(target / file.name)


def check_replaceable(path: Path) -> None:
    """Refuses to replace a folder that holds anything but numbered frames of an earlier run."""
    foreign = [file.name for file in path.iterdir() if not OUTPUT_NAME.fullmatch(file.name)]
    if foreign:
        raise UserError(
            f"{path}: holds files that are not frames of an earlier run ({foreign[0]}); name another folder."
        )


def read_image(file: Path) -> np.ndarray:
    """RGB or RGBA, [H, W, 3 or 4] uint8 or uint16; grey is repeated."""
    return decode_image(file.read_bytes(), file)


def decode_image(encoded: bytes, file: Path) -> np.ndarray:
    """`read_image` of the bytes of a file."""
    data = np.frombuffer(encoded, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{file}: cannot be read as an image of 8 or 16 bit; replace or remove it.")
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=-1)
    if image.shape[-1] == 2:  # grey and opacity
        return image[..., [0, 0, 0, 1]]
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[-1] == 4 else cv2.COLOR_BGR2RGB)


def write_image(file: Path, image: np.ndarray) -> None:
    """PNG of [H, W, 3 or 4] uint8 or uint16, RGB order."""
    order = cv2.COLOR_RGBA2BGRA if image.shape[-1] == 4 else cv2.COLOR_RGB2BGR
    done, data = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(image), order))
    if not done:
        raise OSError(f"{file}: OpenCV could not encode a PNG of shape {image.shape}")
    file.write_bytes(data.tobytes())


def codes(values: np.ndarray, is_deep: bool) -> np.ndarray:
    """[0, 1] -> uint16 or uint8, rounded."""
    top, dtype = (65535, np.uint16) if is_deep else (255, np.uint8)
    return np.rint(np.clip(values, 0, 1) * np.float32(top)).astype(dtype)


def _natural(file: Path) -> list:
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", file.name)]
