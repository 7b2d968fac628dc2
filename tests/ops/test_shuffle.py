"""Pixel shuffle against its defining equation, written as loops."""

import jax
import numpy as np
import pytest

from jaxdyn.ops import shuffle


@pytest.mark.parametrize("factor", [1, 2, 3, 8])
def test_follows_its_equation(random, factor):
    x = random.rand(2, 3, 4, 2 * factor**2).astype(np.float32)
    expected = np.zeros((2, 3 * factor, 4 * factor, 2), np.float32)
    for i, j, c, dy, dx in np.ndindex(3, 4, 2, factor, factor):
        expected[:, factor * i + dy, factor * j + dx, c] = x[:, i, j, c * factor**2 + dy * factor + dx]
    np.testing.assert_array_equal(shuffle.pixel_shuffle(x, factor), expected)
    np.testing.assert_array_equal(shuffle.pixel_unshuffle(expected, factor), x)


@pytest.mark.parametrize("shape", [(5, 7, 12), (2, 1, 3, 4, 36)])
def test_round_trip_with_any_leading_axes(random, shape):
    x = random.rand(*shape).astype(np.float32)
    factor = 2 if shape[-1] == 12 else 3
    large = jax.jit(shuffle.pixel_shuffle, static_argnums=1)(x, factor)
    assert large.shape == (*shape[:-3], shape[-3] * factor, shape[-2] * factor, shape[-1] // factor**2)
    np.testing.assert_array_equal(shuffle.pixel_unshuffle(large, factor), x)


@pytest.mark.parametrize(
    ("operation", "shape", "factor", "message"),
    [
        (shuffle.pixel_shuffle, (1, 2, 2, 6), 2, r"channels divisible by 4.*\(1, 2, 2, 6\)"),
        (shuffle.pixel_unshuffle, (1, 5, 8, 3), 4, r"divisible by 4.*\(1, 5, 8, 3\); pad it"),
        (shuffle.pixel_unshuffle, (8, 8), 2, r"\[..., H, W, C\], got shape \(8, 8\)"),
        (shuffle.pixel_shuffle, (1, 2, 2, 4), 0, "positive integer, got 0"),
    ],
)
def test_errors_name_what_came(operation, shape, factor, message):
    with pytest.raises(ValueError, match=message):
        operation(np.zeros(shape, np.float32), factor)
