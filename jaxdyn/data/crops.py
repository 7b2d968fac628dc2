"""Training crops of what the aligned network sees, cut once and kept on disk.

Motion and candidates are made by the library's own `motion.dis` and `fusion.sources_at`, so training sees what
inference sees. Crops are drawn where the mean of the aligned frames (exit 0) is wrong, with probability in proportion
to its RMS error: elsewhere there is nothing to learn. Pictures are kept as uint8, flows as float16.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from jaxdyn import motion
from jaxdyn.data import aligned, augment, cache, clips
from jaxdyn.models import fusion

NUM_PICTURE_CHANNEL = 3 * augment.NUM_PICTURE


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How crops are cut; its values name the folder they are kept in.

    Attributes:
      size: side of a crop, in pixels, a multiple of 8; larger than what is trained on, so that the place can vary.
      num_triplet: of a clip, at most, at each of `gaps`.
      gaps: distances of neighbours, in frames.
      num_crop: of a triplet.
      edge: short side of the motion's grid, in pixels.
      halve_above: frames with a longer short side are halved with probability one half.
      is_refined: the motion, see `motion.dis`.
    """

    size: int = 144
    num_triplet: tuple[int, ...] = (60, 16)
    gaps: tuple[int, ...] = (1, 2)
    num_crop: int = 5
    edge: int = 384
    halve_above: int = 640
    seed: int = 0
    is_refined: bool = True

    @property
    def name(self) -> str:
        """A name that differs where a value does."""
        return cache.name_of("completed-crops", self)  # not "crops", whose candidates did not complete each other


