"""Clips as arrays, and the triplets in them that are worth learning from.

A clip is a video file or a folder of images. Frames are uint8 RGB [T, H, W, 3], decoded as everywhere else in the
library.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from jaxdyn import images, scenes, video

VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".y4m", ".mpg", ".ts"}

STILL = 0.4
"""Grey levels of 255; neighbours that differ by less show the same moment."""

UNEVEN = (3.5, 4.0)
"""One step of a triplet may be larger than the other by this factor, plus this many grey levels."""


@dataclasses.dataclass(frozen=True)
class Triplet:
    """Three frames of a clip, by number: `first` and `last` are given, `middle` is wanted."""

    first: int
    middle: int
    last: int


def find(root: str | Path) -> list[Path]:
    """Every clip under a folder: video files, and folders that hold images, by name.

    Args:
      root: a folder, or one clip.

    Returns:
      Paths, sorted.

    Raises:
      ValueError: nothing there.
    """
    root = Path(root)
    if root.is_file():
        return [root]
    everything = sorted([root, *root.rglob("*")]) if root.is_dir() else []
    clips = [p for p in everything if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES]
    folders = {p.parent for p in everything if p.is_file() and p.suffix.lower() in images.SUFFIXES}
    if not clips and not folders:
        raise ValueError(f"root (={root}) holds no clip; give a folder of videos, or of folders with images")
    return sorted([*clips, *folders])


def read(path: str | Path, limit: int | None = None) -> np.ndarray:
    """A clip's frames.

    Args:
      path: a video file or a folder of images.
      limit: how many frames at most, from the first.

    Returns:
      uint8 [T, H, W, 3].
    """
    return np.stack(list(itertools.islice(frames(path), limit)))


def frames(path: str | Path) -> Iterator[np.ndarray]:
    """A clip's frames, each decoded when it is asked for: uint8 [H, W, 3].

    Args:
      path: a video file or a folder of images.
    """
    path = Path(path)
    source = images.FolderSource(path, Fraction(24)) if path.is_dir() else video.VideoSource(path)
    with contextlib.closing(source.pictures()) as pictures:
        for picture in pictures:
            is_plain = isinstance(picture.image, np.ndarray) and picture.image.dtype == np.uint8
            yield picture.image[..., :3] if is_plain else images.codes(picture.rgb, False)


def triplets(frames: np.ndarray, gap: int = 1, limit: int | None = None) -> list[Triplet]:
    """Triplets (i - gap, i, i + gap) without cuts, repeats and uneven steps.

    Args:
      frames: uint8 [T, H, W, 3].
      gap: distance of neighbours, in frames.
      limit: how many at most; they are then spread evenly over the clip.

    Returns:
      In the order of time.

    Raises:
      ValueError: a gap below 1.
    """
    if gap < 1:
        raise ValueError(f"gap (={gap}) must be at least 1 frame")
    centres = np.arange(gap, len(frames) - gap)
    if limit is not None and len(centres) > limit:
        centres = centres[np.round(np.linspace(0, len(centres) - 1, limit)).astype(int)]
    found = [Triplet(int(i) - gap, int(i), int(i) + gap) for i in centres]
    return [t for t in found if is_useful(*(frames[i] for i in (t.first, t.middle, t.last)))]


def is_useful(first: np.ndarray, middle: np.ndarray, last: np.ndarray) -> bool:
    """Whether three frames, uint8 [H, W, 3], move, move evenly, and show one scene."""
    before, after = (
        float(np.mean(cv2.absdiff(a[::4, ::4], b[::4, ::4]))) for a, b in ((first, middle), (middle, last))
    )
    low, high = sorted((before, after))
    if low < STILL or high > UNEVEN[0] * low + UNEVEN[1]:
        return False
    as_float = lambda frame: frame.astype(np.float32) / 255  # noqa: E731
    return scenes.cut_score(as_float(first), as_float(last)) <= scenes.CUT_THRESHOLD


def shrink(frame: np.ndarray, factor: int) -> np.ndarray:
    """A frame reduced by a whole number f, by area: uint8 [H, W, 3] -> [H // f, W // f, 3]; by 1 the frame itself."""
    if factor == 1:
        return frame
    return cv2.resize(frame, (frame.shape[1] // factor, frame.shape[0] // factor), interpolation=cv2.INTER_AREA)
