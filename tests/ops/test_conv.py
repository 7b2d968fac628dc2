"""Convolution against XLA's own and against a loop, with the gradient inside and outside of scans."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn.ops import conv


def reference(x, kernel, stride, padding, dilation, groups):
    """XLA's convolution on an image padded by hand."""
    reach = 0 if padding == "valid" else dilation * (kernel.shape[0] // 2)
    rows = 0 if padding == "sides" else reach
    x = jnp.pad(
        x, ((0, 0), (rows, rows), (reach, reach), (0, 0)), mode="reflect" if padding == "reflect" else "constant"
    )
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "VALID",
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def assert_same(ours, wanted, x, kernel, random, **tolerance):
    """Two functions of an image and a kernel give the same values and gradients, each compiled as a whole."""
    seed = random.randn(*jax.eval_shape(wanted, x, kernel).shape).astype(np.float32)

    def run(function):
        def value_and_gradients(x, kernel, seed):
            value, pull = jax.vjp(function, x, kernel)
            return value, pull(seed)

        return jax.jit(value_and_gradients)(x, kernel, seed)

    (got, gradients), (expected, expected_gradients) = run(ours), run(wanted)
    np.testing.assert_allclose(got, expected, **tolerance)
    for gradient, right in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, right, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation", "groups"),
    [
        (3, 1, "zero", 1, 1),
        (3, 1, "reflect", 1, 1),
        (3, 2, "zero", 1, 1),
        (3, 2, "reflect", 1, 2),
        (3, 1, "zero", 4, 1),
        (3, 1, "reflect", 2, 1),
        (7, 1, "valid", 1, 1),
        (1, 1, "zero", 1, 1),
        (1, 1, "zero", 1, 4),
        (4, 2, "valid", 1, 1),
        (3, 1, "sides", 1, 1),
    ],
)
@pytest.mark.parametrize("num_out", [8, 12])  # few and many have a kernel's gradient of their own
def test_values_and_gradients_equal_xla(random, size, stride, padding, dilation, groups, num_out):
    x = jnp.asarray(random.randn(2, 25, 22, 4), jnp.float32)
    kernel = jnp.asarray(random.randn(size, size, 4 // groups, num_out), jnp.float32)

    def ours(x, kernel):
        return conv.conv2d(x, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)

    def wanted(x, kernel):
        return reference(x, kernel, stride, padding, dilation, groups)

    assert_same(ours, wanted, x, kernel, random, atol=1e-4)
    with conv.analysed():
        np.testing.assert_allclose(jax.jit(ours)(x, kernel), jax.jit(wanted)(x, kernel), atol=1e-4)


@pytest.mark.parametrize("is_slow", [True, False])  # whether Eigen is asked for
@pytest.mark.parametrize("padding", ["zero", "reflect", "valid", "sides"])
@pytest.mark.parametrize(
    ("size", "fan", "num_out", "width", "dilation"),
    [
        (3, 16, 16, 8, 1),  # cells of two columns
        (3, 16, 3, 8, 1),  # of four
        (3, 16, 3, 10, 1),  # which do not fit
        (3, 5, 40, 9, 1),
        (3, 5, 40, 9, 2),
        (7, 5, 40, 9, 1),
    ],
)
def test_forms_for_cpus_equal_xla(random, monkeypatch, is_slow, padding, size, fan, num_out, width, dilation):
    monkeypatch.setattr(conv, "IS_YNNPACK_SLOW", is_slow)
    x = jnp.asarray(random.randn(2, 11, width, fan), jnp.float32)
    kernel = jnp.asarray(random.randn(size, size, fan, num_out), jnp.float32)

    def ours(x, kernel):
        return conv.conv2d(x, kernel, padding=padding, dilation=dilation)

    def wanted(x, kernel):
        return reference(x, kernel, 1, padding, dilation, 1)

    assert_same(ours, wanted, x, kernel, random, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", ["zero", "reflect", "valid", "sides"])
@pytest.mark.parametrize(("height", "width"), [(12, 8), (11, 9), (3, 4), (4, 3)])
def test_winograd_equals_xla(random, monkeypatch, padding, height, width):
    monkeypatch.setattr(conv, "WINOGRAD_CHANNELS", (5, 7))
    monkeypatch.setattr(conv, "WINOGRAD_PIXELS", 2)
    x = jnp.asarray(random.randn(2, height, width, 5), jnp.float32)
    kernel = jnp.asarray(random.randn(3, 3, 5, 7), jnp.float32)

    def ours(x, kernel):
        return conv.conv2d(x, kernel, padding=padding)

    def wanted(x, kernel):
        return reference(x, kernel, 1, padding, 1, 1)

    assert_same(ours, wanted, x, kernel, random, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("shape", "kernel", "options", "is_taken"),
    [
        ((1, 32, 32, 128), (3, 3, 128, 128), {}, True),
        ((1, 32, 32, 256), (3, 3, 256, 128), {"padding": "reflect"}, True),
        ((2, 8, 8, 128), (3, 3, 128, 128), {}, False),  # few pixels
        ((1, 32, 32, 64), (3, 3, 64, 128), {}, False),  # few channels
        ((1, 32, 32, 128), (3, 3, 128, 64), {}, False),
        ((1, 32, 32, 384), (3, 3, 384, 128), {}, False),  # many more in than out
        ((1, 64, 64, 128), (3, 3, 128, 128), {"stride": 2}, False),
        ((1, 32, 32, 128), (3, 3, 128, 128), {"dilation": 2}, False),
        ((1, 32, 32, 128), (1, 1, 128, 128), {}, False),
    ],
)
def test_where_winograd_is_taken(monkeypatch, shape, kernel, options, is_taken):
    taken = []
    monkeypatch.setattr(
        conv, "_winograd", lambda *given, **more: taken.append(1) or conv._plain(*given, **more, stride=1, dilation=1)
    )
    arrays = jnp.zeros(shape), jnp.zeros(kernel)
    jax.eval_shape(lambda *given: conv.conv2d(*given, **options), *arrays)
    assert bool(taken) == is_taken
    with conv.analysed():  # what is counted is the plain form
        taken.clear()
        jax.eval_shape(lambda *given: conv.conv2d(*given, **options), *arrays)
        assert not taken
    half = tuple(array.astype(jnp.bfloat16) for array in arrays)
    jax.eval_shape(lambda *given: conv.conv2d(*given, **options), *half)
    assert not taken


def test_eigen_is_asked_for_by_an_output_larger_than_the_input(monkeypatch):
    monkeypatch.setattr(conv, "IS_YNNPACK_SLOW", True)
    x, kernel = jnp.zeros((1, 8, 8, 4)), jnp.zeros((3, 3, 4, 64))
    assert "f32[1,8,9,64] = conv_general_dilated" in str(jax.make_jaxpr(conv.conv2d)(x, kernel))
    few = jnp.zeros((3, 3, 4, 24))
    assert "f32[1,8,9,24]" not in str(jax.make_jaxpr(conv.conv2d)(x, few))


def test_every_forward_form_agrees_with_a_loop(random):
    kernel = random.randn(3, 3, 2, 3).astype(np.float32)
    for height, width in ((1, 1), (2, 5), (21, 23)):  # edge repeated, small form, form that is cropped
        x = random.randn(1, height, width, 2).astype(np.float32)
        modes = [{"mode": "reflect"} if side > 1 else {"mode": "edge"} for side in (height, width)]
        padded = np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)), **modes[0])
        padded = np.pad(padded, ((0, 0), (0, 0), (1, 1), (0, 0)), **modes[1])
        expected = np.zeros((1, height, width, 3), np.float32)
        for i in range(height):
            for j in range(width):
                expected[0, i, j] = np.einsum("ijc,ijco->o", padded[0, i : i + 3, j : j + 3], kernel)
        np.testing.assert_allclose(conv.conv2d(jnp.asarray(x), kernel, padding="reflect"), expected, atol=1e-4)


