"""Training losses, one definition each. All are means, so that their weight does not depend on size or batch."""

import chex
import jax.numpy as jnp

EPSILON = 1e-6  # of Charbonnier, in units of the images; squared, it is the 1e-12 of BasicVSR's training


def l1(output: chex.Array, target: chex.Array) -> chex.Array:
    """Mean absolute difference: `mean |output - target|`.

    Args:
      output, target: arrays of one shape.

    Returns:
      A scalar.

    Raises:
      ValueError: the shapes differ.
    """
    return jnp.abs(_difference(output, target)).mean()


def charbonnier(output: chex.Array, target: chex.Array, epsilon: float = EPSILON) -> chex.Array:
    """A smooth L1: `mean sqrt((output - target)^2 + epsilon^2)` (Charbonnier et al. 1994; Lai et al. 2017).

    Args:
      output, target: arrays of one shape.
      epsilon: below this difference the loss turns quadratic.

    Returns:
      A scalar.

    Raises:
      ValueError: the shapes differ.
    """
    return jnp.sqrt(_difference(output, target) ** 2 + epsilon**2).mean()


def _difference(output: chex.Array, target: chex.Array) -> chex.Array:
    if jnp.shape(output) != jnp.shape(target):
        raise ValueError(f"output {jnp.shape(output)} and target {jnp.shape(target)} must have one shape")
    return jnp.asarray(output) - jnp.asarray(target)
