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


def test_errors():
    with pytest.raises(ValueError, match=r"chunk \(=0\)"):
        routing.packed(lambda x, level: x, jnp.ones(2), jnp.ones(2, jnp.int32), jnp.ones(2), 0)
    with pytest.raises(ValueError, match="temperature"):
        routing.sample(jnp.zeros((1, 2)), temperature=0.0)
