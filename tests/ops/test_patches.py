"""The grid of patches: it covers, it comes back whole, and its weights sum to one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxdyn.ops import patches

sides = st.integers(1, 70)


@settings(deadline=None, max_examples=12)
@given(height=sides, width=sides, patch=st.integers(8, 32), gap=st.integers(0, 6))
@example(height=5, width=3, patch=1, gap=0)
def test_merge_undoes_split_at_any_size(height, width, patch, gap):
    grid = patches.grid(height, width, patch, max(1, patch - gap))
    frame = np.random.RandomState(height * width).rand(2, height, width, 3).astype(np.float32)
    pieces = jax.jit(lambda frame: patches.split(frame, grid))(frame)
    assert pieces.shape == (2, *grid.shape, *grid.patch, 3)
    np.testing.assert_allclose(jax.jit(lambda pieces: patches.merge(pieces, grid))(pieces), frame, atol=1e-5)


def test_split_and_merge_equal_a_loop(random):
    grid = patches.grid(50, 33, 16, 12)
    assert grid.rows == (0, 12, 24, 34)  # the last one shifted inward
    assert grid.columns == (0, 12, 17)
    frame = random.rand(1, 50, 33, 2).astype(np.float32)
    pieces = np.array(patches.split(frame, grid))
    for i, y in enumerate(grid.rows):
        for j, x in enumerate(grid.columns):
            np.testing.assert_array_equal(pieces[0, i, j], frame[0, y : y + 16, x : x + 16])

    pieces = random.rand(*pieces.shape).astype(np.float32)  # patches that disagree
    total = np.zeros((50, 33, 2))
    row_weights, column_weights = patches.ramps(grid.rows, 16), patches.ramps(grid.columns, 16)
    for i, y in enumerate(grid.rows):
        for j, x in enumerate(grid.columns):
            weight = np.outer(row_weights[i], column_weights[j])[..., None]
            total[y : y + 16, x : x + 16] += weight * pieces[0, i, j]
    np.testing.assert_allclose(patches.merge(jnp.asarray(pieces), grid)[0], total, atol=1e-5)


def test_a_ramp_is_linear_over_the_overlap():
    first, second = patches.ramps((0, 6), 8)  # two pieces of 8, two pixels shared
    np.testing.assert_allclose(first, [1, 1, 1, 1, 1, 1, 0.75, 0.25])
    np.testing.assert_allclose(second, [0.25, 0.75, 1, 1, 1, 1, 1, 1])


def test_a_small_frame_is_one_patch():
    grid = patches.grid(2, 300, 256, 240)
    assert grid.patch == (2, 256)
    assert grid.shape == (1, 2)


def test_pad_to_reflects_and_replicates_where_it_cannot():
    row = jnp.arange(5.0).reshape(1, 1, 5, 1)
    padded, offset = patches.pad_to(row, 8)
    np.testing.assert_array_equal(padded[0, 0, :, 0], [0, 1, 2, 3, 4, 3, 2, 1])
    assert padded.shape == (1, 8, 8, 1)  # one row, repeated
    assert offset == (0, 0)
    centred, offset = patches.pad_to(row, 8, is_centred=True)
    np.testing.assert_array_equal(centred[0, 0, :, 0], [1, 0, 1, 2, 3, 4, 3, 2])
    assert offset == (3, 1)


def test_area_weights_average_each_patchs_own_stretch():
    weights = patches.area_weights(4, (0, 6), 8, 16)  # 4 samples of 4 px; patches cover px 0..8 and 6..14
    np.testing.assert_allclose(weights, [[0.5, 0.5, 0, 0], [0, 2 / 8, 4 / 8, 2 / 8]])


def test_errors_say_what_would_be_lost():
    with pytest.raises(ValueError, match="pixels between patches are lost"):
        patches.grid(10, 10, 4, 5)
    with pytest.raises(ValueError, match="empty"):
        patches.grid(0, 10, 4, 4)
    grid = patches.grid(10, 10, 4, 4)
    with pytest.raises(ValueError, match="does not fit a grid"):
        patches.split(jnp.zeros((1, 11, 10, 3)), grid)
    with pytest.raises(ValueError, match="do not fit a grid"):
        patches.merge(jnp.zeros((1, 2, 3, 4, 4, 3)), grid)
