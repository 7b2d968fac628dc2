"""Making a decision that can be learned, and two ways to carry it out.

A decision is a value: `sample` turns logits into one, `masked` and `packed` carry it out and agree to rounding.

- `masked` computes every path for every item and lets masks select: differentiable, and the reference.
- `packed` computes what was selected and nothing else: items sorted by how far they go, chunks of a fixed size, loops
  whose number of turns is known at run time only. One compilation serves every decision.

Both speak of items that go to a level: level 0 means untouched, level l means that `step` was applied l times. For CAIN
an item is a patch, a step a residual group, the level its exit.

SkipVSR decides anew before every step, and its items may be neighbours that look at each other: `packed_tiles` applies
one step to the chosen tiles of a picture and leaves the others as they are, and measures how much each tile changed
since the picture before, which is what the next decision is made of.

Axes: N items or tiles, K choices, L highest level, c items of a chunk; h, w sides of a tile, r its halo, F features.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
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


# Tiles: a decision before every step


def gate(scores: chex.Array, threshold: float | chex.Array, rule: Literal["above", "below"] = "above") -> chex.Array:
    """Which tiles run: M = 1 if S > alpha (Eq. 9, SkipVSR), bool of the scores' shape.

    Args:
      scores: predicted confidence in [0, 1].
      threshold: alpha, from 0 (everything runs) to 1 (nothing does).
      rule: "above" is Eq. 9; "below" runs where S < 1 - alpha. `Differs:` the paper's text (skip what is already
        close to its target) also allows the second.

    Raises:
      ValueError: an unknown rule.
    """
    if rule not in ("above", "below"):
        raise ValueError(f"rule (={rule!r}) must be 'above' or 'below'")
    runs = scores > threshold if rule == "above" else scores < 1 - threshold
    return runs | (jnp.asarray(threshold) <= 0)


def skip_policy(name: Literal["uniform", "shallow", "deep"], num_block: int, seed: int = 0) -> np.ndarray:
    """Which blocks run where a fixed half of them is skipped (Table 4, SkipVSR): [num_block] bool.

    "uniform" skips a random half, "shallow" the first half, "deep" the second half (the caption's reading).

    Raises:
      ValueError: an unknown policy.
    """
    runs = np.ones(num_block, bool)
    if name == "uniform":
        runs[np.random.RandomState(seed).permutation(num_block)[: num_block // 2]] = False
    elif name == "shallow":
        runs[: num_block // 2] = False
    elif name == "deep":
        runs[num_block - num_block // 2 :] = False
    else:
        raise ValueError(f"policy (={name!r}) must be 'uniform', 'shallow' or 'deep'")
    return runs


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Where the tiles of a canvas lie; all of it is known before tracing.

    Attributes:
      starts: [N, 2] first row and column of each tile's slab, which is the tile and `halo` pixels around it.
      size: (h, w) of a tile.
      halo: r, how far a step looks.
      valid: [H_c, W_c] bool, which pixels of the canvas belong to a picture; the others are zero before and after every
        layer, as zero padding has it.
    """

    starts: np.ndarray
    size: tuple[int, int]
    halo: int
    valid: np.ndarray

    @property
    def area(self) -> np.ndarray:
        """Pixels of a picture in each tile: [N] float32, at least 1."""
        (h, w), r = self.size, self.halo
        inner = [self.valid[y + r : y + r + h, x + r : x + r + w].sum() for y, x in self.starts]
        return np.maximum(inner, 1).astype(np.float32)


TileStep = Callable[[chex.Array, chex.Array], chex.Array]
"""(slab [1, h + 2 r, W, F], valid [1, h + 2 r, W, 1]) -> [1, h, W, F]: slabs of tiles side by side, W = c (w + 2 r).
Rows shrink by the halo; columns stay, and the r columns at each side of a tile are dropped afterwards."""

Compare = Callable[[chex.Array, chex.Array, chex.Array], chex.Array]
"""(after [h, w, F], before [h, w, F], which tile) -> a number, not minus infinity."""


def packed_tiles(
    step: TileStep | None,
    compare: Compare,
    store: chex.Array,
    layer: int | chex.Array,
    chosen: chex.Array,
    tiles: Tiles,
    chunk: int,
) -> tuple[chex.Array, chex.Array]:
    """Apply a step to the chosen tiles of a picture, copy the others, and compare all with what was there before.

    The picture is read from `store[layer]` and written to `store[layer + 1]`, which until then holds the same layer of
    the picture before. Chosen tiles run `chunk` at a time, side by side along the width; the last ones run in twos if
    they are two or fewer. Nothing but chosen tiles, and fillers of the last chunk, is computed.

    Args:
      step: computes tiles from their slabs; None: every tile is copied, whatever was chosen.
      compare: of a tile now and the same tile before.
      store: [L, H_c, W_c, F], zero outside of `tiles.valid`. Layer 0 is no layer of a picture: fillers end there.
      layer: which layer is read.
      chosen: [N] bool.
      tiles: where they lie.
      chunk: c, how many tiles run together.

    Returns:
      The store, and what `compare` said of each tile: [N] float32.

    Raises:
      ValueError: a chunk below 1.
    """
    if chunk < 1:
        raise ValueError(f"chunk (={chunk}) must be at least 1")
    (h, w), r, num_tile, num_feat = tiles.size, tiles.halo, len(tiles.starts), store.shape[-1]
    chunk = min(chunk, num_tile)
    starts = jnp.asarray(np.concatenate([tiles.starts, tiles.starts[:1]]), jnp.int32)  # [N + 1, 2]; N = nobody
    valid = jnp.asarray(tiles.valid)
    order = jnp.pad(jnp.argsort(~chosen, stable=True), (0, chunk), constant_values=num_tile)
    num_chosen = chosen.sum()

    def cut(store, place, tile, size, inset):
        y, x = starts[tile] + inset
        return lax.dynamic_slice(store, (place, y, x, 0), (1, *size, num_feat))[0]

    def exchange(state, index, now):
        """Compare tiles with what is there, then put them there."""
        store, values = state
        before = [cut(store, layer + 1, tile, (h, w), r) for tile in index]
        said = jnp.stack([compare(*pair, tile) for *pair, tile in zip(now, before, index, strict=True)])
        # Reading must end before writing begins. That the place to write depends on what was read tells the compiler
        # so: otherwise it copies the whole store at every step.
        place = layer + 1 + (said.sum() == -jnp.inf).astype(jnp.int32)
        for tile, after in zip(index, now, strict=True):
            y, x = starts[tile] + r
            store = lax.dynamic_update_slice(store, after[None], (jnp.where(tile < num_tile, place, 0), y, x, 0))
        return store, values.at[jnp.stack(index)].set(said)

    def run_chunk(first, width, state):
        index = [jnp.where(first + i < num_chosen, order[first + i], num_tile) for i in range(width)]
        side = (h + 2 * r, w + 2 * r)
        slab = jnp.concatenate([cut(state[0], layer, tile, side, 0) for tile in index], axis=1)
        inside = jnp.concatenate([lax.dynamic_slice(valid, tuple(starts[tile]), side) for tile in index], axis=1)
        after = step(slab[None], inside[None, :, :, None])  # [1, h, c (w + 2 r), F]
        after = after.reshape(h, width, w + 2 * r, num_feat)[:, :, r : r + w]
        return exchange(state, index, [after[:, i] for i in range(width)])

    def copy_one(turn, state):
        return exchange(state, [order[turn]], [cut(state[0], layer, order[turn], (h, w), r)])

    state = (store, jnp.zeros(num_tile + 1))
    if step is None:
        store, values = lax.fori_loop(0, num_tile, copy_one, state)
        return store, values[:num_tile]
    num_large, num_small = _chunks(num_chosen, chunk)
    state = lax.fori_loop(0, num_large, lambda turn, now: run_chunk(turn * chunk, chunk, now), state)
    if chunk > SMALL_CHUNK:
        state = lax.fori_loop(0, num_small, lambda _, now: run_chunk(num_large * chunk, SMALL_CHUNK, now), state)
    store, values = lax.fori_loop(num_chosen, num_tile, copy_one, state)
    return store, values[:num_tile]


SMALL_CHUNK = 2
"""Tiles that are left over run in a chunk of their own size if they are no more than this."""


def _chunks(num_chosen: chex.Array, chunk: int) -> tuple[chex.Array, chex.Array]:
    """How many chunks of `chunk` and of `SMALL_CHUNK` tiles run for so many chosen ones."""
    rest = num_chosen % chunk
    is_small = (rest > 0) & (rest <= SMALL_CHUNK) & (chunk > SMALL_CHUNK)
    return num_chosen // chunk + ((rest > 0) & ~is_small), is_small.astype(jnp.int32)


def executed_tiles(chosen: chex.Array, chunk: int) -> chex.Array:
    """How many tiles `packed_tiles` computes for a choice, fillers included: [..., N] bool -> [...] int32."""
    chunk = min(chunk, chosen.shape[-1])
    num_large, num_small = _chunks(chosen.sum(-1), chunk)
    return num_large * chunk + num_small * SMALL_CHUNK


def _weigh(mask: chex.Array, state: chex.Array) -> chex.Array:
    return mask.reshape(-1, *[1] * (state.ndim - 1)) * state
