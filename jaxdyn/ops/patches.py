"""The grid of patches: where they lie, how a frame is cut into them and put together again.

A grid covers the frame exactly: patches of side P every S pixels, the last row and column shifted inward; a side
shorter than P is one patch of that side. Where patches overlap, the merged picture is their average weighted by linear
ramps, so that no border shows. Positions depend on the frame's size only: they are Python integers, and everything here
is static slices.

Axes: n_h, n_w rows and columns of the grid; P_h, P_w sides of a patch.
"""

import dataclasses
import functools
import itertools

import chex
import jax.numpy as jnp
import numpy as np
from jax import lax


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the patches of a frame lie.

    Attributes:
      height, width: the frame's sides, in pixels.
      rows, columns: first pixel of each row and column of patches.
      patch: (P_h, P_w), in pixels.
    """

    height: int
    width: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    patch: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_h, n_w)."""
        return len(self.rows), len(self.columns)


@functools.cache
def grid(height: int, width: int, patch: int, stride: int) -> Grid:
    """The grid of patches of side `patch` every `stride` pixels that covers a frame.

    Raises:
      ValueError: an empty frame, or a stride outside 1..patch (patches would leave gaps).
    """
    if height < 1 or width < 1:
        raise ValueError(f"a frame of {width}x{height} pixels is empty; both sides must be at least 1")
    if not 1 <= stride <= patch:
        raise ValueError(
            f"stride (={stride}) must be between 1 and patch (={patch}), or pixels between patches are lost"
        )

    def starts(side: int) -> tuple[int, ...]:
        if side <= patch:
            return (0,)
        last = side - patch
        return (*range(0, last, stride), last)

    return Grid(height, width, starts(height), starts(width), (min(patch, height), min(patch, width)))


def split(frame: chex.Array, where: Grid) -> chex.Array:
    """Cut frames into patches: [B, H, W, C] -> [B, n_h, n_w, P_h, P_w, C].

    Raises:
      ValueError: a frame of another size than the grid's.
    """
    if frame.shape[1:3] != (where.height, where.width):
        raise ValueError(
            f"frame of shape {frame.shape} does not fit a grid made for {where.height} x {where.width} (H x W)"
        )
    ph, pw = where.patch
    rows = jnp.stack([lax.slice_in_dim(frame, y, y + ph, axis=1) for y in where.rows], axis=1)  # [B, n_h, P_h, W, C]
    return jnp.stack([lax.slice_in_dim(rows, x, x + pw, axis=3) for x in where.columns], axis=2)


def merge(patches: chex.Array, where: Grid) -> chex.Array:
    """Put patches together, overlaps blended by ramps: [B, n_h, n_w, P_h, P_w, C] -> [B, H, W, C].

    Patches that agree where they overlap give back their frame: `merge(split(x)) == x` to rounding.

    Raises:
      ValueError: patches that do not fit the grid.
    """
    if patches.shape[1:5] != (*where.shape, *where.patch):
        raise ValueError(
            f"patches of shape {patches.shape} do not fit a grid of {where.shape} patches of {where.patch} px"
        )
    rows = [
        _blend([patches[:, i, j] for j in range(where.shape[1])], where.columns, axis=2) for i in range(where.shape[0])
    ]
    return _blend(rows, where.rows, axis=1)


def _blend(pieces: list[chex.Array], starts: tuple[int, ...], axis: int) -> chex.Array:
    """Line up pieces along `axis` from their first pixels; between two borders the set of pieces is fixed, so it is a
    weighted sum."""
    if len(pieces) == 1:
        return pieces[0]
    side = pieces[0].shape[axis]
    weights = ramps(starts, side)
    borders = sorted({*starts, *(s + side for s in starts)})
    segments = []
    for begin, end in itertools.pairwise(borders):
        total = None
        for piece, start, weight in zip(pieces, starts, weights, strict=True):
            if start <= begin and end <= start + side:
                part = lax.slice_in_dim(piece, begin - start, end - start, axis=axis)
                w = weight[begin - start : end - start]
                if not np.all(w == 1.0):
                    part = part * w.reshape([-1 if a == axis else 1 for a in range(part.ndim)])
                total = part if total is None else total + part
        segments.append(total)
    return jnp.concatenate(segments, axis=axis)


@functools.cache
def ramps(starts: tuple[int, ...], side: int) -> tuple[np.ndarray, ...]:
    """The weight of each pixel of each piece along one axis, [side] float32; over every pixel of the line they sum to
    1.

    A piece weighs 1, falling linearly to its border over the width of its overlap with the neighbour; where more than
    two pieces meet (a last one shifted far inward), the weights are divided by their sum.
    """
    length = starts[-1] + side
    position = np.arange(side)
    raw = []
    for i, start in enumerate(starts):
        weight = np.ones(side)
        if i:
            overlap = starts[i - 1] + side - start
            weight = np.minimum(weight, (position + 0.5) / max(overlap, 1))
        if i + 1 < len(starts):
            overlap = start + side - starts[i + 1]
            weight = np.minimum(weight, (side - position - 0.5) / max(overlap, 1))
        raw.append(weight)
    total = np.zeros(length)
    for start, weight in zip(starts, raw, strict=True):
        total[start : start + side] += weight
    return tuple((w / total[s : s + side]).astype(np.float32) for s, w in zip(starts, raw, strict=True))


def pad_to(image: chex.Array, multiple: int, is_centred: bool = False) -> tuple[chex.Array, tuple[int, int]]:
    """Pad H and W by reflection to the next multiple: [N, H, W, C] -> [N, H', W', C] and the (row, column) of the old
    first pixel.

    Where the pad would reach the side, the edge is replicated instead. `is_centred` puts half of the pad before (CAIN's
    way), else all of it comes after.
    """
    offsets = []
    for axis in (1, 2):
        side = image.shape[axis]
        total = -side % multiple
        low = total // 2 if is_centred else 0
        widths = [(0, 0)] * image.ndim
        widths[axis] = (low, total - low)
        if total:
            image = jnp.pad(image, widths, mode="reflect" if max(widths[axis]) < side else "edge")
        offsets.append(low)
    return image, (offsets[0], offsets[1])


@functools.cache
def area_weights(size: int, starts: tuple[int, ...], side: int, length: int) -> np.ndarray:
    """Average pooling of each patch's own stretch of an axis, as a matrix: [len(starts), size] float32, rows sum to 1.

    Args:
      size: samples along the axis of the map to be pooled; each covers length / size pixels of the frame.
      starts: first pixel of each patch, in the frame.
      side: length of a patch, in pixels of the frame.
      length: length of the frame along the axis, in pixels.
    """
    edges = np.arange(size + 1) * (length / size)
    weights = np.empty((len(starts), size))
    for i, start in enumerate(starts):
        covered = np.minimum(edges[1:], start + side) - np.maximum(edges[:-1], start)
        weights[i] = np.maximum(covered, 0.0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
