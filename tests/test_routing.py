"""Routing with toy steps whose answer is known.

The scenario: five items hold the number 1. Step 0 doubles, step 1 adds ten, step 2 squares. An item of level 0 stays
1, level 1 gives 2,
level 2 gives 12, level 3 gives 144.
"""

import functools
import itertools

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


some_levels = st.sampled_from((1, 2, 5, 9)).flatmap(lambda n: st.lists(st.integers(0, 3), min_size=n, max_size=n))


@settings(deadline=None, max_examples=50)
@given(levels=some_levels, chunk=st.sampled_from((1, 2, 5)))
def test_masked_packed_and_naive_agree(levels, chunk):
    np.testing.assert_array_equal(naive(levels), ANSWERS[levels])
    masked, packed = both_executions(jnp.asarray(levels, jnp.int32), chunk)
    np.testing.assert_allclose(masked, ANSWERS[levels])
    np.testing.assert_allclose(packed, ANSWERS[levels])


def path(note=lambda *what: None):
    """The scenario's steps as a path; `note` is told what runs, for how many items."""

    def begin(items):
        note("begin", items.shape[0])
        return items, items

    def noted(turn, x):
        note(turn, x.shape[0])
        return step(turn, x)

    def end(items, kept, state):
        note("end", items.shape[0])
        return jnp.where(kept == items, state, jnp.nan)

    return routing.Path(begin, noted, end)


@functools.partial(jax.jit, static_argnums=(1, 2))
def both_executions(levels, chunk, window=routing.WINDOW):
    items = jnp.ones(len(levels))
    masked = routing.masked(step, items, jax.nn.one_hot(levels, 4))
    return masked, routing.packed(path(), items, levels, items, chunk, window)


@pytest.mark.parametrize("window", [2, 3, 8])
def test_a_window_bounds_what_is_on_its_way_and_changes_nothing(window):
    levels = jnp.asarray([0, 3, 0, 1, 2, 3, 3], jnp.int32)
    np.testing.assert_allclose(both_executions(levels, 2, window)[1], ANSWERS[levels])


def test_one_trace_serves_every_route():
    items = jnp.ones(7)

    @jax.jit
    @chex.assert_max_traces(1)
    def run(levels):
        return routing.packed(path(), items, levels, items, 2)

    for seed in range(20):
        levels = np.random.RandomState(seed).randint(0, 4, 7)
        np.testing.assert_allclose(run(jnp.asarray(levels)), ANSWERS[levels])


def test_packed_computes_what_is_chosen_and_no_more():
    calls = []

    def note(what, size):
        jax.debug.callback(lambda what: calls.append((what, size)), what if not isinstance(what, str) else -1)

    items, levels = jnp.ones(6), jnp.asarray([0, 3, 0, 1, 2, 3], jnp.int32)
    jax.block_until_ready(routing.packed(path(note), items, levels, items, 4))
    jax.effects_barrier()
    steps = sorted((int(turn), size) for turn, size in calls if turn >= 0)
    assert steps == [(0, 4), (1, 3), (2, 2)]  # those of level 1 and above, of level 2, of level 3: each together
    assert [size for turn, size in calls if turn < 0] == [1] * 8  # both ends, one by one


def test_all_skipped_runs_nothing():
    items = jnp.ones(4)
    fails = lambda *given: jax.tree.map(lambda x: x * jnp.nan, given[-1])  # noqa: E731
    broken = routing.Path(lambda items: (fails(items), fails(items)), fails, fails)
    np.testing.assert_array_equal(routing.packed(broken, items, jnp.zeros(4, jnp.int32), items, 2), items)


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


# Tiles. The scenario: pictures of 5 x 7 pixels in 3 x 3 tiles of 2 x 3, the last ones reach beyond them. The step adds
# one and the eight neighbours, so that in a picture of ones a pixel becomes 10, at a border 7, in a corner 5.

HEIGHT, WIDTH, NUM_TILE, NUM_STEP, NUM_FEAT = 5, 7, 9, 4, 2


def tiles():
    numbers = np.pad(np.arange(NUM_TILE).reshape(3, 3), 1, constant_values=NUM_TILE)
    inside = np.pad(np.ones((HEIGHT, WIDTH), bool), ((1, 2), (1, 3)))
    places = list(itertools.product(range(3), range(3)))
    return routing.Tiles(
        np.stack([numbers[i : i + 3, j : j + 3] for i, j in places]),
        np.stack([inside[2 * i : 2 * i + 4, 3 * j : 3 * j + 5] for i, j in places]),
        halo=1,
        columns=3,
    )


