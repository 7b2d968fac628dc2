"""Pixel shuffle and its inverse: space moved into channels and back, without loss.

The channel order is PyTorch's (and so that of every published network here): in the small image, channel
`c * r * r + dy * r + dx` holds channel `c` of the large image at row offset `dy` and column offset `dx` of each r x r
cell.
"""

import chex
import jax.numpy as jnp


def pixel_shuffle(x: chex.Array, factor: int) -> chex.Array:
    """Moves channels into space: `y[r i + dy, r j + dx, c] = x[i, j, c r^2 + dy r + dx]` (Shi et al. 2016, Eq. 4).

    Args:
      x: [..., H, W, C * r * r], any dtype.
      factor: r, the factor by which height and width grow.

    Returns:
      [..., H * r, W * r, C].

    Raises:
      ValueError: `factor` is below 1, `x` has fewer than three axes, or its channels do not divide by `r * r`.
    """
    _check(x, factor)
    *lead, height, width, channels = x.shape
    if channels % (factor * factor):
        raise ValueError(
            f"pixel_shuffle by {factor} needs channels divisible by {factor * factor}, but x has shape {x.shape}"
        )
    x = x.reshape(*lead, height, width, channels // factor**2, factor, factor)  # [..., H, W, C, dy, dx]
    x = jnp.moveaxis(x, (-2, -1), (-4, -2))  # [..., H, dy, W, dx, C]
    return x.reshape(*lead, height * factor, width * factor, channels // factor**2)


def pixel_unshuffle(x: chex.Array, factor: int) -> chex.Array:
    """Moves space into channels, the inverse of `pixel_shuffle`: `y[i, j, c r^2 + dy r + dx] = x[r i + dy, r j + dx,
    c]`.

    Args:
      x: [..., H * r, W * r, C], any dtype.
      factor: r, the factor by which height and width shrink.

    Returns:
      [..., H, W, C * r * r].

    Raises:
      ValueError: `factor` is below 1, `x` has fewer than three axes, or its height or width does not divide by `r`.
    """
    _check(x, factor)
    *lead, height, width, channels = x.shape
    if height % factor or width % factor:
        raise ValueError(
            f"pixel_unshuffle by {factor} needs sides divisible by {factor}, but x has shape {x.shape}; pad it"
        )
    x = x.reshape(*lead, height // factor, factor, width // factor, factor, channels)  # [..., H, dy, W, dx, C]
    x = jnp.moveaxis(x, (-4, -2), (-2, -1))  # [..., H, W, C, dy, dx]
    return x.reshape(*lead, height // factor, width // factor, channels * factor**2)


def _check(x: chex.Array, factor: int) -> None:
    if factor < 1:
        raise ValueError(f"factor must be a positive integer, got {factor}")
    if x.ndim < 3:
        raise ValueError(f"x must be [..., H, W, C], got shape {x.shape}")