def test_gradient_through_a_scan_equals_the_unrolled_one(random):
    x = jnp.asarray(random.randn(1, 9, 9, 4), jnp.float32)
    kernels = jnp.asarray(random.randn(3, 3, 3, 4, 4) * 0.2, jnp.float32)

    def scanned(kernels):
        y, _ = jax.lax.scan(lambda y, k: (jnp.tanh(conv.conv2d(y, k, padding="reflect")), None), x, kernels)
        return (y**2).sum()

    def unrolled(kernels):
        y = x
        for kernel in kernels:
            y = jnp.tanh(conv.conv2d(y, kernel, padding="reflect"))
        return (y**2).sum()

    np.testing.assert_allclose(jax.grad(scanned)(kernels), jax.grad(unrolled)(kernels), rtol=1e-4, atol=1e-5)


def test_default_initialisation_is_pytorchs(random):
    x = jnp.asarray(random.randn(1, 8, 8, 16), jnp.float32)
    params = conv.Conv(32, groups=2).init(jax.random.key(0), x)["params"]
    bound = 1 / np.sqrt(9 * 8)
    assert params["kernel"].shape == (3, 3, 8, 32)
    for leaf in jax.tree.leaves(params):
        assert 0.9 * bound < np.abs(leaf).max() <= bound
    assert not jax.tree.leaves(conv.Conv(4, initializer="kaiming").init(jax.random.key(0), x)["params"]["bias"])[
        0
    ].any()


def test_errors_name_value_and_remedy():
    x, kernel = jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 2, 4))
    with pytest.raises(ValueError, match=r"x \(shape \(1, 4, 4, 3\)\) must be \[B, H, W, 2\]"):
        conv.conv2d(x, kernel)
    with pytest.raises(ValueError, match="divisible by groups"):
        conv.conv2d(jnp.zeros((1, 4, 4, 6)), kernel[..., :2], groups=3)
    with pytest.raises(ValueError, match="padding"):
        conv.conv2d(jnp.zeros((1, 4, 4, 2)), kernel, padding="same")
