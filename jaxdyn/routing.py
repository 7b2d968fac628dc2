"""Making a decision that can be learned, and two ways to carry it out.

A decision is a value: `sample` turns logits into one, `masked` and `packed` carry it out and agree to rounding.

- `masked` computes every path for every item and lets masks select: differentiable, and the reference.
- `packed` computes what was selected and nothing else: items sorted by how far they go, step after step for all that
  take it, side by side in chunks of fixed sizes, loops whose number of turns is known at run time only. One compilation
  serves every decision.

Both speak of items that go to a level: level 0 means untouched, level l means that `step` was applied l times. For CAIN
an item is a patch, a step a residual group, the level its exit.

SkipVSR decides anew before every step, and its items may be neighbours that look at each other: `packed_tiles` applies
one step to the chosen tiles of a picture and leaves the others where they are, and measures how much each tile changed
since the picture before, which is what the next decision is made of. Where most tiles are chosen, the whole picture may
take less time than they do, and is computed in their place.

Axes: N items or tiles, K choices, L highest level or number of layers, c items of a chunk; h, w sides of a tile, r its
halo, F features.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

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


class Path(NamedTuple):
    """What items go along, written for any number c of them side by side.

    Attributes:
      begin: items [c, ...] -> (kept, state), trees of [c, ...]; kept is what `end` needs besides the state.
      step: (turn, state) -> state. `turn` is traced, so it must choose its parameters by a dynamic index.
      end: (items, kept, state) -> results [c, ...].
    """

    begin: Callable[[chex.ArrayTree], tuple[chex.ArrayTree, chex.ArrayTree]]
    step: Step
    end: Callable[[chex.ArrayTree, chex.ArrayTree, chex.ArrayTree], chex.Array]


WINDOW = 64
"""Items that are on their way at once in `packed`, which bounds the memory for what lies between two steps."""


def packed(
    path: Path, items: chex.ArrayTree, levels: chex.Array, output: chex.Array, chunk: int, window: int = WINDOW
) -> chex.Array:
    """Send items of level 1 and above along a path, each as many steps as its level, and put them in their places.

    Items are sorted, the furthest first, so that those which take a step are the first of them: they take it side by
    side, `chunk` at a time and what is left over in fewer (`in_chunks`). Nothing else is computed, and nothing twice.
    Both ends of the path, where items are large, are run for one item after the other.

    Args:
      path: see `Path`.
      items: tree of [N, ...].
      levels: [N] int32.
      output: [N, ...], what items of level 0 keep.
      chunk: c, how many items run side by side.
      window: items that are on their way at once.

    Returns:
      [N, ...], equal to `masked` with the same levels.

    Raises:
      ValueError: a chunk below 1, or a window that does not hold one.
    """
    if not 1 <= chunk <= window:
        raise ValueError(f"chunk (={chunk}) must be at least 1, and at most window (={window})")
    num_item = levels.shape[0]
    window = min(window, num_item)
    chunk = min(chunk, window)
    order = jnp.pad(jnp.argsort(-levels, stable=True), (0, -num_item % window))
    sorted_levels = -jnp.sort(-levels)

    def one_window(number, output):
        first = number * window
        chosen = lax.dynamic_slice_in_dim(order, first, window)
        own = jax.tree.map(lambda leaf: leaf.at[chosen].get(mode="clip"), items)

        def over(turn, chunk, run, carry):
            """`run` on those of this window that go further than `turn`."""
            number = jnp.clip(jnp.sum(sorted_levels > turn) - first, 0, window)
            return in_chunks(number, chunk, run, carry)

        def begin(at, size, buffers):
            return _put(buffers, path.begin(_take(own, at, size)), at)

        def step(turn, state):
            one = lambda at, size, state: _put(state, path.step(turn, _take(state, at, size)), at)  # noqa: E731
            return over(turn, chunk, one, state)

        def end(at, size, output):
            results = path.end(*(_take(tree, at, size) for tree in (own, kept, state)))
            for i in range(size):
                output = lax.dynamic_update_index_in_dim(output, results[i], chosen[at + i], 0)
            return output

        shapes = jax.eval_shape(path.begin, jax.tree.map(lambda leaf: leaf[:1], items))
        empty = jax.tree.map(lambda leaf: jnp.zeros((window, *leaf.shape[1:]), leaf.dtype), shapes)
        kept, state = over(0, 1, begin, empty)
        state = lax.fori_loop(0, sorted_levels[first], step, state)
        return over(0, 1, end, output)

    num_window = (jnp.sum(levels > 0) + window - 1) // window
    return lax.fori_loop(0, num_window, one_window, output)


EVEN = 6
"""Chunks up to this size are made in all sizes below it too; of larger ones that would take too long to compile."""


def in_chunks(number: chex.Array, chunk: int, run: Callable, carry: chex.ArrayTree) -> chex.ArrayTree:
    """Cover places 0 to number - 1 once each, in as few chunks as hold at most c places, of two sizes one apart.

    9 places in chunks of at most 4 are 3 + 3 + 3: a narrow chunk at the end would take almost as long as a wide one.
    Where c is above `EVEN`, chunks of c come first, then one of c / 2, of c / 4, and the rest evenly.

    Args:
      number: how many places; known at run time only.
      chunk: c.
      run: (first place, static size, carry) -> carry; it is compiled for each size that there can be.
      carry: tree.
    """
    first = jnp.zeros_like(number)
    while chunk > EVEN:
        turns = (number - first) // chunk
        carry = lax.fori_loop(0, turns, functools.partial(_one_chunk, run, first, chunk), carry)
        first, chunk = first + turns * chunk, chunk // 2
    rest = number - first
    num_chunk = jnp.maximum((rest + chunk - 1) // chunk, 1)
    small, num_large = rest // num_chunk, rest % num_chunk  # num_large chunks of small + 1, the others of small
    for size in range(chunk, 0, -1):
        turns = jnp.where(size == small + 1, num_large, jnp.where(size == small, num_chunk - num_large, 0))
        carry = lax.fori_loop(0, turns, functools.partial(_one_chunk, run, first, size), carry)
        first = first + turns * size
    return carry


def unless(is_empty: chex.Array | None, run: Callable, given: chex.ArrayTree) -> chex.Array:
    """`run(given)`, unless a scalar known at run time says not to: then zeros. None: it runs."""
    if is_empty is None:
        return run(given)
    run = jax.jit(run, inline=True)  # traced once, for its shape and for what is computed
    like = jax.eval_shape(run, given)
    return lax.cond(is_empty, lambda _: jnp.zeros(like.shape, like.dtype), run, given)


def _one_chunk(run, first, size, turn, carry):
    return run(first + turn * size, size, carry)


def _take(tree: chex.ArrayTree, first: chex.Array, size: int) -> chex.ArrayTree:
    """Rows first to first + size - 1 of each array."""
    return jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, first, size), tree)


def _put(tree: chex.ArrayTree, rows: chex.ArrayTree, first: chex.Array) -> chex.ArrayTree:
    """The same with other rows."""
    return jax.tree.map(lambda leaf, new: lax.dynamic_update_slice_in_dim(leaf, new, first, 0), tree, rows)


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
    """How tiles lie; all of it is known before tracing.

    All tiles together are a canvas, [N / n_w h, n_w w, F]: n_w of them side by side, and the next n_w below.

    Attributes:
      neighbours: [N, 3, 3], which tiles lie around each one and, in the middle, itself; N where there is none.
      valid: [N, h + 2 r, w + 2 r] bool, which pixels of a tile and its halo belong to a picture; the others are zero
        before and after every layer, as zero padding has it.
      halo: r, how far a step looks, no further than to the neighbours' ends.
      columns: n_w.

    Raises:
      ValueError: a number of tiles that does not fill its rows.
    """

    neighbours: np.ndarray
    valid: np.ndarray
    halo: int
    columns: int = 1

    def __post_init__(self):
        if self.num % self.columns:
            raise ValueError(f"{self.num} tiles do not fill rows of columns (={self.columns}) tiles")

    @property
    def num(self) -> int:
        """N."""
        return len(self.neighbours)

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of a tile."""
        return self.valid.shape[1] - 2 * self.halo, self.valid.shape[2] - 2 * self.halo

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) of all tiles together."""
        (h, w) = self.size
        return self.num // self.columns * h, self.columns * w

    @property
    def corners(self) -> np.ndarray:
        """Where each tile begins, as the number of its first pixel: [N] int32. Pixels of a canvas are numbered row by
        row."""
        (h, w), n = self.size, np.arange(self.num, dtype=np.int32)
        return n // self.columns * h * self.canvas[1] + n % self.columns * w

    def yx(self, place: chex.Numeric) -> tuple[chex.Numeric, chex.Numeric]:
        """(y, x) of the pixel of a number."""
        return place // self.canvas[1], place % self.canvas[1]

    @property
    def sources(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each pixel of a tile and its halo comes from: which of the nine tiles, and how far behind its corner.

        Both [h + 2 r, w + 2 r].
        """
        (h, w), r = self.size, self.halo
        y, x = np.arange(-r, h + r)[:, None], np.arange(-r, w + r)
        return (y // h + 1) * 3 + x // w + 1, y % h * self.canvas[1] + x % w

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """The same of each pixel of a canvas: which tile, and how far behind its corner."""
        (h, w), (height, width) = self.size, self.canvas
        y, x = np.arange(height)[:, None], np.arange(width)
        return y // h * self.columns + x // w, y % h * width + x % w

    @property
    def area(self) -> np.ndarray:
        """Pixels of a picture in each tile: [N] float32, at least 1."""
        r = self.halo
        return np.maximum(self.valid[:, r:-r, r:-r].sum(axis=(1, 2)), 1).astype(np.float32)


class TileStore(NamedTuple):
    """All layers of a picture in tiles, with what is still needed of the picture before it.

    A tile that a step skips is the tile of the layer below. It is not copied: `now` says where it lies. Each layer of
    each tile has a place of its own, which is written only if the step that makes it runs. If the picture before is
    still to be compared in higher layers with what lay there, that moves up by a layer first.

    Attributes:
      values: the canvases of L layers, one below the other, and a row of zeros, for neighbours that are none:
        [(L N / n_w + 1) h, n_w w, F].
      now: [L, N] int32, where each layer of each tile begins, of this picture as far as it has come, see
        `Tiles.corners`.
      before: [L, N] int32, the same of the picture before, from the layer on that comes next.
      ran: [L, N] bool, whether the step that makes a layer ran; of the picture before where this one has not come.
    """

    values: chex.Array
    now: chex.Array
    before: chex.Array
    ran: chex.Array

    def layer(self, number: int, tiles: Tiles) -> chex.Array:
        """A layer of this picture, as a canvas."""
        return _read(self.values, self.now[number], tiles)


TileStep = Callable[[chex.Array, chex.Array], chex.Array]
"""(slab [1, h + 2 r, W, F], valid [1, h + 2 r, W, 1]) -> [1, h, W, F]: tiles with their halo side by side, W = c (w + 2
r). Rows shrink by the halo; columns stay, and the r columns at each side of a tile are dropped afterwards."""

Compare = Callable[[chex.Array, chex.Array, chex.Array], chex.Array]
"""(after [h, w, F], before [h, w, F], which tile) -> a number, not minus infinity; `jax.vmap` makes it one for many."""


class Whole(NamedTuple):
    """The other way to apply a step.

    Attributes:
      step: all tiles at once, canvas -> canvas.
      is_used: [] bool, whether it is the quicker way; known at run time only.
    """

    step: Callable[[chex.Array], chex.Array]
    is_used: chex.Array


def tile_store(num_layer: int, tiles: Tiles, num_feat: int, dtype: np.dtype = np.float32) -> TileStore:
    """A store of L layers, before the first picture: everything is zero."""
    height, width = tiles.canvas
    own = jnp.asarray(tiles.corners + height * width * np.arange(num_layer, dtype=np.int32)[:, None])
    values = jnp.zeros((num_layer * height + tiles.size[0], width, num_feat), dtype)
    return TileStore(values, own, own, jnp.ones(own.shape, bool))


def enter_tiles(picture: chex.Array, compare: Compare, store: TileStore, tiles: Tiles) -> tuple[TileStore, chex.Array]:
    """Begin with the next picture: its tiles become layer 0, compared with those of the picture before.

    Args:
      picture: all tiles, a canvas.
      compare: of a tile now and the same tile before.
      store: with the picture before.
      tiles: how they lie.

    Returns:
      The store, and what `compare` said of each tile: [N] float32.
    """
    store = _make_room(store._replace(before=store.now), 0, jnp.ones(tiles.num, bool), tiles)
    values, said = _put_layer(store.values, picture, store.before[0], jnp.int32(0), compare, tiles)
    return store._replace(values=values, now=store.now.at[0].set(tiles.corners), ran=store.ran.at[0].set(True)), said


def packed_tiles(
    step: TileStep,
    compare: Compare,
    store: TileStore,
    layer: int | chex.Array,
    chosen: chex.Array,
    said: chex.Array,
    tiles: Tiles,
    chunk: int,
    whole: Whole | None = None,
) -> tuple[TileStore, chex.Array]:
    """Apply a step to the chosen tiles of a picture, and compare the next layer with that of the picture before.

    Chosen tiles run up to `chunk` at a time, side by side along the width (`in_chunks`). Nothing but chosen tiles is
    computed; no other tile is touched, but for the comparison where the picture before had run this step. Where neither
    ran it, nothing has changed since the layer below, nor has what was said of it.

    Tiles with their halo are more pixels than the picture, and small pictures are slower to compute. So where most are
    chosen, `whole` may compute all of them at once; what it makes of the others is thrown away.

    Args:
      step: computes tiles from their slabs.
      compare: of a tile now and the same tile before.
      store: with this picture's layers up to `layer`.
      layer: which layer is read; the next one is made.
      chosen: [N] bool.
      said: what `compare` said of `layer`: [N].
      tiles: how they lie.
      chunk: c, how many tiles run together.
      whole: the step on all tiles as one picture, with the same result, and whether it is used; None: it never is.

    Returns:
      The store, and what `compare` said of the new layer: [N] float32.

    Raises:
      ValueError: a chunk below 1.
    """
    if chunk < 1:
        raise ValueError(f"chunk (={chunk}) must be at least 1")
    (h, w), r, num_tile, num_feat = tiles.size, tiles.halo, tiles.num, store.values.shape[-1]
    chunk = min(chunk, num_tile)
    size = math.prod(tiles.canvas)
    nothing = store.now.shape[0] * size  # the row of zeros
    in_tiles, written = chosen.sum(), chosen
    if whole is not None:
        in_tiles, written = jnp.where(whole.is_used, 0, in_tiles), chosen | whole.is_used
    store = _make_room(store, layer + 1, written, tiles)
    now = jnp.append(lax.dynamic_index_in_dim(store.now, layer, keepdims=False), nothing)  # [N + 1]; N = no neighbour
    before = lax.dynamic_index_in_dim(store.before, layer + 1, keepdims=False)
    own = (layer + 1) * size + jnp.asarray(tiles.corners)
    neighbours, valid = jnp.asarray(tiles.neighbours, jnp.int32), jnp.asarray(tiles.valid)
    alone = tuple(part[:h, :w] for part in tiles.places)  # `Tiles.sources` of a tile without its halo
    order = jnp.argsort(~chosen, stable=True)

    def gather(values, corners, sources):
        """Tiles side by side, those at places [c] or, with what is around them, [c, 3, 3]: [y, c, x, F].

        Pixel by pixel, which several threads do together; copies of pieces would take twice as long.
        """
        which, place = sources
        pixels = corners.reshape(len(corners), -1)[:, which] + place  # [c, y, x]
        return jnp.take(values.reshape(-1, num_feat), pixels.swapaxes(0, 1), axis=0, mode="clip")

    def compared(values, after, index):
        """What `compare` says of tiles [h, c, w, F]: [c]."""
        return jax.vmap(compare, in_axes=(1, 1, 0))(after, gather(values, before[index], alone), index)

    def run_chunk(first, width, state):
        (values, said), index = state, lax.dynamic_slice_in_dim(order, first, width)
        inside = valid[index].swapaxes(0, 1).reshape(1, h + 2 * r, -1, 1)
        slab = gather(values, now[neighbours[index]], tiles.sources).reshape(1, h + 2 * r, -1, num_feat)
        after = step(slab, inside).reshape(h, width, w + 2 * r, num_feat)
        value = compared(values, after[:, :, r : r + w], index)

        def put(number, values):
            tile = lax.dynamic_slice(after, (0, number, r, 0), (h, 1, w, num_feat))[:, 0]
            corner = _after_reading(own[index[number]], value[number])
            return lax.dynamic_update_slice(values, tile, (*tiles.yx(corner), 0))

        return lax.fori_loop(0, width, put, values), said.at[index].set(value)

    def run_whole(_, state):
        values, _ = state
        x = _read(values, now[:num_tile], tiles)
        after = jnp.where(chosen[tiles.places[0]][..., None], whole.step(x), x)
        return _put_layer(values, after, before, own[0], compare, tiles)

    values, said = in_chunks(in_tiles, chunk, run_chunk, (store.values, said))
    if whole is not None:  # a loop, not a condition: it writes in place
        values, said = lax.fori_loop(0, whole.is_used.astype(jnp.int32), run_whole, (values, said))

    is_compared = ~written & lax.dynamic_index_in_dim(store.ran, layer + 1, keepdims=False)
    to_compare = jnp.argsort(~is_compared, stable=True)

    def compare_one(turn, said):  # one by one, which compiles fastest; they are few
        index = lax.dynamic_slice_in_dim(to_compare, turn, 1)
        return said.at[index].set(compared(values, gather(values, now[index], alone), index))

    said = lax.fori_loop(0, is_compared.sum(), compare_one, said)
    corners = jnp.where(written, own, now[:num_tile])
    return store._replace(
        values=values, now=store.now.at[layer + 1].set(corners), ran=store.ran.at[layer + 1].set(chosen)
    ), said


def _read(values: chex.Array, corners: chex.Array, tiles: Tiles) -> chex.Array:
    """Tiles that begin at [N] as a canvas; where all of them are of one layer, it lies there as it is."""
    which, place = tiles.places
    return lax.cond(
        (corners == corners[0] + tiles.corners).all(),
        lambda values: lax.dynamic_slice_in_dim(values, tiles.yx(corners[0])[0], tiles.canvas[0], 0),
        lambda values: jnp.take(values.reshape(-1, values.shape[-1]), corners[which] + place, axis=0, mode="clip"),
        values,
    )


def _put_layer(
    values: chex.Array, layer: chex.Array, before: chex.Array, first: chex.Array, compare: Compare, tiles: Tiles
) -> tuple[chex.Array, chex.Array]:
    """A layer's canvas to a place, its tiles compared with those that begin at `before` [N]."""
    (h, w), n_w = tiles.size, tiles.columns
    now, then = (x.reshape(-1, h, n_w, w, x.shape[-1]) for x in (layer, _read(values, before, tiles)))
    numbers = jnp.arange(tiles.num, dtype=jnp.int32).reshape(-1, n_w)
    said = jax.vmap(jax.vmap(compare, in_axes=(1, 1, 0)))(now, then, numbers).reshape(-1)
    y, _ = tiles.yx(_after_reading(first, said.max()))
    return lax.dynamic_update_slice_in_dim(values, layer, y, 0), said


def _make_room(store: TileStore, layer: int | chex.Array, chosen: chex.Array, tiles: Tiles) -> TileStore:
    """Before a layer of the chosen tiles is written: what the picture before skipped from there on moves up."""
    num_layer, size = store.now.shape[0], math.prod(tiles.canvas)
    own = layer * size + jnp.asarray(tiles.corners)  # [N]
    above = jnp.arange(num_layer)[:, None] > layer  # [L, 1]
    is_shared = above & (store.before == own)  # [L, N]
    moves = chosen & is_shared.any(axis=0)
    order = jnp.argsort(~moves, stable=True)

    def move(turn, values):
        corner = own[order[turn]]
        tile = lax.dynamic_slice(values, (*tiles.yx(corner), 0), (*tiles.size, values.shape[-1]))
        return lax.dynamic_update_slice(values, tile, (*tiles.yx(corner + size), 0))

    values = lax.fori_loop(0, moves.sum(), move, store.values)
    return store._replace(values=values, before=jnp.where(is_shared & moves, own + size, store.before))


def _after_reading(place: chex.Array, value: chex.Array) -> chex.Array:
    """The same place, as something that depends on a value that was read.

    Reading must end before writing begins, or the compiler copies the whole store at every step; this tells it so.
    """
    return place + (value == -jnp.inf).astype(jnp.int32)


def _weigh(mask: chex.Array, state: chex.Array) -> chex.Array:
    return mask.reshape(-1, *[1] * (state.ndim - 1)) * state
