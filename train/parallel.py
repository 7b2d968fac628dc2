"""Where a step runs: a plan for one device or for many."""

import dataclasses
from collections.abc import Callable

import chex
import jax


@dataclasses.dataclass(frozen=True)
class Plan:
    """One device: the step is jitted, batches and state go there."""

    def compile(self, make_step: Callable[[str | None], Callable]) -> Callable:
        """The compiled step: (state, batch, key, variant) -> (state, metrics); the state's memory is used again.

        Args:
          make_step: (axis name to average over, or None) -> the pure step.
        """
        return jax.jit(make_step(None), static_argnums=3, donate_argnums=0)

    def put_state(self, state: chex.ArrayTree) -> chex.ArrayTree:
        """A state where the step expects it."""
        return state

    def put_batch(self, batch: chex.ArrayTree) -> chex.ArrayTree:
        """This process's part of a global batch where the step expects it."""
        return batch
