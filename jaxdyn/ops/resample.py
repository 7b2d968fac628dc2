"""Resizing as sparse matrices: MATLAB's bicubic, the BD degradation, and bilinear as deep networks use it.

All resizing here is separable and linear: one matrix for rows, one for columns. NumPy makes each matrix while JAX
traces, as `taps` (which input pixels, with which weights, make each output pixel), and the device adds the taps up:
on a CPU that is 3 to 10 times faster than the dense product. The gradient is the transposed matrix, applied in the
same way.

Images are [..., H, W, C] of any range; nothing is clipped or rounded. Integers are read as float32 of the same value.
"""

import dataclasses
import functools
import math
from typing import Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np

# Of the BD degradation: taps of the blur in one direction, and its standard deviation in pixels of the large image.
BLUR_TAPS = 12
BLUR_SIGMA = 1.6


@dataclasses.dataclass(frozen=True, eq=False)
class Taps:
    """A sparse matrix [num_out, num_in] by rows: `out[i] = sum_k weight[k, i] * in[index[k, i]]`.

    Compared by identity: each matrix is made once and cached, and is a static argument of the operation that applies
    it.
    """

    num_in: int
    num_out: int
    index: np.ndarray  # [K, num_out] int32
    weight: np.ndarray  # [K, num_out] float64


def imresize(image: chex.Array, scale: float) -> chex.Array:
    """Resizes by bicubic interpolation as MATLAB's `imresize(image, scale)` does, antialiased when it shrinks.

    Keys' cubic with a = -0.5 (Keys 1981), stretched by `1 / scale` if `scale < 1`; pixel centres at half-integers;
    symmetric padding (the border pixel is repeated); weights normalised to sum to one.

    Args:
      image: [..., H, W, C].
      scale: factor for both sides, for example 0.25.

    Returns:
      [..., ceil(scale * H), ceil(scale * W), C], neither clipped nor rounded.

    Raises:
      ValueError: `scale` is not positive and finite, or `image` has fewer than three axes or an empty side.
    """
    image = _check_image(image)
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"scale must be positive and finite, got {scale}; 0.5 halves both sides")
    height, width = image.shape[-3:-1]
    rows = _bicubic_taps(height, _scaled_size(height, scale), float(scale))
    columns = _bicubic_taps(width, _scaled_size(width, scale), float(scale))
    return _apply_both(image, rows, columns)


def resize_bicubic(image: chex.Array, size: tuple[int, int]) -> chex.Array:
    """Resizes to an exact size as MATLAB's `imresize(image, [h w])` does: `imresize` with one scale for each axis.

    Args:
      image: [..., H, W, C].
      size: (h, w) of the result, in pixels.

    Returns:
      [..., h, w, C], neither clipped nor rounded.

    Raises:
      ValueError: a side of `size` is below 1, or `image` has fewer than three axes or an empty side.
    """
    image = _check_image(image)
    height, width = _check_size(size)
    rows = _bicubic_taps(image.shape[-3], height, height / image.shape[-3])
    columns = _bicubic_taps(image.shape[-2], width, width / image.shape[-2])
    return _apply_both(image, rows, columns)


def resize_bilinear(image: chex.Array, size: tuple[int, int], align_corners: bool = False) -> chex.Array:
    """Resizes bilinearly without antialiasing, as PyTorch's `interpolate` and OpenCV's `resize` do.

    Output pixel i reads at `(i + 1/2) * n / m - 1/2`, clamped to the image, or at `i (n - 1) / (m - 1)` if
    `align_corners`, where n and m are the input's and the output's side.

    Args:
      image: [..., H, W, C].
      size: (h, w) of the result, in pixels.
      align_corners: whether the corner pixels' centres coincide, instead of the images' edges.

    Returns:
      [..., h, w, C].

    Raises:
      ValueError: a side of `size` is below 1, or `image` has fewer than three axes or an empty side.
    """
    image = _check_image(image)
    height, width = _check_size(size)
    rows = _bilinear_taps(image.shape[-3], height, align_corners)
    columns = _bilinear_taps(image.shape[-2], width, align_corners)
    return _apply_both(image, rows, columns)


