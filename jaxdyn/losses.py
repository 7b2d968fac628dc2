"""Training losses, one definition each. All are means, so that their weight does not depend on size or batch."""

from typing import Literal

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


def attention_map(features: chex.Array, kind: Literal["sum", "sum2", "max2"] = "sum2") -> chex.Array:
    """Where features are strong, by absolute values over channels (Eq. 10, SkipVSR; Zagoruyko and Komodakis 2017).

        "sum"   sum_i |H_i|
        "sum2"  sum_i |H_i|^2, the one that SkipVSR uses
        "max2"  max_i |H_i|^2

    Args:
      features: [..., C].
      kind: which map.

    Returns:
      [...].

    Raises:
      ValueError: an unknown map.
    """
    if kind not in ATTENTION_MAPS:
        raise ValueError(f"kind (={kind!r}) must be one of {', '.join(map(repr, ATTENTION_MAPS))}")
    return ATTENTION_MAPS[kind](features)


ATTENTION_MAPS = {
    "sum": lambda features: jnp.abs(features).sum(-1),
    "sum2": lambda features: jnp.square(features).sum(-1),
    "max2": lambda features: jnp.square(features).max(-1),
}


def _difference(output: chex.Array, target: chex.Array) -> chex.Array:
    if jnp.shape(output) != jnp.shape(target):
        raise ValueError(f"output {jnp.shape(output)} and target {jnp.shape(target)} must have one shape")
    return jnp.asarray(output) - jnp.asarray(target)
