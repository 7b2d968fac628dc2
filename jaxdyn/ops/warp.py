"""Bilinear sampling and backward warping, one definition for the whole library.

Coordinates are pixels: (0, 0) is the centre of the first pixel (PyTorch's `align_corners=True`). Channel 0 is x (to the
right), channel 1 is y (down). `backward_warp(b, flow_ab)` looks like `a`, for a flow that leads from `a` to `b`.

The gradient to the coordinates is cheap. The gradient to the image is a scatter, which is slow on a CPU: where only
the flow learns, pass `jax.lax.stop_gradient(image)`.
"""

from typing import Literal

import chex
import jax.numpy as jnp

Padding = Literal["zeros", "border"]


def sample(image: chex.Array, coords: chex.Array, padding: Padding = "zeros") -> chex.Array:
    """Reads an image at real-valued places: `out[p] = sum_q image[q] max(0, 1 - |x_p - x_q|) max(0, 1 - |y_p - y_q|)`.

    The bilinear sampler of Spatial Transformer Networks (Jaderberg et al. 2015, Eq. 5).

    Args:
      image: [B, H, W, C], floating point.
      coords: [B, h, w, 2], where to read, in pixels of `image`; channel 0 = x.
      padding: what lies outside: "zeros", or "border" (the nearest pixel inside).

    Returns:
      [B, h, w, C].

    Raises:
      ValueError: the shapes do not fit, or `padding` is unknown.
    """
    if padding not in ("zeros", "border"):
        raise ValueError(f'padding must be "zeros" or "border", got {padding!r}')
    if image.ndim != 4 or min(image.shape[1:3]) < 1:
        raise ValueError(f"image must be [B, H, W, C] with at least one pixel, got shape {image.shape}")
    if coords.ndim != 4 or coords.shape[-1] != 2 or coords.shape[0] != image.shape[0]:
        raise ValueError(
            f"coords must be [B={image.shape[0]}, h, w, 2] for image {image.shape}, got shape {coords.shape}"
        )
    batch, height, width, channels = image.shape
    # Outside the image nothing changes any more (border), or all is zero (zeros, from one pixel beyond the edge on).
    ring = 1 if padding == "zeros" else 0
    last = jnp.array([width - 1 + ring, height - 1 + ring], coords.dtype)
    coords = jnp.clip(coords, -ring, last)
    corner = jnp.floor(coords)  # [B, h, w, 2], upper left of the four neighbours
    fraction = coords - corner
    x0, y0 = jnp.moveaxis(corner.astype(jnp.int32), -1, 0)  # [B, h, w]
    fx, fy = jnp.moveaxis(fraction, -1, 0)
    pixels = image.reshape(batch * height * width, channels)
    first = (jnp.arange(batch) * height * width)[:, None, None]  # of each image in the batch
    total = jnp.zeros((), image.dtype)
    for x, y, weight in (
        (x0, y0, (1 - fx) * (1 - fy)),
        (x0 + 1, y0, fx * (1 - fy)),
        (x0, y0 + 1, (1 - fx) * fy),
        (x0 + 1, y0 + 1, fx * fy),
    ):  # four plain gathers of C-vectors: the fastest of five forms on a CPU
        is_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        weight = jnp.where(is_inside, weight, 0).astype(image.dtype)
        index = first + jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)
        total = total + jnp.take(pixels, index, axis=0, mode="clip") * weight[..., None]
    return total  # [B, h, w, C]


def backward_warp(image: chex.Array, flow: chex.Array, padding: Padding = "zeros") -> chex.Array:
    """Moves an image back along a flow: `out[p] = image[p + flow[p]]`, bilinear.

    Args:
      image: [B, H, W, C], floating point.
      flow: [B, H, W, 2], displacement in pixels of this grid; channel 0 = x.
      padding: what lies outside: "zeros", or "border" (the nearest pixel inside).

    Returns:
      [B, H, W, C].

    Raises:
      ValueError: the shapes do not fit, or `padding` is unknown.
    """
    if image.ndim != 4 or flow.shape != (*image.shape[:3], 2):
        raise ValueError(
            f"flow must be [B, H, W, 2] at the size of the image [B, H, W, C], got flow {flow.shape} and image "
            f"{image.shape}; resize the flow and scale its values first"
        )
    return sample(image, pixel_grid(*image.shape[1:3]).astype(flow.dtype) + flow, padding)


def is_inside(coords: chex.Array, size: tuple[int, int]) -> chex.Array:
    """Whether places lie in the area of an image's pixels, half a pixel around their centres.

    Args:
      coords: [..., 2], in pixels; channel 0 = x. NumPy's arrays as well.
      size: (H, W) of the image.

    Returns:
      [..., 1] bool.
    """
    x, y = coords[..., :1], coords[..., 1:]
    height, width = size
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def pixel_grid(height: int, width: int) -> chex.Array:
    """Coordinates of every pixel's centre: [H, W, 2] float32, channel 0 = x."""
    y, x = jnp.meshgrid(jnp.arange(height, dtype=jnp.float32), jnp.arange(width, dtype=jnp.float32), indexing="ij")
    return jnp.stack([x, y], axis=-1)