def blur_down4(image: chex.Array) -> chex.Array:
    """Blurs and keeps every fourth pixel: the BD degradation of BasicVSR's training data.

    A 12 x 12 Gaussian of sigma 1.6 with replicated borders, sampled where a small pixel's centre is the centre of its
    4 x 4 block (BD_degradation.m; other papers' BD sampling is shifted by 1.5 px and is not this one).

    Args:
      image: [..., H, W, C], both sides at least 4.

    Returns:
      [..., floor(H / 4), floor(W / 4), C], neither clipped nor rounded.

    Raises:
      ValueError: a side is below 4, or `image` has fewer than three axes.
    """
    image = _check_image(image)
    height, width = image.shape[-3:-1]
    if min(height, width) < 4:
        raise ValueError(f"blur_down4 needs at least 4 x 4 pixels, got image of shape {image.shape}")
    return _apply_both(image, _blur_taps(height), _blur_taps(width))


@functools.lru_cache(maxsize=64)
def down4_matrix(side: int, degradation: Literal["bi", "bd"]) -> np.ndarray:
    """One axis of `imresize` by 1/4 ("bi") or of `blur_down4` ("bd") as a dense matrix, for use on the host.

    Args:
      side: of the image, in pixels.
      degradation: which.

    Returns:
      float32 [n, side] with n = ceil(side / 4) for "bi", floor(side / 4) for "bd".
    """
    taps = _bicubic_taps(side, _scaled_size(side, 0.25), 0.25) if degradation == "bi" else _blur_taps(side)
    matrix = np.zeros((taps.num_out, taps.num_in), np.float32)
    np.add.at(matrix, (np.arange(taps.num_out), taps.index), taps.weight)
    return matrix


# The matrices. ------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _bicubic_taps(num_in: int, num_out: int, scale: float) -> Taps:
    """MATLAB's weights for one axis: the cubic kernel around each output pixel's place, over a mirrored axis."""
    shrink = min(scale, 1.0)
    position = (np.arange(num_out) + 0.5) / scale - 0.5  # of each output pixel's centre, in input pixels
    num_taps = math.ceil(4 / shrink) + 2
    index = np.floor(position - 2 / shrink).astype(np.int64)[:, None] + np.arange(num_taps)  # [num_out, K]
    weight = _cubic((position[:, None] - index) * shrink)
    weight /= weight.sum(axis=1, keepdims=True)
    mirrored = index % (2 * num_in)
    mirrored = np.where(mirrored < num_in, mirrored, 2 * num_in - 1 - mirrored)
    return _taps(num_in, num_out, mirrored, weight)


@functools.lru_cache(maxsize=256)
def _bilinear_taps(num_in: int, num_out: int, align_corners: bool) -> Taps:
    if align_corners:
        position = np.arange(num_out) * ((num_in - 1) / max(num_out - 1, 1))
    else:
        position = (np.arange(num_out) + 0.5) * (num_in / num_out) - 0.5
    position = np.clip(position, 0, num_in - 1)
    low = np.floor(position).astype(np.int64)
    fraction = position - low
    index = np.stack([low, np.minimum(low + 1, num_in - 1)], axis=1)
    return _taps(num_in, num_out, index, np.stack([1 - fraction, fraction], axis=1))


