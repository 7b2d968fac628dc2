"""The warp against reference outputs and a slow loop over its equation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn.ops import warp


def sample_slowly(image, coords, padding):
    """The sampling equation, pixel by pixel."""
    _, height, width, channels = image.shape
    out = np.zeros((*coords.shape[:3], channels))
    for b, i, j in np.ndindex(*coords.shape[:3]):
        x, y = coords[b, i, j].astype(np.float64)
        if padding == "border":
            x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
        for v, u in np.ndindex(height, width):
            out[b, i, j] += image[b, v, u] * max(0, 1 - abs(x - u)) * max(0, 1 - abs(y - v))
    return out


def test_parity(shared):
    reference = np.load(shared / "parity" / "warp.npz")
    for padding in ("zeros", "border"):
        result = warp.backward_warp(reference["image"], reference["flow"], padding)
        expected = reference[padding]
        np.testing.assert_allclose(result, expected, atol=1e-4 * np.ptp(expected), err_msg=padding)


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("size", [(5, 7), (1, 1), (1, 6)])
def test_sample_is_the_naive_loop(random, padding, size):
    image = random.rand(2, *size, 3).astype(np.float32)
    coords = random.uniform(-3, 9, (2, 6, 4, 2)).astype(np.float32)
    coords[0, :3] = coords[0, :3].round()  # whole pixels, edges among them
    result = jax.jit(warp.sample, static_argnums=2)(image, coords, padding)
    np.testing.assert_allclose(result, sample_slowly(image, coords, padding), atol=1e-5)


def test_warp_by_flow_to_b_looks_like_a(random):
    """A picture b that is a moved by (+2, +1) px: the flow from a to b is (2, 1), and warping b by it gives a."""
    a = random.rand(1, 12, 14, 3).astype(np.float32)
    b = np.roll(a, (1, 2), axis=(1, 2))
    flow = np.broadcast_to(np.float32([2, 1]), (1, 12, 14, 2))
    np.testing.assert_array_equal(warp.backward_warp(b, flow)[:, :-1, :-2], a[:, :-1, :-2])


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_zero_flow_is_the_identity_and_far_is_the_padding(random, padding):
    image = random.rand(1, 4, 5, 2).astype(np.float32)
    np.testing.assert_array_equal(warp.backward_warp(image, np.zeros((1, 4, 5, 2), np.float32), padding), image)
    for far in (1e3, 1e9, 1e30):
        result = warp.backward_warp(image, np.full((1, 4, 5, 2), far, np.float32), padding)
        corner = image[:, -1:, -1:] if padding == "border" else np.zeros(2)
        np.testing.assert_array_equal(result, np.broadcast_to(corner, image.shape))


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_gradients_match_finite_differences(random, padding):
    image = random.rand(1, 6, 6, 2).astype(np.float32)
    flow = random.uniform(-1.5, 1.5, (1, 6, 6, 2)).astype(np.float32)
    flow = np.floor(flow) + np.clip(flow - np.floor(flow), 0.1, 0.9)  # away from the kinks at whole pixels
    target = random.rand(1, 6, 6, 2).astype(np.float32)

    def loss(image, flow):
        return jnp.sum((warp.backward_warp(image, flow, padding) - target) ** 2)

    step = 1e-2
    for argument, gradient in enumerate(jax.grad(loss, (0, 1))(image, flow)):
        direction = random.standard_normal(gradient.shape).astype(np.float32)
        ends = []
        for sign in (step, -step):
            moved = [image, flow]
            moved[argument] = moved[argument] + sign * direction * (0.2 if argument else 1)
            ends.append(float(loss(*moved)))
        slope = (ends[0] - ends[1]) / (2 * step * (0.2 if argument else 1))
        np.testing.assert_allclose(np.vdot(gradient, direction), slope, rtol=2e-2, atol=2e-2)


def test_flow_that_is_not_a_number_does_not_escape(random):
    """A bad flow vector spoils its own pixel only."""
    image = random.rand(1, 4, 4, 1).astype(np.float32)
    flow = np.zeros((1, 4, 4, 2), np.float32)
    flow[0, 1, 2] = np.nan
    result = np.asarray(warp.backward_warp(image, flow))
    assert np.isnan(result[0, 1, 2]).all()
    assert np.isnan(result).sum() == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, f: warp.backward_warp(x, f, "mirror"), "got 'mirror'"),
        (lambda x, f: warp.backward_warp(x, f[:, :2]), r"resize the flow"),
        (lambda x, f: warp.backward_warp(x[0], f), r"got flow \(1, 4, 4, 2\) and image \(4, 4, 3\)"),
        (lambda x, f: warp.sample(x, f[..., :1]), r"\[B=1, h, w, 2\]"),
        (lambda x, f: warp.sample(x[0], f), r"image must be \[B, H, W, C\]"),
    ],
)
def test_errors_name_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.zeros((1, 4, 4, 3), np.float32), np.zeros((1, 4, 4, 2), np.float32))
