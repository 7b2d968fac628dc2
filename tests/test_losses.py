"""Losses by their equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn import losses


def test_l1_is_a_mean():
    output, target = jnp.zeros((2, 3, 4)), jnp.array([1.0, -2.0, 3.0, 0.0])
    np.testing.assert_allclose(losses.l1(output, jnp.broadcast_to(target, output.shape)), 1.5)


def test_charbonnier_is_smooth_at_zero_and_l1_far_away(random):
    target = random.standard_normal((5, 7)).astype(np.float32)
    zero = jnp.asarray(target)
    np.testing.assert_allclose(losses.charbonnier(zero, target), losses.EPSILON, rtol=1e-5)
    np.testing.assert_array_equal(jax.grad(losses.charbonnier)(zero, target), 0)
    np.testing.assert_allclose(losses.charbonnier(zero + 2, target), losses.l1(zero + 2, target), rtol=1e-6)
    np.testing.assert_allclose(losses.charbonnier(zero + 0.3, target, epsilon=0.4), 0.5, rtol=1e-5)


@pytest.mark.parametrize("loss", [losses.l1, losses.charbonnier])
def test_shapes_must_agree(loss):
    with pytest.raises(ValueError, match=r"output \(2, 3\) and target \(3,\) must have one shape"):
        loss(jnp.zeros((2, 3)), jnp.zeros(3))


def test_attention_maps_by_equation_10(random):
    features = random.standard_normal((2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(losses.attention_map(features, "sum"), np.abs(features).sum(-1), rtol=1e-6)
    np.testing.assert_allclose(losses.attention_map(features), (features**2).sum(-1), rtol=1e-6)
    np.testing.assert_allclose(losses.attention_map(features, "max2"), (features**2).max(-1), rtol=1e-6)
    with pytest.raises(ValueError, match=r"kind \(='mean'\) must be one of 'sum', 'sum2', 'max2'"):
        losses.attention_map(features, "mean")
