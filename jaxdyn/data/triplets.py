"""Whole frames of clips in threes, first, middle and last, decoded once and kept on disk."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxdyn.data import cache, clips


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Which triplets are kept; its values name the folder they are kept in.

    Attributes:
      num_triplet: of a clip, at most, at each of `gaps`.
      gaps: distances of neighbours, in frames.
      largest: short side that a frame may have, in pixels; larger ones are reduced by a whole number.

    Raises:
      ValueError: no pixel is left.
    """

    num_triplet: tuple[int, ...] = (60, 16)
    gaps: tuple[int, ...] = (1, 2)
    largest: int = 2**14

    def __post_init__(self):
        if self.largest < 1:
            raise ValueError(f"largest (={self.largest}) must be at least 1 px")

    @property
    def name(self) -> str:
        """A name that differs where a value does."""
        return cache.name_of("triplets", self)

    def reduced(self, frame: np.ndarray) -> np.ndarray:
        """A frame as it is kept: [H, W, 3] uint8, by averaging where it is reduced."""
        return clips.shrink(frame, -(-min(frame.shape[:2]) // self.largest))


def build(
    root: str | Path, folder: str | Path, recipe: Recipe, say: Callable[[str], None] = print, num_thread: int = 2
) -> list[cache.Stored]:
    """The triplets of every clip under a folder that has some.

    Args:
      root: folder of clips, see `clips.find`.
      folder: the cache; a clip that is there already is not decoded again.
      recipe: which.
      say: is told about each clip.
      num_thread: clips decoded at the same time.

    Returns:
      Of each clip frames [T, H, W, 3] uint8, those that are in a triplet, and triplets [n, 3] int32, by number of the
      frame: first, middle, last.

    Raises:
      ValueError: no clip with a usable triplet.
    """

    def make(number: int, path: Path) -> tuple[dict[str, np.ndarray] | None, str]:
        del number
        frames = clips.read(path)
        limits = zip(recipe.gaps, recipe.num_triplet, strict=True)
        found = [dataclasses.astuple(t) for gap, limit in limits for t in clips.triplets(frames, gap, limit)]
        if not found:
            return None, "left out, no triplet moves evenly"
        used, numbers = np.unique(found, return_inverse=True)
        kept = np.stack([recipe.reduced(frames[i]) for i in used])
        parts = {"frames": kept, "triplets": numbers.reshape(-1, 3).astype(np.int32)}
        return parts, f"{len(found)} triplets"

    stored = cache.build(root, Path(folder) / recipe.name, recipe, make, "triplets", say, num_thread)
    if not stored:
        raise ValueError(f"root (={root}) holds clips, but no triplet that moves evenly; give longer clips")
    return stored
