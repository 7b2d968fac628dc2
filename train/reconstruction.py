"""How far a picture is from the true one: what a stage's `error` may be, one definition each."""

import chex
import jax.numpy as jnp

from jaxdyn import losses

FLOOR = 1e-5
"""Added to a mean squared error before its logarithm: 50 dB, above which there is nothing to win."""


def log_error(output: chex.Array, target: chex.Array) -> chex.Array:
    """0.05 log(squared error + 1e-5), mean over images: PSNR with its sign turned, flat above 50 dB. [B, ...] -> []."""
    return of_squared(jnp.square(output - target).mean(axis=tuple(range(1, output.ndim))))


def of_squared(squared: chex.Array) -> chex.Array:
    """The same of mean squared errors [B]."""
    return 0.05 * jnp.log(squared + FLOOR).mean()


ERRORS = {"charbonnier": losses.charbonnier, "l1": losses.l1, "log": log_error}
"""By name: (output, target) -> []. CAIN-SD (L_r of Eq. 13) takes "l1", SkipVSR (Eq. 12) "charbonnier"."""