@functools.lru_cache(maxsize=256)
def _blur_taps(num_in: int) -> Taps:
    num_out = num_in // 4
    offset = np.arange(BLUR_TAPS) - (BLUR_TAPS - 1) / 2  # from the centre of the block, which lies between two pixels
    weight = np.exp(-0.5 * (offset / BLUR_SIGMA) ** 2)
    weight = np.broadcast_to(weight / weight.sum(), (num_out, BLUR_TAPS))
    index = (4 * np.arange(num_out)[:, None] + 1.5 + offset).astype(np.int64)
    return _taps(num_in, num_out, np.clip(index, 0, num_in - 1), weight)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _taps(num_in: int, num_out: int, index: np.ndarray, weight: np.ndarray) -> Taps:
    """Packs entries [num_out, K] into rows: entries of the same place are added, zeros are dropped, rows are padded."""
    place, inverse = np.unique((np.arange(num_out)[:, None] * num_in + index).ravel(), return_inverse=True)
    value = np.bincount(inverse, weights=weight.ravel())
    place, value = place[np.abs(value) > 1e-12], value[np.abs(value) > 1e-12]
    row, column = place // num_in, place % num_in
    count = np.bincount(row, minlength=num_out)
    slot = np.arange(len(row)) - (np.cumsum(count) - count)[row]  # running number inside each row
    num_taps = max(int(count.max(initial=0)), 1)
    first = np.zeros(num_out, np.int64)
    first[row[::-1]] = column[::-1]
    packed_index = np.broadcast_to(
        first, (num_taps, num_out)
    ).copy()  # a padded tap reads its row's first pixel, times 0
    packed_weight = np.zeros((num_taps, num_out))
    packed_index[slot, row] = column
    packed_weight[slot, row] = value
    return Taps(num_in, num_out, packed_index.astype(np.int32), packed_weight)


@functools.lru_cache(maxsize=256)
def _transposed(taps: Taps) -> Taps:
    """The transposed matrix, which carries a gradient from the output back to the input."""
    value, column = taps.weight.ravel(), taps.index.ravel()
    row = np.broadcast_to(np.arange(taps.num_out), taps.index.shape).ravel()
    order = np.argsort(column, kind="stable")
    value, column, row = value[order], column[order], row[order]
    count = np.bincount(column, minlength=taps.num_in)
    slot = np.arange(len(column)) - (np.cumsum(count) - count)[column]
    index = np.zeros((taps.num_in, count.max()), np.int64)
    weight = np.zeros((taps.num_in, count.max()))
    index[column, slot], weight[column, slot] = row, value
    return _taps(taps.num_out, taps.num_in, index, weight)


# Their application. -------------------------------------------------------------------------------------------------


def _apply_both(image: chex.Array, rows: Taps, columns: Taps) -> chex.Array:
    """Applies one matrix to the rows and one to the columns, first the one that leaves fewer pixels."""
    if rows.num_out * columns.num_in <= rows.num_in * columns.num_out:
        return _apply(_apply(image, rows, -3), columns, -2)
    return _apply(_apply(image, columns, -2), rows, -3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _apply(x: chex.Array, taps: Taps, axis: int) -> chex.Array:
    """Multiplies one axis (-3 or -2) of x by the matrix."""
    return _add_taps(x, taps, axis)


def _apply_forward(x: chex.Array, taps: Taps, axis: int) -> tuple[chex.Array, None]:
    return _apply(x, taps, axis), None


def _apply_backward(taps: Taps, axis: int, _: None, gradient: chex.Array) -> tuple[chex.Array]:
    return (_apply(gradient, _transposed(taps), axis),)


_apply.defvjp(_apply_forward, _apply_backward)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _add_taps(x: chex.Array, taps: Taps, axis: int) -> chex.Array:
    """The product as a sum of gathered and weighted copies of x."""
    total = 0.0
    for index, weight in zip(taps.index, taps.weight, strict=True):
        weight = jnp.asarray(weight.reshape((-1,) + (1,) * (-axis - 1)), x.dtype)  # [num_out, 1(, 1)]
        total = total + jnp.take(x, index, axis=axis, mode="clip") * weight
    return total


# Checks. ------------------------------------------------------------------------------------------------------------


def _scaled_size(side: int, scale: float) -> int:
    """ceil(scale * side), not fooled by the last bits of a product such as 1.1 * 10."""
    return math.ceil(round(scale * side, 9))


def _check_image(image: chex.Array) -> chex.Array:
    image = jnp.asarray(image)
    if image.ndim < 3 or min(image.shape[-3:-1]) < 1:
        raise ValueError(f"image must be [..., H, W, C] with at least one pixel, got shape {image.shape}")
    return image if jnp.issubdtype(image.dtype, jnp.floating) else image.astype(jnp.float32)


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be (height, width) of at least 1 pixel each, got {size}")
    return int(size[0]), int(size[1])
