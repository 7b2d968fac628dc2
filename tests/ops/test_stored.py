"""A stored value is the same value, has the same gradient, and counts nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn import flops
from jaxdyn.ops.stored import stored


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(1, 4, 5, 3), (2, 7, 1), (6, 28)])
def test_values_are_the_same_to_the_bit(random, shape, dtype):
    x = jnp.asarray(random.normal(size=shape) * 10.0 ** random.randint(-6, 6, shape), dtype)
    for kept in (stored(x), jax.jit(stored)(x)):
        assert kept.dtype == x.dtype
        np.testing.assert_array_equal(kept, x)


def test_the_gradient_passes(random):
    x, slope = (jnp.asarray(random.normal(size=(2, 3, 4)), jnp.float32) for _ in range(2))
    np.testing.assert_array_equal(jax.grad(lambda x: (slope * stored(x)).sum())(x), slope)


def test_it_is_a_product_on_a_cpu_and_nothing_in_a_cost_analysis():
    x = jnp.zeros((8, 4))
    compiled = jax.jit(stored).lower(x).compile().as_text()
    assert " dot(" in compiled
    assert flops.measure("stored", stored, x).flops == 0
