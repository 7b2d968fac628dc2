"""Training crops of what the aligned network sees, cut once and kept on disk.

Motion and candidates are made by the library's own `motion.dis` and `fusion.sources_at`, so training sees what
inference sees. Crops are drawn where the mean of the aligned frames (exit 0) is wrong, with probability in proportion
to its RMS error: elsewhere there is nothing to learn. Pictures are kept as uint8, flows as float16.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from jaxdyn import motion
from jaxdyn.data import augment, clips
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
    """

    size: int = 144
    num_triplet: tuple[int, ...] = (60, 16)
    gaps: tuple[int, ...] = (1, 2)
    num_crop: int = 5
    edge: int = 384
    halve_above: int = 640
    seed: int = 0

    @property
    def name(self) -> str:
        """A name that differs where a value does."""
        return "crops-" + hashlib.sha256(json.dumps(dataclasses.asdict(self)).encode()).hexdigest()[:10]


@dataclasses.dataclass(frozen=True)
class Crops:
    """Crops of several clips.

    Attributes:
      pictures: of each clip [n, P, P, 24] uint8, `fusion.NAMES` in order.
      flows: [n, P, P, 4] float16, u and v in pixels.
      targets: [n, P, P, 3] uint8, the true middle frame.
    """

    pictures: list[np.ndarray]
    flows: list[np.ndarray]
    targets: list[np.ndarray]

    def __len__(self) -> int:
        return sum(map(len, self.targets))

    def batch(self, generator: np.random.Generator, number: int, size: int) -> dict[str, np.ndarray]:
        """Crops at random, augmented.

        Args:
          generator: draws them.
          number: N.
          size: P of the result, at most the crops' own.

        Returns:
          pictures [N, P, P, 24] uint8, flows [N, P, P, 4] float16, target [N, P, P, 3] uint8, gain and shift [N, 1,
          1, 3].
        """
        ends = np.cumsum([len(t) for t in self.targets])
        spare = self.targets[0].shape[1] - size
        rows = {"pictures": [], "flows": [], "target": []}
        for flat in generator.integers(0, ends[-1], number):
            clip = int(np.searchsorted(ends, flat, side="right"))
            index = int(flat - (ends[clip - 1] if clip else 0))
            y, x = 8 * generator.integers(0, spare // 8 + 1, 2)
            choice = augment.Choice.draw(generator)
            window = np.s_[index, y : y + size, x : x + size]
            rows["pictures"].append(augment.pictures(self.pictures[clip][window], choice))
            rows["flows"].append(augment.flows(self.flows[clip][window], choice))
            rows["target"].append(augment.pictures(self.targets[clip][window], choice))
        gain, shift = augment.draw_colours(generator, number)
        return {**{name: np.stack(row) for name, row in rows.items()}, "gain": gain, "shift": shift}


def build(
    root: str | Path, cache: str | Path, recipe: Recipe, say: Callable[[str], None] = print, num_thread: int = 2
) -> Crops:
    """Cut the crops of every clip under a folder, or take them from the cache.

    Args:
      root: folder of clips, see `clips.find`.
      cache: folder to keep them in; a clip that is there already is not cut again.
      recipe: how.
      say: is told about each clip.
      num_thread: clips cut at the same time.
    """
    if recipe.size % fusion.CELL:
        raise ValueError(f"size (={recipe.size}) must be a multiple of {fusion.CELL}")
    folder = Path(cache) / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(dataclasses.asdict(recipe), indent=1))
    paths = clips.find(root)

    def one(number_and_path):
        number, path = number_and_path
        kept = folder / f"{path.name}.crops"
        if not kept.is_dir():
            parts = _cut(path, recipe, np.random.default_rng([recipe.seed, number]))
            partial = folder / f"{path.name}.partial"
            partial.mkdir(exist_ok=True)
            for name, part in parts.items():
                np.save(partial / f"{name}.npy", part)
            partial.rename(kept)
            say(f"{path.name}: {len(parts['targets'])} crops")
        return [np.load(kept / f"{name}.npy", mmap_mode="r") for name in ("pictures", "flows", "targets")]

    with concurrent.futures.ThreadPoolExecutor(num_thread) as pool:
        parts = [part for part in pool.map(one, enumerate(paths)) if len(part[0])]
    if not parts:
        raise ValueError(f"root (={root}) holds clips, but no triplet that moves evenly; give longer clips")
    return Crops(*map(list, zip(*parts, strict=True)))


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
                images = [clips.halve(image) for image in images]
            if min(images[0].shape[:2]) < size:
                continue
            first, middle, last = images
            flows = motion.dis(first, last, recipe.edge)
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
