"""Routing with toy steps whose answer is known.

The scenario: five items hold the number 1. Step 0 doubles, step 1 adds ten, step 2 squares. An item of level 0 stays
1, level 1 gives 2,
level 2 gives 12, level 3 gives 144.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdyn import routing

ANSWERS = np.array([1.0, 2.0, 12.0, 144.0])


def step(turn, x):
    """Three steps that do not commute; `turn` may be traced."""
    return jax.lax.switch(turn, [lambda v: 2 * v, lambda v: v + 10, lambda v: v**2], x)


def naive(levels):
    """A loop over items and steps."""
    out = []
    for level in levels:
        x = 1.0
        for turn in range(level):
            x = [2 * x, x + 10, x**2][turn]
        out.append(x)
    return np.array(out)


@settings(deadline=None, max_examples=25)
@given(levels=st.lists(st.integers(0, 3), min_size=1, max_size=9), chunk=st.integers(1, 5))
def test_masked_packed_and_naive_agree(levels, chunk):
    items, levels = jnp.ones(len(levels)), jnp.asarray(levels, jnp.int32)
    np.testing.assert_array_equal(naive(levels.tolist()), ANSWERS[np.asarray(levels)])
    masked = routing.masked(step, items, jax.nn.one_hot(levels, 4))
    np.testing.assert_allclose(masked, ANSWERS[np.asarray(levels)])
    packed = routing.packed(lambda x, level: routing.run_levels(step, x, level), items, levels, items, chunk)
    np.testing.assert_allclose(packed, ANSWERS[np.asarray(levels)])


def test_one_trace_serves_every_route():
    items = jnp.ones(7)

    @jax.jit
    @chex.assert_max_traces(1)
    def run(levels):
        return routing.packed(lambda x, level: routing.run_levels(step, x, level), items, levels, items, 2)

    for seed in range(20):
        levels = np.random.RandomState(seed).randint(0, 4, 7)
        np.testing.assert_allclose(run(jnp.asarray(levels)), ANSWERS[levels])


def test_packed_computes_what_is_counted_and_no_more():
    calls = []

    def run(x, level):
        jax.debug.callback(lambda level: calls.append(level.tolist()), level, ordered=True)
        return x

    levels = jnp.asarray([0, 3, 0, 1, 2], jnp.int32)
    items = jnp.ones(5)
    jax.block_until_ready(routing.packed(run, items, levels, items, 2))
    jax.effects_barrier()
    assert calls == [[3, 2], [1, 0]]  # the deepest first, one filler, nobody of level 0
    np.testing.assert_array_equal(routing.executed_levels(levels, 2, 3), [4, 4, 2, 2])
    np.testing.assert_array_equal(routing.executed_levels(levels, 1, 3), [3, 3, 2, 1])


def test_all_skipped_runs_nothing():
    items = jnp.ones(4)
    fails = lambda x, level: x * jnp.nan  # noqa: E731
    np.testing.assert_array_equal(routing.packed(fails, items, jnp.zeros(4, jnp.int32), items, 2), items)


def test_sample_is_one_hot_forward_and_softmax_backward():
    logits = jnp.asarray([[0.1, 2.0, -1.0], [3.0, 0.0, 0.0]])
    np.testing.assert_array_equal(routing.sample(logits), [[0, 1, 0], [1, 0, 0]])
    weight = jnp.asarray([1.0, -2.0, 3.0])
    hard = jax.grad(lambda x: (routing.sample(x) * weight).sum())(logits)
    soft = jax.grad(lambda x: (jax.nn.softmax(x) * weight).sum())(logits)
    np.testing.assert_allclose(hard, soft, rtol=1e-5)


def test_noise_draws_each_choice_with_its_probability():
    logits = jnp.log(jnp.asarray([0.2, 0.5, 0.3]))
    draws = routing.sample(jnp.broadcast_to(logits, (20000, 3)), jax.random.key(0))
    np.testing.assert_array_equal(draws.sum(-1), np.ones(20000))
    np.testing.assert_allclose(draws.mean(0), [0.2, 0.5, 0.3], atol=0.02)


# Tiles. The scenario: a picture of 5 x 7 pixels in 3 x 3 tiles of 2 x 3, the last ones reach beyond it. The step adds
# one and the eight neighbours, so that in a picture of ones a pixel becomes 10, at a border 7, in a corner 5.

HEIGHT, WIDTH, NUM_TILE = 5, 7, 9


def tiles():
    valid = np.zeros((8, 11), bool)
    valid[1 : 1 + HEIGHT, 1 : 1 + WIDTH] = True
    starts = np.array([(y, x) for y in (0, 2, 4) for x in (0, 3, 6)])
    return routing.Tiles(starts, (2, 3), 1, valid)


def add_neighbours(slab, valid):
    """[1, 4, W, F] -> [1, 2, W, F]."""
    wide = jnp.pad(slab, ((0, 0), (0, 0), (1, 1), (0, 0)))
    rows, columns = slab.shape[1] - 2, slab.shape[2]
    total = sum(wide[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3))
    return jnp.where(valid[:, 1:-1], total + 1, 0.0)


def compare(after, before, tile):
    """Tells which tile it is and what was there before."""
    return 1000.0 * tile + (after - before).sum()


def expected_tiles(store, layer, chosen):
    """Pixel after pixel: the layer that is written, and what `compare` said."""
    before, x, after, said = store[layer + 1], store[layer], store[layer].copy(), []
    for run, (top, left) in zip(chosen, tiles().starts, strict=True):
        place = [(y, x_) for y in (top + 1, top + 2) for x_ in (left + 1, left + 2, left + 3) if tiles().valid[y, x_]]
        for y, x_ in place if run else []:
            after[y, x_] = 1 + x[y - 1 : y + 2, x_ - 1 : x_ + 2].sum(axis=(0, 1))
        said.append(1000 * len(said) + sum((after[at] - before[at]).sum() for at in place))
    return after, said


@pytest.mark.parametrize("chunk", [1, 2, 4, 20])
def test_packed_tiles_compute_the_chosen_and_copy_the_others(chunk, random):
    calls = []

    def step(slab, valid):
        jax.debug.callback(lambda width=slab.shape[2] // 5: calls.append(width))
        return add_neighbours(slab, valid)

    @jax.jit
    @chex.assert_max_traces(1)
    def run(store, layer, chosen):
        return routing.packed_tiles(step, compare, store, layer, chosen, tiles(), chunk)

    chex.clear_trace_counter()
    for number in range(NUM_TILE + 1):  # from none to all
        layer = number % 2 + 1
        store = random.randint(0, 9, (4, 8, 11, 2)) * tiles().valid[:, :, None].astype(np.float32)
        chosen = random.permutation(NUM_TILE) < number
        calls.clear()
        after, said = run(store, layer, chosen)
        wanted, wanted_said = expected_tiles(store, layer, chosen)
        np.testing.assert_array_equal(after[layer + 1], wanted)  # zeros outside of the picture included
        np.testing.assert_array_equal(said, wanted_said)
        untouched = [other for other in (1, 2, 3) if other != layer + 1]  # fillers end in layer 0 and nowhere else
        np.testing.assert_array_equal(after[np.array(untouched)], store[np.array(untouched)])
        jax.effects_barrier()
        assert sum(calls) == routing.executed_tiles(chosen, chunk)


def test_a_picture_of_ones_has_a_known_answer():
    store = np.stack([np.zeros((8, 11, 1)), tiles().valid[:, :, None]] * 2).astype(np.float32)[:3]
    after, said = routing.packed_tiles(add_neighbours, compare, store, 1, np.ones(NUM_TILE, bool), tiles(), 2)
    wanted = np.full((HEIGHT, WIDTH), 10)
    wanted[[0, -1]] = wanted[:, 0] = wanted[:, -1] = 7
    wanted[[0, 0, -1, -1], [0, -1, 0, -1]] = 5
    np.testing.assert_array_equal(after[2, 1:6, 1:8, 0], wanted)
    assert said[4] == 4000 + 6 * 10  # the tile in the middle; there was nothing before


def test_without_a_step_everything_is_copied():
    store = np.stack([np.full((8, 11, 1), value) * tiles().valid[:, :, None] for value in (1, 2)]).astype(np.float32)
    after, said = routing.packed_tiles(None, compare, store, 0, np.ones(NUM_TILE, bool), tiles(), 3)
    np.testing.assert_array_equal(after[1], store[0])
    np.testing.assert_array_equal(said, 1000 * np.arange(NUM_TILE) - tiles().area)


def test_area_is_what_a_tile_has_of_the_picture():
    np.testing.assert_array_equal(tiles().area, [6, 6, 2, 6, 6, 2, 3, 3, 1])
    outside = routing.Tiles(np.array([(0, 0)]), (2, 2), 1, np.zeros((4, 4), bool))
    np.testing.assert_array_equal(outside.area, [1])  # never a division by zero


@settings(deadline=None, max_examples=40)
@given(
    choices=st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=3), chunk=st.integers(1, 9)
)
def test_executed_tiles_by_brute_force(choices, chunk):
    wanted = []
    for chosen in choices:
        left, total, whole = sum(chosen), 0, min(chunk, 7)
        while left > 0:
            width = 2 if left <= 2 < whole else whole
            left, total = left - width, total + width
        wanted.append(total)
        assert sum(chosen) <= total < sum(chosen) + whole
    np.testing.assert_array_equal(routing.executed_tiles(np.array(choices), chunk), wanted)


def test_gate_follows_both_rules():
    scores = jnp.asarray([0.0, 0.3, 0.5, 0.7, 1.0])
    np.testing.assert_array_equal(routing.gate(scores, 0.5), [False, False, False, True, True])
    np.testing.assert_array_equal(routing.gate(scores, 0.6, "below"), [True, True, False, False, False])
    for rule in ("above", "below"):
        assert jax.jit(lambda alpha, rule=rule: routing.gate(scores, alpha, rule))(0.0).all()
        assert not routing.gate(scores, 1.0, rule).any()
    with pytest.raises(ValueError, match=r"rule \(='equal'\) must be 'above' or 'below'"):
        routing.gate(scores, 0.5, "equal")


@pytest.mark.parametrize("num_block", [30, 5, 1])
def test_policies_skip_half_of_the_blocks(num_block):
    half = num_block // 2
    for name in ("uniform", "shallow", "deep"):
        runs = routing.skip_policy(name, num_block)
        assert runs.shape == (num_block,)
        assert runs.dtype == bool
        assert (~runs).sum() == half
    assert not routing.skip_policy("shallow", num_block)[:half].any()
    assert not routing.skip_policy("deep", num_block)[num_block - half :].any()


def test_the_uniform_policy_is_random_and_fixed_by_its_seed():
    drawn = [routing.skip_policy("uniform", 30, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    with pytest.raises(ValueError, match=r"policy \(='half'\) must be 'uniform', 'shallow' or 'deep'"):
        routing.skip_policy("half", 30)


def test_errors():
    with pytest.raises(ValueError, match=r"chunk \(=0\)"):
        routing.packed(lambda x, level: x, jnp.ones(2), jnp.ones(2, jnp.int32), jnp.ones(2), 0)
    with pytest.raises(ValueError, match="temperature"):
        routing.sample(jnp.zeros((1, 2)), temperature=0.0)
    with pytest.raises(ValueError, match=r"chunk \(=0\)"):
        routing.packed_tiles(add_neighbours, compare, jnp.zeros((3, 8, 11, 1)), 1, np.ones(9, bool), tiles(), 0)
