"""What becomes of a step whose numbers are not finite: it changes nothing, and the run stops or goes on without it.

The choice is made on the device, within the compiled step, so that it is exact and nobody has to wait for the step.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from train import stages, step

REMEDY = "lower the learning rate, or look at the data of this step"


class NotFiniteError(Exception):
    """A step that was one too many of those that were not finite; the message says which.

    Attributes:
      number: of the step, from 0.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.number = number


@struct.dataclass
class Guarded:
    """A state, and how many steps in all left it as it was, [] int32."""

    state: step.State
    skipped: chex.Array


def start(state: step.State) -> Guarded:
    """Nothing skipped yet."""
    return Guarded(state, jnp.zeros((), jnp.int32))


def guarded(one_step: Callable, max_skipped: int = 0) -> Callable:
    """A step that changes nothing but the step's number where one of its metrics is not finite.

    Once more than `max_skipped` steps were skipped, the state stays for ever as it was before the last of them, its
    number included: the host, which looks some steps later, finds it as the bad step did.

    Args:
      one_step: (state, batch, key, variant) -> (state, metrics), see `step.make_step`.
      max_skipped: how many steps may be skipped.

    Returns:
      (guarded state, batch, key, variant) -> (guarded state, metrics), with the metrics `finite`, whether this step
      counted, and `skipped`, how many did not so far.
    """

    def run(
        held: Guarded,
        batch: dict,
        key: chex.PRNGKey,
        variant: step.Variant = step.Variant(),  # noqa: B008
    ) -> tuple[Guarded, dict]:
        new, metrics = one_step(held.state, batch, key, variant)
        is_finite = jnp.stack([jnp.isfinite(value).all() for value in metrics.values()]).all()
        takes = is_finite & (held.skipped <= max_skipped)
        skipped = held.skipped + (~is_finite).astype(jnp.int32)
        state = jax.tree.map(lambda after, before: jnp.where(takes, after, before), new, held.state)
        number = jnp.where(skipped <= max_skipped, new.step, held.state.step)
        return Guarded(state.replace(step=number), skipped), {**metrics, "finite": takes, "skipped": skipped}

    return run


def blame(
    model: Any, stage: stages.Stage, params: chex.ArrayTree, batch: dict, key: chex.PRNGKey, variant: step.Variant
) -> str:
    """What is not finite in a step, in the order in which a step meets it: "parameter", "batch", "loss", "gradient of".

    Args:
      model, stage, batch, key, variant: of the step.
      params: the parameters before it.

    Returns:
      The first quantity of each kind by name, such as "batch x, loss, gradient of w".
    """

    def loss_of(params):
        return step.LOSSES[stage.kind](model, stage, params, batch, key, variant)

    (loss, metrics), gradient = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(params)
    kinds = (("parameter ", params), ("batch ", batch), ("", {"loss": loss}), ("", metrics), ("gradient of ", gradient))
    found = ((kind, first_bad(tree)) for kind, tree in kinds)
    return ", ".join(f"{kind}{name}" for kind, name in found if name is not None) or "nothing when it is run again"


def first_bad(tree: chex.ArrayTree) -> str | None:
    """The path of the first array of a tree that holds a number that is not finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        numbers = np.asarray(leaf)
        if jnp.issubdtype(numbers.dtype, jnp.floating) and not np.isfinite(numbers).all():
            return stages.path_of(path)
    return None
