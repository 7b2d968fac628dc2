"""Making a decision that can be learned, and two ways to carry it out.

A decision is a value: `sample` turns logits into one, `masked` and `packed` carry it out and agree to rounding.

- `masked` computes every path for every item and lets masks select: differentiable, and the reference.
- `packed` computes what was selected and nothing else: items sorted by how far they go, chunks of a fixed size, loops
  whose number of turns is known at run time only. One compilation serves every decision.

Both speak of items that go to a level: level 0 means untouched, level l means that `step` was applied l times. For CAIN
an item is a patch, a step a residual group, the level its exit.

Axes: N items, K choices, L highest level, c items of a chunk.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from jax import lax

Step = Callable[[chex.Array, chex.ArrayTree], chex.ArrayTree]
"""(turn, state [c, ...]) -> state [c, ...], turns 0 to L - 1."""


def sample(logits: chex.Array, key: chex.PRNGKey | None = None, temperature: float = 1.0) -> chex.Array:
    """One choice each, as a one-hot mask that has the gradient of a softmax (Eq. 6 and 7, CAIN-SD; Jang et al. 2017).

    Forward `one_hot(argmax_k [g_k + log pi_k])` (Eq. 6), backward `softmax((log pi + g) / temperature)` (Eq. 7):
    straight-through.

    Args:
      logits: [..., K], unnormalised log pi.
      key: draws the Gumbel noise g; None takes none, as at test time.
      temperature: tau of Eq. 7; the paper keeps 1.

    Returns:
      [..., K], exactly one 1.

    Raises:
      ValueError: a temperature that is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature (={temperature}) must be positive; the paper uses 1")
    scores = jax.nn.log_softmax(logits)
    if key is not None:
        scores = scores + jax.random.gumbel(key, logits.shape, logits.dtype)
    soft = jax.nn.softmax(scores / temperature)
    hard = jax.nn.one_hot(scores.argmax(-1), logits.shape[-1], dtype=logits.dtype)
    return hard + (soft - lax.stop_gradient(soft))  # in this order exactly one-hot


def masked(step: Step, state: chex.Array, masks: chex.Array) -> chex.Array:
    """Apply every step and select by masks: sum_l masks[:, l] state_l (Eq. 9, CAIN-SD), state_0 being the one given.

    Args:
      step: (turn, state) -> state.
      state: [N, ...].
      masks: [N, L + 1], one-hot over levels 0 to L; a gradient flows into them.

    Returns:
      [N, ...].
    """
    chosen = _weigh(masks[:, 0], state)
    for turn in range(masks.shape[1] - 1):
        state = step(turn, state)
        chosen = chosen + _weigh(masks[:, turn + 1], state)
    return chosen


def run_levels(step: Step, state: chex.Array, levels: chex.Array) -> chex.Array:
    """Apply steps as far as the furthest item of a chunk goes, and give each item the state of its own level.

    Args:
      step: (turn, state) -> state; `turn` is traced, so it must choose its parameters by a dynamic index.
      state: [c, ...].
      levels: [c] int32.

    Returns:
      [c, ...], equal to `masked(step, state, one_hot(levels))`.
    """

    # An item stops changing at its level; the others of its chunk go on. With c = 1 nothing is computed in vain.
    def turn_all(turn, now):
        after = step(turn, now)
        goes_on = (levels > turn).reshape(-1, *[1] * (after.ndim - 1))
        return jnp.where(goes_on, after, now)

    return lax.fori_loop(0, levels.max(), turn_all, state)


def packed(
    run: Callable[[chex.ArrayTree, chex.Array], chex.Array],
    items: chex.ArrayTree,
    levels: chex.Array,
    output: chex.Array,
    chunk: int,
) -> chex.Array:
    """Compute items of level 1 and above, chunk by chunk, the furthest first, and put them in their places.

    Args:
      run: (items [c, ...], levels [c]) -> [c, ...]; usually built on `run_levels`. The last chunk is filled up with
        items of level 0, whose results are dropped.
      items: tree of [N, ...].
      levels: [N] int32.
      output: [N, ...], what items of level 0 keep.
      chunk: c; chunks of items side by side, small ones waste less.

    Returns:
      [N, ...].

    Raises:
      ValueError: a chunk below 1.
    """
    if chunk < 1:
        raise ValueError(f"chunk (={chunk}) must be at least 1")
    num_item = levels.shape[0]
    chunk = min(chunk, num_item)
    order = jnp.argsort(-levels, stable=True)
    order = jnp.pad(order, (0, -num_item % chunk), constant_values=num_item)  # num_item = nobody
    num_turn = (jnp.sum(levels > 0) + chunk - 1) // chunk
    output = jnp.concatenate([output, output[:1]])  # the last place takes what nobody wants

    def one_chunk(turn, output):
        index = lax.dynamic_slice_in_dim(order, turn * chunk, chunk)
        level = jnp.where(index < num_item, levels.at[index].get(mode="clip"), 0)
        index = jnp.where(level > 0, index, num_item)
        taken = jax.tree.map(lambda leaf: leaf.at[index].get(mode="clip"), items)
        results = run(taken, level)
        for i in range(chunk):
            output = lax.dynamic_update_index_in_dim(output, results[i], index[i], 0)
        return output

    return lax.fori_loop(0, num_turn, one_chunk, output)[:num_item]


def executed_levels(levels: chex.Array, chunk: int, num_level: int) -> chex.Array:
    """How often `packed` with `run_levels` executes `run` for one item and each step for one item, fillers included.

    Args:
      levels: [N] int32.
      chunk: c, as given to `packed`.
      num_level: L.

    Returns:
      [L + 1] int32: item-executions of `run` itself, then of step 0 to L - 1. With c = 1: how many levels are > 0, >
      0, > 1, ...
    """
    chunk = min(chunk, levels.shape[0])
    furthest = -jnp.sort(-levels)[::chunk]  # deepest level of each chunk, as `packed` sorts them
    counts = [jnp.sum(furthest > 0)] + [jnp.sum(furthest > turn) for turn in range(num_level)]
    return jnp.stack(counts) * chunk


def _weigh(mask: chex.Array, state: chex.Array) -> chex.Array:
    return mask.reshape(-1, *[1] * (state.ndim - 1)) * state