@dataclasses.dataclass(frozen=True)
class Crops:
    """Crops of several clips, on disk.

    Attributes:
      clips: of each pictures [n, P, P, 24] uint8 (`fusion.NAMES` in order), flows [n, P, P, 4] float16 (u and v in
        pixels), targets [n, P, P, 3] uint8 (the true middle frame).
      ends: how many crops there are up to each clip's last.
      size: P.
    """

    clips: list[cache.Stored]
    ends: np.ndarray
    size: int

    def __len__(self) -> int:
        return int(self.ends[-1])

    def sample(self, generator: np.random.Generator, size: int) -> dict[str, np.ndarray]:
        """A crop at random, augmented.

        Args:
          generator: draws it.
          size: P of the result, at most the crops' own.

        Returns:
          pictures [P, P, 24] uint8, flows [P, P, 4] float16, target [P, P, 3] uint8, gain and shift [1, 1, 3].

        Raises:
          ValueError: a size that is too large.
        """
        if size > self.size:
            raise ValueError(f"size (={size}) must be at most that of the crops, {self.size}; cut larger ones")
        flat = generator.integers(len(self))
        clip = int(np.searchsorted(self.ends, flat, side="right"))
        index = int(flat - (self.ends[clip - 1] if clip else 0))
        y, x = 8 * generator.integers(0, (self.size - size) // 8 + 1, 2)
        window = np.s_[index, y : y + size, x : x + size]
        return _augmented(*(self.clips[clip][name][window] for name in NAMES), generator)


NAMES = ("pictures", "flows", "targets")


def _augmented(pictures: np.ndarray, flows: np.ndarray, target: np.ndarray, generator: np.random.Generator) -> dict:
    """A sample of a crop: copies, turned and recoloured at random."""
    choice = augment.Choice.draw(generator)
    gain, shift = augment.draw_colours(generator)
    return {
        "pictures": np.array(augment.pictures(pictures, choice)),
        "flows": np.array(augment.flows(flows, choice)),
        "target": np.array(augment.pictures(target, choice)),
        "gain": gain,
        "shift": shift,
    }


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Crops of a data set's triplets, cut as they are drawn. Nothing here computes on a device.

    `Differs:` from the crops of clips in that every triplet is as probable as any other.

    Attributes:
      data: has a length, and gives {"frame0", "target", "frame1"}, uint8 [H, W, 3] each, for an index.
      is_aligned: whether the network takes all sources; else the pictures are the two frames and there is no flow.
      edge: short side of the motion's grid, in pixels.
    """

    data: Any
    is_aligned: bool
    edge: int = 384

    def sample(self, generator: np.random.Generator, size: int) -> dict[str, np.ndarray]:
        """A crop at random, augmented; see `Crops.sample`. Without alignment pictures [P, P, 6], flows [P, P, 0].

        Raises:
          ValueError: frames that are too small.
        """
        triplet = self.data[int(generator.integers(len(self.data)))]
        first, middle, last = (np.asarray(triplet[name]) for name in ("frame0", "target", "frame1"))
        if min(first.shape[:2]) < size:
            raise ValueError(f"a triplet has frames of shape {first.shape}, expected sides of at least {size} px")
        if not self.is_aligned:
            y, x = (generator.integers(0, side - size + 1) for side in first.shape[:2])
            window = np.s_[y : y + size, x : x + size]
            pair = np.concatenate([first[window], last[window]], axis=-1)
            made = _augmented(pair, np.zeros((size, size, 4), np.float16), middle[window], generator)
            return {**made, "flows": made["flows"][..., :0]}
        flows = motion.dis(first, last, self.edge)
        moved = aligned.displacements(flows, first.shape[:2])
        error = np.square(aligned.mean(first, last, moved) - middle).mean(-1)
        ((y, x),) = draw_places(error, size, 1, generator)
        stack = aligned.sources_at(first, last, moved, (int(y), int(x)), size)
        pictures = np.rint(stack[..., :NUM_PICTURE_CHANNEL]).clip(0, 255).astype(np.uint8)
        return _augmented(
            pictures,
            stack[..., NUM_PICTURE_CHANNEL:].astype(np.float16),
            middle[y : y + size, x : x + size],
            generator,
        )


def build(
    root: str | Path, folder: str | Path, recipe: Recipe, say: Callable[[str], None] = print, num_thread: int = 2
) -> Crops:
    """Cut the crops of every clip under a folder, or take them from the cache.

    Args:
      root: folder of clips, see `clips.find`.
      folder: the cache; a clip that is there already is not cut again.
      recipe: how.
      say: is told about each clip.
      num_thread: clips cut at the same time.

    Raises:
      ValueError: a size that is no multiple of 8; no clip with a usable triplet.
    """
    if recipe.size % fusion.CELL:
        raise ValueError(f"size (={recipe.size}) must be a multiple of {fusion.CELL}")

    def make(number: int, path: Path) -> tuple[dict[str, np.ndarray], str]:
        parts = _cut(path, recipe, np.random.default_rng([recipe.seed, number]))
        return parts, f"{len(parts['targets'])} crops"

    stored = cache.build(root, Path(folder) / recipe.name, recipe, make, "crops", say, num_thread)
    ends = np.cumsum([len(clip["targets"]) for clip in stored])
    if not stored or not ends[-1]:
        raise ValueError(f"root (={root}) holds clips, but no triplet that moves evenly; give longer clips")
    return Crops(stored, ends, recipe.size)


def _cut(path: Path, recipe: Recipe, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """All crops of one clip."""
    size = recipe.size
    frames = clips.read(path)
    parts = {
        "pictures": [np.zeros((0, size, size, NUM_PICTURE_CHANNEL), np.uint8)],
        "flows": [np.zeros((0, size, size, 4), np.float16)],
        "targets": [np.zeros((0, size, size, 3), np.uint8)],
    }
    for gap, limit in zip(recipe.gaps, recipe.num_triplet, strict=True):
        for triplet in clips.triplets(frames, gap, limit):
            images = [frames[i] for i in (triplet.first, triplet.middle, triplet.last)]
            if min(images[0].shape[:2]) > recipe.halve_above and generator.random() < 0.5:
                images = [clips.shrink(image, 2) for image in images]
            if min(images[0].shape[:2]) < size:
                continue
            first, middle, last = images
            flows = motion.dis(first, last, recipe.edge, recipe.is_refined)
            floats = [image[None].astype(np.float32) / 255 for image in images]
            moved, middle0 = _aligned_mean(floats[0], floats[2], *(flow[None] for flow in flows))
            error = np.square(np.asarray(middle0[0]) * 255 - middle).mean(-1)
            places = draw_places(error, size, recipe.num_crop, generator)
            stack = np.asarray(_sources_at(floats[0], floats[2], moved, places.astype(np.int32), size))
            pictures = np.rint(np.clip(stack[..., :NUM_PICTURE_CHANNEL], 0, 1) * 255).astype(np.uint8)
            parts["pictures"].append(pictures)
            parts["flows"].append(stack[..., NUM_PICTURE_CHANNEL:].astype(np.float16))
            parts["targets"].append(np.stack([middle[y : y + size, x : x + size] for y, x in places]))
    return {name: np.concatenate(part) for name, part in parts.items()}


def draw_places(error: np.ndarray, size: int, number: int, generator: np.random.Generator) -> np.ndarray:
    """Where to cut: [number, 2] rows and columns, on a grid of 8 px, with probability in proportion to the RMS error
    of the cut.

    Args:
      error: [H, W], squared error in grey levels.
      size: of a cut, at most H and W.
      number: how many, all different if there is room.
      generator: draws.
    """
    height, width = error.shape
    blurred = cv2.boxFilter(error.astype(np.float32), -1, (size, size), anchor=(0, 0))
    at_place = blurred[: height - size + 1 : 8, : width - size + 1 : 8]
    chance = np.sqrt(at_place.ravel() + 0.3)
    drawn = generator.choice(chance.size, number, chance.size < number, chance / chance.sum())
    return 8 * np.stack(np.unravel_index(drawn, at_place.shape), axis=-1)


@jax.jit
def _aligned_mean(frame0, frame1, flow01, flow10):
    moved = fusion.displacements((flow01, flow10), frame0.shape[1:3])
    first, second = fusion.aligned_pair(frame0, frame1, moved)
    return moved, (first + second) / 2


@functools.partial(jax.jit, static_argnums=4)
def _sources_at(frame0, frame1, moved, places, size):
    return fusion.sources_at(frame0, frame1, moved, places, (size, size))


def stack_of(batch: dict) -> jax.Array:
    """A batch's sources on the device, colours changed: [N, P, P, 28] float32."""
    pictures = jnp.asarray(batch["pictures"], jnp.float32) / 255
    number = pictures.shape[-1] // 3
    pictures = pictures * jnp.tile(batch["gain"], number) + jnp.tile(batch["shift"], number)
    return jnp.concatenate([pictures, jnp.asarray(batch["flows"], jnp.float32)], axis=-1)


def target_of(batch: dict) -> jax.Array:
    """A batch's targets on the device, colours changed: [N, P, P, 3] float32."""
    return jnp.asarray(batch["target"], jnp.float32) / 255 * batch["gain"] + batch["shift"]
