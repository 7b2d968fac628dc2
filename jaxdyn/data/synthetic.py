"""Motion that is known exactly: textures moved by random affine and smooth fields.

A texture is a sum of cosine waves, a function of real-valued places. Frame 1 is the texture itself on the pixel grid;
frame 0 is the texture read at `p + flow01(p)`. So `frame0(p) = frame1(p + flow01(p))` holds exactly, without any
interpolation: flow01 is the truth. Textures from pictures can take the waves' place (`from_picture`), then bilinear
interpolation is the one source of error.
"""

import dataclasses

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True)
class Motion:
    """How pixels move: an affine map about the middle, and a smooth field on top.

    Attributes:
      affine: [2, 3]; columns for x, y (both from the middle, in units of half the long side) and 1. Result in pixels.
      bumps: [n, 2, 2] wave vectors and phases of the smooth field, radians a pixel: (kx, ky), (phase x, phase y).
      sizes: [n, 2] px.
    """

    affine: np.ndarray
    bumps: np.ndarray
    sizes: np.ndarray

    @classmethod
    def draw(cls, generator: np.random.Generator, reach: float = 20.0, num_bump: int = 3) -> "Motion":
        """Up to about `reach` pixels of shift, a quarter of it of turning and scaling, a tenth of it of waves."""
        affine = np.concatenate(
            [generator.normal(0, reach / 4, (2, 2)), generator.uniform(-reach, reach, (2, 1)) / 2], axis=1
        )
        waves = generator.normal(0, 1, (num_bump, 1, 2)) * 2 * np.pi / 200
        phases = generator.uniform(0, 2 * np.pi, (num_bump, 1, 2))
        return cls(affine, np.concatenate([waves, phases], axis=1), generator.normal(0, reach / 10, (num_bump, 2)))

    def at(self, places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Displacement of places [..., 2] (x, y in pixels) in a frame of (H, W): [..., 2] px."""
        height, width = size
        unit = (places - np.array([width - 1, height - 1]) / 2) / (max(height, width) / 2)
        moved = unit @ self.affine[:, :2].T + self.affine[:, 2]
        for (wave, phase), height_of_bump in zip(self.bumps, self.sizes, strict=True):
            moved = moved + height_of_bump * np.sin((places @ wave)[..., None] + phase)
        return moved


@dataclasses.dataclass(frozen=True)
class Waves:
    """A texture: colours as sums of cosine waves, a function of real-valued places.

    Attributes:
      vectors: [n, 2], radians a pixel.
      phases: [n, 3], for each colour.
      heights: [n, 3].
    """

    vectors: np.ndarray
    phases: np.ndarray
    heights: np.ndarray

    @classmethod
    def draw(cls, generator: np.random.Generator, number: int = 40) -> "Waves":
        """Wavelengths from 4 to 200 px, the longer the higher."""
        length = np.exp(generator.uniform(np.log(4), np.log(200), number))
        angle = generator.uniform(0, 2 * np.pi, number)
        vectors = 2 * np.pi / length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        common = generator.normal(0, 1, (number, 1)) + 0.5 * generator.normal(0, 1, (number, 3))
        heights = common * np.sqrt(length)[:, None]
        return cls(vectors, generator.uniform(0, 2 * np.pi, (number, 3)), heights / np.sqrt((heights**2).sum(0)) / 3)

    def at(self, places: np.ndarray) -> np.ndarray:
        """Colour at places [..., 2] (x, y in pixels): [..., 3] in [0, 1]."""
        total = np.full((*places.shape[:-1], 3), 0.5)
        for vector, phase, height in zip(self.vectors, self.phases, self.heights, strict=True):
            total += height * np.cos((places @ vector)[..., None] + phase)
        return np.clip(total, 0, 1)


def pair(generator: np.random.Generator, size: tuple[int, int], reach: float = 20.0) -> dict[str, np.ndarray]:
    """Two frames and the exact motion between them.

    Args:
      generator: draws texture and motion.
      size: (H, W), in pixels.
      reach: about how far things move, in pixels.

    Returns:
      frame0, frame1 float32 [H, W, 3] in [0, 1], flow01 float32 [H, W, 2] px: frame1 read at p + flow01(p) is
      frame0(p).
    """
    texture, moves = Waves.draw(generator), Motion.draw(generator, reach)
    places = grid(size)
    flow = moves.at(places, size)
    frames = {"frame0": texture.at(places + flow), "frame1": texture.at(places), "flow01": flow}
    return {name: value.astype(np.float32) for name, value in frames.items()}


def from_picture(
    generator: np.random.Generator, picture: np.ndarray, size: tuple[int, int], reach: float = 20.0
) -> dict[str, np.ndarray]:
    """Likewise with a part of a picture, uint8 [H', W', 3], as the texture: exact but for bilinear interpolation.

    Raises:
      ValueError: a picture that is smaller than `size`.
    """
    height, width = size
    spare_y, spare_x = picture.shape[0] - height, picture.shape[1] - width
    if min(spare_y, spare_x) < 0:
        raise ValueError(f"picture has shape {picture.shape}, expected at least {height}x{width} pixels")
    corner = np.array([generator.integers(0, spare_x + 1), generator.integers(0, spare_y + 1)])
    places = grid(size)
    flow = Motion.draw(generator, reach).at(places, size)

    def look(at):
        x, y = np.moveaxis((at + corner).astype(np.float32), -1, 0)
        return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT).astype(np.float32) / 255

    return {"frame0": look(places + flow), "frame1": look(places), "flow01": flow.astype(np.float32)}


def grid(size: tuple[int, int]) -> np.ndarray:
    """Places of all pixels, float64 [H, W, 2], x first."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    return np.stack([x, y], axis=-1)