def pixels_of(tile):
    """(y, x) of the pixels of the picture in a tile."""
    rows, columns = range(tile // 3 * 2, tile // 3 * 2 + 2), range(tile % 3 * 3, tile % 3 * 3 + 3)
    return [(y, x) for y in rows for x in columns if y < HEIGHT and x < WIDTH]


def add_neighbours(slab, valid):
    """[1, 4, W, F] -> [1, 2, W, F]."""
    wide = jnp.pad(slab, ((0, 0), (0, 0), (1, 1), (0, 0)))
    rows, columns = slab.shape[1] - 2, slab.shape[2]
    total = sum(wide[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3))
    return jnp.where(valid[:, 1:-1], total + 1, 0.0)


def compare(after, before, tile):
    """Tells which tile it is and how much was added to what was there before."""
    return 1000.0 * tile + (after - before).sum()


def expected_layers(picture, choices):
    """Pixel after pixel: the picture, and what each step makes of its chosen tiles."""
    layers = [picture]
    for chosen in choices:
        around, after = np.pad(layers[-1], ((1, 1), (1, 1), (0, 0))), layers[-1].copy()
        for y, x in (place for tile in range(NUM_TILE) if chosen[tile] for place in pixels_of(tile)):
            after[y, x] = 1 + around[y : y + 3, x : x + 3].sum(axis=(0, 1))
        layers.append(after)
    return layers


def expected_said(layer, before):
    """What `compare` says of each tile of two pictures."""
    return [1000 * n + sum((layer[at] - before[at]).sum() for at in pixels_of(n)) for n in range(NUM_TILE)]


@jax.jit
def enter(store, picture):
    return routing.enter_tiles(jnp.pad(picture, ((0, 1), (0, 2), (0, 0))), compare, store, tiles())


@jax.jit
def canvas_of(store, layer):
    return store.layer(layer, tiles())


def read(store, layer):
    """A layer as a picture; what lies outside is zero."""
    canvas = np.asarray(canvas_of(store, layer))
    assert not canvas[HEIGHT:].any()
    assert not canvas[:, WIDTH:].any()
    return canvas[:HEIGHT, :WIDTH]


def add_neighbours_everywhere(canvas):
    """The step on all tiles as one picture: [6, 9, F] -> the same."""
    inside = np.pad(np.ones((HEIGHT, WIDTH, 1), bool), ((0, 1), (0, 2), (0, 0)))
    after = add_neighbours(
        jnp.pad(canvas, ((1, 1), (0, 0), (0, 0)))[None], jnp.pad(inside, ((1, 1), (0, 0), (0, 0)))[None]
    )
    return after[0]


def runner(chunk, calls=None, least=NUM_TILE + 1):
    """`packed_tiles` of the scenario, traced once, as a whole where `least` tiles are chosen; `calls` notes how many
    tiles run together."""

    def step(slab, valid):
        if calls is not None:
            jax.debug.callback(lambda width=slab.shape[2] // 5: calls.append(width))
        return add_neighbours(slab, valid)

    @jax.jit
    @chex.assert_max_traces(1)
    def run(store, layer, chosen, said):
        whole = routing.Whole(add_neighbours_everywhere, chosen.sum() >= least) if least <= NUM_TILE else None
        return routing.packed_tiles(step, compare, store, layer, chosen, said, tiles(), chunk, whole)

    chex.clear_trace_counter()
    return run


@pytest.mark.parametrize(("chunk", "least"), [(1, 10), (2, 10), (4, 10), (20, 10), (2, 9), (4, 5), (4, 1)])
def test_packed_tiles_compute_the_chosen_and_compare_all_with_the_picture_before(chunk, least, random):
    """Pictures one after the other, each step with a choice of its own, from no tile to all."""
    calls = []
    run = runner(chunk, calls, least)
    store = routing.tile_store(NUM_STEP + 1, tiles(), NUM_FEAT)
    before = [np.zeros((HEIGHT, WIDTH, NUM_FEAT))] * (NUM_STEP + 1)
    for _ in range(8):
        picture = random.randint(0, 9, (HEIGHT, WIDTH, NUM_FEAT)).astype(np.float32)
        choices = random.rand(NUM_STEP, NUM_TILE) < random.choice([0.0, 0.3, 0.7, 1.0], (NUM_STEP, 1))
        layers = expected_layers(picture, choices)
        store, said = enter(store, picture)
        np.testing.assert_array_equal(said, expected_said(layers[0], before[0]))
        for layer, chosen in enumerate(choices):
            calls.clear()
            store, said = run(store, layer, chosen, said)
            jax.effects_barrier()
            assert sum(calls) == (0 if chosen.sum() >= least else chosen.sum())
            assert all(call <= chunk for call in calls)
            np.testing.assert_array_equal(said, expected_said(layers[layer + 1], before[layer + 1]))
        for layer, wanted in enumerate(layers):
            np.testing.assert_array_equal(read(store, layer), wanted)
        before = layers


def test_a_picture_of_ones_has_a_known_answer():
    everything = np.ones(NUM_TILE, bool)
    store, said = enter(routing.tile_store(2, tiles(), 1), np.ones((HEIGHT, WIDTH, 1), np.float32))
    np.testing.assert_array_equal(said, 1000 * np.arange(NUM_TILE) + tiles().area)
    store, said = runner(2)(store, 0, everything, said)
    wanted = np.full((HEIGHT, WIDTH), 10)
    wanted[[0, -1]] = wanted[:, 0] = wanted[:, -1] = 7
    wanted[[0, 0, -1, -1], [0, -1, 0, -1]] = 5
    np.testing.assert_array_equal(read(store, 1)[..., 0], wanted)
    assert said[4] == 4000 + 6 * 10  # the tile in the middle; there was nothing before


def test_tiles_without_neighbours_are_pictures_of_their_own(random):
    alone = routing.Tiles(np.full((2, 3, 3), 2), np.pad(np.ones((2, 1, 3), bool), ((0, 0), (1, 1), (1, 1))), 1)
    pictures = random.randint(0, 9, (2, 1, 3, NUM_FEAT)).astype(np.float32)  # a halo is as high as they are
    alone.neighbours[:, 1, 1] = (0, 1)
    canvas = pictures.reshape(2, 3, NUM_FEAT)
    store, said = routing.enter_tiles(canvas, compare, routing.tile_store(2, alone, NUM_FEAT), alone)
    store, _ = routing.packed_tiles(add_neighbours, compare, store, 0, np.array([True, False]), said, alone, 2)
    around = np.pad(pictures[0, 0], ((1, 1), (0, 0)))
    made = store.layer(1, alone)
    np.testing.assert_array_equal(made[0], 1 + around[:-2] + around[1:-1] + around[2:])
    np.testing.assert_array_equal(made[1:], pictures[1])


def test_sources_are_the_neighbours_pixels():
    which, place = tiles().sources  # tiles of 2 x 3, a halo of 1
    np.testing.assert_array_equal(which, [[0, 1, 1, 1, 2], [3, 4, 4, 4, 5], [3, 4, 4, 4, 5], [6, 7, 7, 7, 8]])
    rows = [11, 9, 10, 11, 9], [2, 0, 1, 2, 0]  # the lower and the upper row of tiles on a canvas 9 pixels wide
    np.testing.assert_array_equal(place, [*rows, *rows])


def test_places_and_corners_lead_to_every_pixel_of_a_canvas():
    which, place = tiles().places
    np.testing.assert_array_equal(tiles().corners[which] + place, np.arange(54).reshape(6, 9))
    assert tiles().canvas == which.shape == (6, 9)
    assert tiles().yx(tiles().corners[4] + 2 * 54) == (14, 3)  # the tile in the middle of the third layer


def test_tiles_must_fill_their_rows():
    with pytest.raises(ValueError, match=r"9 tiles do not fill rows of columns \(=2\) tiles"):
        routing.Tiles(tiles().neighbours, tiles().valid, 1, columns=2)


def test_area_is_what_a_tile_has_of_the_picture():
    np.testing.assert_array_equal(tiles().area, [6, 6, 2, 6, 6, 2, 3, 3, 1])
    outside = routing.Tiles(np.full((1, 3, 3), 1), np.zeros((1, 4, 4), bool), 1)
    np.testing.assert_array_equal(outside.area, [1])  # never a division by zero


@settings(deadline=None, max_examples=60)
@given(number=st.integers(0, 40), chunk=st.integers(1, routing.EVEN))
def test_chunks_cover_every_place_once_in_even_sizes(number, chunk):
    covered = cover(jnp.int32(number), chunk)
    widths = covered[1]
    np.testing.assert_array_equal(covered[0], (np.arange(48) < number).astype(int))
    used = [size for size in range(1, chunk + 1) if widths[size]]
    assert sum(widths) == -(-number // chunk)
    assert not used or (used[-1] - used[0] <= 1 and sum(size * widths[size] for size in used) == number)


@pytest.mark.parametrize("number", [0, 5, 16, 39])
def test_large_chunks_are_halved(number):
    places, widths = cover(jnp.int32(number), 16)
    np.testing.assert_array_equal(places, (np.arange(48) < number).astype(int))
    wanted = {0: {}, 5: {3: 1, 2: 1}, 16: {16: 1}, 39: {16: 2, 4: 1, 3: 1}}[number]
    assert {size: count for size, count in enumerate(widths.tolist()) if count} == wanted


@functools.partial(jax.jit, static_argnums=1)
def cover(number, chunk):
    """How often each place was covered, and how many chunks of each size there were."""

    def run(first, size, carry):
        places, widths = carry
        return places.at[first + jnp.arange(size)].add(1), widths.at[size].add(1)

    return routing.in_chunks(number, chunk, run, (jnp.zeros(48, int), jnp.zeros(17, int)))


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
        routing.packed(path(), jnp.ones(2), jnp.ones(2, jnp.int32), jnp.ones(2), 0)
    with pytest.raises(ValueError, match=r"chunk \(=9\) must be at least 1, and at most window \(=8\)"):
        routing.packed(path(), jnp.ones(2), jnp.ones(2, jnp.int32), jnp.ones(2), 9, window=8)
    with pytest.raises(ValueError, match="temperature"):
        routing.sample(jnp.zeros((1, 2)), temperature=0.0)
    store = routing.tile_store(2, tiles(), 1)
    with pytest.raises(ValueError, match=r"chunk \(=0\)"):
        routing.packed_tiles(add_neighbours, compare, store, 0, np.ones(9, bool), np.zeros(9), tiles(), 0)
