"""Sequences for super-resolution: clips at a reduced size as targets, their small versions, and motion between those.

Targets are the clips' frames reduced by MATLAB's bicubic first, which hides what compression did to them and keeps
them sharp; the small frames are made of the targets by the papers' degradations, "bi" (MATLAB's `imresize` by 1/4) or
"bd" (Gaussian blur, every fourth pixel), clipped and rounded to 8 bits as if they had been saved. Repeated frames are
dropped, and no sequence crosses a scene cut. Everything is made once for each clip and kept on disk; motion is that of
`motion.dis` on whole small frames, as at inference.

Axes: T frames, N sequences, s side of a small crop.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from jaxdyn import motion, scenes
from jaxdyn.data import augment, cache, clips
from jaxdyn.ops import resample

SCALE = 4
FLAT = 1.5
"""Grey levels a pixel, added to the gradient of a place for its probability: flat places are rarer, not absent."""

Degradation = Literal["bi", "bd"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How clips become sequences; its values name the folder they are kept in.

    Attributes:
      degradation: "bi" or "bd", see above.
      num_frame: of a clip, at most, from the first.
      reduce: by how much frames are shrunk before they are targets; 1 for sources without compression.
      largest: short side of a target at most, in pixels; larger sources are shrunk by the next whole number.
      smallest: short side of a small frame at least, in pixels; sources that would fall below are shrunk by less, and
        left out if that does not help.
      gaps: distances of neighbours in a sequence, in frames.
      has_motion: whether DIS motion is made.
    """

    degradation: Degradation = "bi"
    num_frame: int = 80
    reduce: int = 2
    largest: int = 540
    smallest: int = 48
    gaps: tuple[int, ...] = (1, 2)
    has_motion: bool = True

    def __post_init__(self):
        if self.degradation not in DEGRADATIONS:
            raise ValueError(f"degradation (={self.degradation!r}) must be one of {', '.join(DEGRADATIONS)}")
        if min(self.gaps, default=0) < 1:
            raise ValueError(f"gaps (={self.gaps}) must hold distances of at least 1 frame")

    @property
    def name(self) -> str:
        """A name that differs where a value does."""
        return cache.name_of("sequences", self)

    def factor(self, height: int, width: int) -> int | None:
        """By which whole number a source frame is shrunk before it is a target; None: it is too small."""
        short = min(height, width)
        for factor in range(max(self.reduce, -(-short // self.largest)), 0, -1):
            if short // factor // SCALE >= self.smallest:
                return factor
        return None


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip without its repeated frames, on disk.

    Attributes:
      stored: small [T, h, w, 3] and target [T, 4h, 4w, 3] uint8; if there is motion, for each gap motion1 and so on, [T
        - gap, 2, h, w, 2] float16 px: flow from frame t to t + gap, and back.
      shots: [T] int32, which shot of the clip a frame belongs to, in the order of time.
      size: (h, w).
    """

    stored: cache.Stored
    shots: np.ndarray
    size: tuple[int, int]

    def starts(self, num_frame: int, gap: int) -> np.ndarray:
        """First frames of the sequences that lie within one shot."""
        reach = gap * (num_frame - 1)
        return np.flatnonzero(self.shots[: max(0, len(self.shots) - reach)] == self.shots[reach:])


@dataclasses.dataclass(frozen=True)
class Windows:
    """The sequences of one length and crop size that can be drawn.

    Attributes:
      found: (clip, gap, first frames) of those that have some.
      ends: how many sequences there are up to the last of each.
      num_frame: T.
      size: s, in pixels of the small frames.
      has_motion: whether the clips have motion.
    """

    found: list[tuple[Clip, int, np.ndarray]]
    ends: np.ndarray
    num_frame: int
    size: int
    has_motion: bool

    def sample(self, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """A sequence at random, augmented; each as probable as any other, details more probable than flat places.

        Returns:
          clip [T, s, s, 3] and target [T, 4s, 4s, 3] uint8; gain and shift [1, 1, 1, 3]; if there is motion, to_next
          and to_previous [T - 1, s, s, 2] float16 px: flow from frame t to t + 1, and from t + 1 to t.
        """
        flat = generator.integers(self.ends[-1])
        at = int(np.searchsorted(self.ends, flat, side="right"))
        clip, gap, starts = self.found[at]
        first = int(starts[flat - (self.ends[at - 1] if at else 0)])
        end = first + gap * (self.num_frame - 1) + 1
        flows = clip.stored[f"motion{gap}"][first : end - gap : gap] if self.has_motion else None
        small, target = (clip.stored[name][first:end:gap] for name in ("small", "target"))
        return _augmented(small, target, flows, self.size, generator)


@dataclasses.dataclass(frozen=True)
class Sequences:
    """What sequences are drawn from.

    Attributes:
      clips: all at least `smallest` px wide and high.
      gaps, has_motion: see `Recipe`.
    """

    clips: list[Clip]
    gaps: tuple[int, ...]
    has_motion: bool

    def windows(self, num_frame: int, size: int) -> Windows:
        """The sequences of `num_frame` frames in crops of `size` small pixels.

        Raises:
          ValueError: no clip is long and large enough.
        """
        found = [
            (clip, gap, starts)
            for clip in self.clips
            if min(clip.size) >= size
            for gap in self.gaps
            if len(starts := clip.starts(num_frame, gap))
        ]
        if not found:
            raise ValueError(
                f"no clip has {num_frame} frames of one shot with {size} x {size} small pixels; give longer or larger "
                "clips, or train on fewer frames or smaller crops"
            )
        ends = np.cumsum([len(starts) for _, _, starts in found])
        return Windows(found, ends, num_frame, size, self.has_motion)


def _augmented(
    small: np.ndarray,
    target: np.ndarray,
    flows: np.ndarray | None,
    size: int,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """A sample of a sequence, frames [T, h, w, 3] and [T, 4h, 4w, 3], flows [T - 1, 2, h, w, 2] or None: copies of a
    random place, turned and recoloured at random."""
    y, x = draw_place(small[len(small) // 2], size, generator)
    choice = augment.Choice.draw(generator)
    gain, shift = (part[None] for part in augment.draw_colours(generator))
    large = np.s_[:, SCALE * y : SCALE * (y + size), SCALE * x : SCALE * (x + size)]
    row = {
        "clip": np.array(augment.frames(small[:, y : y + size, x : x + size], choice)),
        "target": np.array(augment.frames(target[large], choice)),
        "gain": gain,
        "shift": shift,
    }
    if flows is not None:
        cut = flows[:, :, y : y + size, x : x + size]
        row["to_next"], row["to_previous"] = augment.motions(cut[:, 0], cut[:, 1], choice)
    return row


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Sequences of a data set, made as they are drawn. Nothing here computes on a device.

    An entry is one shot without repeated frames, and its frames are targets as they are; each entry is as probable as
    any other.

    Attributes:
      data: has a length, and gives {"frames": uint8 [T, H, W, 3]} for an index; if it also has `num_frames(index)` and
        `frames(index, first, number, gap)`, no more frames are read than are needed.
      degradation, gaps, has_motion: see `Recipe`.
      num_frame: T of the result.
      size: s, in pixels of the small frames.
    """

    data: Any
    degradation: Degradation
    gaps: tuple[int, ...]
    has_motion: bool
    num_frame: int
    size: int

    def sample(self, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """A sequence at random, augmented; see `Windows.sample`.

        Raises:
          ValueError: an entry that is too short or too small.
        """
        length, read = _entry(self.data, int(generator.integers(len(self.data))))
        gaps = [gap for gap in self.gaps if gap * (self.num_frame - 1) < length]
        if not gaps:
            raise ValueError(f"an entry has {length} frames, expected at least {self.num_frame}")
        gap = gaps[generator.integers(len(gaps))]
        first = int(generator.integers(length - gap * (self.num_frame - 1)))
        target = np.asarray(read(first, self.num_frame, gap))
        height, width = (side // SCALE * SCALE for side in target.shape[1:3])
        if min(height, width) < SCALE * self.size:
            raise ValueError(f"an entry has frames of shape {target.shape[1:]}, expected {SCALE * self.size} px a side")
        target = target[:, :height, :width]
        small = degrade_on_host(target, self.degradation)
        flows = None
        if self.has_motion:
            flows = np.stack(motion.dis_of_clips(small[None]), axis=2)[0].astype(np.float16)
        return _augmented(small, target, flows, self.size, generator)


def _entry(data: Any, index: int) -> tuple[int, Callable[[int, int, int], np.ndarray]]:
    """The length of a data set's entry, and what reads some frames of it: (first, number, gap) -> [number, H, W, 3]."""
    if hasattr(data, "frames"):
        return data.num_frames(index), functools.partial(data.frames, index)
    frames = data[index]["frames"]
    return len(frames), lambda first, number, gap: frames[first : first + gap * (number - 1) + 1 : gap]


def draw_place(frame: np.ndarray, size: int, generator: np.random.Generator) -> tuple[int, int]:
    """Row and column of a crop, with probability in proportion to its RMS gradient, and a little more.

    Args:
      frame: uint8 [h, w, 3].
      size: of the crop, at most h and w.
      generator: draws.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY).astype(np.float32)
    energy = np.zeros_like(grey)
    energy[:, :-1] += np.diff(grey, axis=1) ** 2
    energy[:-1] += np.diff(grey, axis=0) ** 2
    mean = cv2.boxFilter(energy, -1, (size, size), anchor=(0, 0))
    chance = np.sqrt(mean[: grey.shape[0] - size + 1, : grey.shape[1] - size + 1].clip(0)) + FLAT
    below = np.cumsum(chance.ravel(), dtype=np.float64)
    flat = np.searchsorted(below, generator.random() * below[-1], side="right")
    y, x = np.unravel_index(min(flat, chance.size - 1), chance.shape)
    return int(y), int(x)


def build(
    root: str | Path, folder: str | Path, recipe: Recipe, say: Callable[[str], None] = print, num_thread: int = 2
) -> Sequences:
    """Make the sequences of every clip under a folder, or take them from the cache.

    Args:
      root: folder of clips, see `clips.find`.
      folder: the cache; a clip that is there already is not made again.
      recipe: how.
      say: is told about each clip.
      num_thread: clips made at the same time.

    Raises:
      ValueError: no clip of a usable size.
    """

    def make(number: int, path: Path) -> tuple[dict[str, np.ndarray] | None, str]:
        del number
        parts = _make(clips.read(path, recipe.num_frame), recipe)
        if parts is None:
            return None, f"left out, too small for {recipe.smallest} px after shrinking by {SCALE}"
        length, height, width = parts["small"].shape[:3]
        return parts, f"{length} frames, {width}x{height}, {parts['shots'][-1] + 1} shots"

    stored = cache.build(root, Path(folder) / recipe.name, recipe, make, "clip", say, num_thread)
    if not stored:
        raise ValueError(f"root (={root}) holds clips, but all are too small; give larger ones, or lower `smallest`")
    made = [Clip(clip, np.array(clip["shots"]), clip["small"].shape[1:3]) for clip in stored]
    return Sequences(made, recipe.gaps, recipe.has_motion)


def _make(frames: np.ndarray, recipe: Recipe) -> dict[str, np.ndarray] | None:
    """Everything of one clip, from frames uint8 [T, H, W, 3]."""
    factor = recipe.factor(*frames.shape[1:3])
    if factor is None:
        return None
    targets, smalls, shots = [], [], []
    shot, before = 0, None
    for frame in frames:
        target, small = map(np.asarray, _reduced(frame, factor, recipe.degradation))
        now = target.astype(np.float32) / 255
        kind = None if before is None else scenes.judge(before, now)
        if kind is scenes.Pair.REPEAT:
            continue
        shot += kind is scenes.Pair.CUT
        before = now
        targets.append(target)
        smalls.append(small)
        shots.append(shot)
    parts = {"target": np.stack(targets), "small": np.stack(smalls), "shots": np.array(shots, np.int32)}
    if recipe.has_motion:
        edge = min(smalls[0].shape[:2])  # the frames' own size
        for gap in recipe.gaps:
            pairs = zip(smalls[:-gap], smalls[gap:], strict=True)
            flows = [motion.dis(a, b, edge, is_refined=False) for a, b in pairs]  # as `dis_of_clips`
            empty = np.zeros((0, 2, *smalls[0].shape[:2], 2))
            parts[f"motion{gap}"] = (np.array(flows) if flows else empty).astype(np.float16)
    return parts


@functools.partial(jax.jit, static_argnums=(1, 2))
def _reduced(frame: jax.Array, factor: int, degradation: Degradation) -> tuple[jax.Array, jax.Array]:
    """The target and the small frame, uint8, of a source frame uint8 [H, W, 3]."""
    target = frame if factor == 1 else as_codes(resample.imresize(frame.astype(jnp.float32) / 255, 1 / factor))
    target = target[: target.shape[0] // SCALE * SCALE, : target.shape[1] // SCALE * SCALE]
    return target, degrade(target, degradation)


def degrade(target: jax.Array, degradation: Degradation = "bi") -> jax.Array:
    """The small version of large frames, clipped and rounded to 8 bits.

    Args:
      target: uint8 [..., H, W, 3], both sides multiples of 4.
      degradation: "bi", MATLAB's bicubic by 1/4, or "bd", Gaussian blur and every fourth pixel.

    Returns:
      uint8 [..., H / 4, W / 4, 3].
    """
    return as_codes(DEGRADATIONS[degradation](target.astype(jnp.float32) / 255))


def degrade_on_host(target: np.ndarray, degradation: Degradation = "bi") -> np.ndarray:
    """`degrade` in NumPy, for processes that leave the device alone: the same up to rounding."""
    rows, columns = (resample.down4_matrix(side, degradation) for side in target.shape[-3:-1])
    image = np.einsum("hH,...Hwc->...hwc", rows, target.astype(np.float32), optimize=True)
    image = np.einsum("wW,...hWc->...hwc", columns, image, optimize=True)
    return np.rint(image.clip(0, 255)).astype(np.uint8)


DEGRADATIONS: dict[str, Callable] = {
    "bi": lambda image: resample.imresize(image, 1 / SCALE),
    "bd": resample.blur_down4,
}


def as_codes(image: jax.Array) -> jax.Array:
    """Float in about [0, 1] -> uint8, clipped and rounded."""
    return jnp.rint(jnp.clip(image, 0, 1) * 255).astype(jnp.uint8)


def clip_of(batch: dict) -> jax.Array:
    """A batch's small frames on the device, colours changed: [N, T, s, s, 3] float32."""
    return jnp.asarray(batch["clip"], jnp.float32) / 255 * batch["gain"] + batch["shift"]


def target_of(batch: dict) -> jax.Array:
    """A batch's targets on the device, colours changed: [N, T, 4s, 4s, 3] float32."""
    return jnp.asarray(batch["target"], jnp.float32) / 255 * batch["gain"] + batch["shift"]


def motion_of(batch: dict) -> tuple[jax.Array, jax.Array] | None:
    """A batch's motion on the device, (to_next, to_previous), each [N, T - 1, s, s, 2] float32; None without."""
    if "to_next" not in batch:
        return None
    return jnp.asarray(batch["to_next"], jnp.float32), jnp.asarray(batch["to_previous"], jnp.float32)
