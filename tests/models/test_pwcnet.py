"""PWC-Net against reference outputs, its published size, and slow forms of its parts."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxdyn import convert, models
from jaxdyn.models import pwcnet
from jaxdyn.ops.warp import backward_warp

SMALL = {"widths": (4, 4, 6, 6, 8, 8), "decoder": (8, 6, 6, 4, 4), "context": (8, 8, 6, 6, 4, 4), "radius": 1}


@pytest.fixture(scope="module")
def small():
    """A small network with drawn parameters: drawing them here spares the compilation of `init`."""
    model, numbers = pwcnet.PWCNet(**SMALL), np.random.RandomState(0)
    frame = jnp.zeros((1, 64, 64, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), frame, frame)
    return model, jax.tree.map(lambda leaf: jnp.asarray(numbers.uniform(-0.2, 0.2, leaf.shape), jnp.float32), shapes)


def test_parity(shared, monkeypatch):
    monkeypatch.syspath_prepend(shared / "parity")
    state_dict = __import__("reference_weights").state_dict("pwcnet")
    sys.modules.pop("reference_weights")
    reference = np.load(shared / "parity" / "pwcnet.npz")
    frame0, frame1 = (reference[key][None, ..., ::-1] / np.float32(255) for key in ("frame0", "frame1"))
    model, variables = models.build("pwcnet"), convert.from_torch("pwcnet", state_dict)
    flow, aux = jax.jit(model.apply)(variables, frame0, frame1)
    np.testing.assert_allclose(aux["flow2"] * 20, reference["flow"] * 20, atol=1e-3)  # px
    np.testing.assert_allclose(aux["flow2"], reference["flow"], atol=1e-4 * np.ptp(reference["flow"]))
    assert flow.shape == (1, 64, 128, 2)


def test_has_the_published_size():
    frame = jnp.zeros((1, 64, 64, 3))
    shapes = jax.eval_shape(models.build("pwcnet").init, jax.random.key(0), frame, frame)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 9_374_274


@pytest.mark.parametrize("radius", [1, 3, 4])
@pytest.mark.parametrize("size", [(3, 5), (4, 8), (2, 19), (1, 1)])
def test_cost_volume_is_the_naive_loop(random, size, radius):
    f0, f1 = (random.standard_normal((2, *size, 3)).astype(np.float32) for _ in range(2))
    side = 2 * radius + 1
    expected = np.zeros((2, *size, side**2))
    for i, j, dy, dx in np.ndindex(*size, side, side):
        y, x = i + dy - radius, j + dx - radius
        if 0 <= y < size[0] and 0 <= x < size[1]:
            expected[:, i, j, dy * side + dx] = (f0[:, i, j] * f1[:, y, x]).mean(axis=-1)
    np.testing.assert_allclose(pwcnet.cost_volume(f0, f1, radius), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(5, 4), (1, 1)])
def test_thin_convolutions_are_the_usual_ones(random, size):
    x = random.standard_normal((2, *size, 7)).astype(np.float32)
    thin, up = pwcnet.ThinConv(), pwcnet.ThinUpConv()
    for module, side in ((thin, 3), (up, 4)):
        variables = module.init(jax.random.key(0), x)
        variables["params"]["bias"] = jnp.array([0.5, -1.0])
        kernel = variables["params"]["kernel"]
        assert kernel.shape == (side, side, 7, 2)
        dims = ("NHWC", "HWIO", "NHWC")
        if module is thin:
            expected = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dims)
        else:  # a transposed convolution: zeros between the pixels, and the kernel turned around
            turned = kernel[::-1, ::-1]
            pads = ((2, 2), (2, 2))
            expected = lax.conv_general_dilated(x, turned, (1, 1), pads, lhs_dilation=(2, 2), dimension_numbers=dims)
        np.testing.assert_allclose(module.apply(variables, x), expected + jnp.array([0.5, -1.0]), atol=1e-5)


def test_masked_warp_is_a_warp_of_image_and_ones(random):
    image = random.rand(1, 9, 11, 3).astype(np.float32)
    flow = random.uniform(-4, 4, (1, 9, 11, 2)).astype(np.float32)
    flow[0, :4] = flow[0, :4].round()
    ones = backward_warp(np.ones((1, 9, 11, 1), np.float32), flow)
    expected = np.where(np.asarray(ones) >= 0.9999, backward_warp(image, flow), 0)
    assert 0 < (np.asarray(ones) < 0.9999).mean() < 1
    np.testing.assert_allclose(pwcnet.warp_masked(image, flow), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(50, 77), (2, 2)])
def test_any_size_and_units(small, random, size):
    """The flow has the frame's size; the raw one is in units of 20 px of the enlarged frame, a quarter as large."""
    model, variables = small
    frame0, frame1 = (random.rand(1, *size, 3).astype(np.float32) for _ in range(2))
    apply = jax.jit(model.apply)
    flow, aux = apply(variables, frame0, frame1)
    height, width = (-(-side // 64) * 64 for side in size)
    assert flow.shape == (1, *size, 2)
    assert aux["flow2"].shape == (1, height // 4, width // 4, 2)
    assert aux["flow6"].shape == (1, height // 64, width // 64, 2)
    constant = {
        **variables["params"]["context"],
        "flow": {"kernel": jnp.zeros((3, 3, 4, 2)), "bias": jnp.array([1.0, 2.0])},
    }
    decoder = {
        **variables["params"]["decoder2"],
        "flow": jax.tree.map(jnp.zeros_like, variables["params"]["decoder2"]["flow"]),
    }
    fixed = {"params": {**variables["params"], "context": constant, "decoder2": decoder}}
    flow, _ = apply(fixed, frame0, frame1)  # a raw flow of (1, 2) everywhere
    np.testing.assert_allclose(flow[..., 0], 20 * size[1] / width, rtol=1e-5)
    np.testing.assert_allclose(flow[..., 1], 40 * size[0] / height, rtol=1e-5)


def test_both_ways_is_two_calls(small, random):
    model, variables = small
    frame0, frame1 = (random.rand(2, 64, 70, 3).astype(np.float32) for _ in range(2))
    apply = jax.jit(model.apply, static_argnames="method")
    (flow01, flow10), aux = apply(variables, frame0, frame1, method="both_ways")
    np.testing.assert_allclose(flow01, apply(variables, frame0, frame1)[0], atol=1e-4)
    np.testing.assert_allclose(flow10, apply(variables, frame1, frame0)[0], atol=1e-4)
    assert aux["flow2"].shape[0] == 4


def test_gradients_are_finite_and_reach_everything(small, random):
    model, variables = small
    frame0, frame1 = (random.rand(1, 64, 64, 3).astype(np.float32) for _ in range(2))

    @jax.jit
    def loss(variables):
        flow, aux = model.apply(variables, frame0, frame1)
        return jnp.abs(flow).mean() + sum(jnp.abs(aux[f"flow{level}"]).mean() for level in pwcnet.LEVELS)

    gradients = jax.grad(loss)(variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf), path


def test_starts_with_kaiming_kernels_and_zero_biases():
    features = jnp.zeros((1, 2, 2, 40))
    for module in (pwcnet.ThinUpConv(), pwcnet.ThinConv(), pwcnet.Context((8,) * 6)):
        params = module.init(jax.random.key(1), features)["params"]
        params = params.get("conv0", params)
        kernel = np.asarray(params["kernel"])
        np.testing.assert_allclose(kernel.std(), np.sqrt(2 / np.prod(kernel.shape[:3])), rtol=0.1)
        assert not np.any(params["bias"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, v: m.apply(v, jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 8, 9, 3))), r"\(1, 8, 8, 3\).*\(1, 8, 9, 3\)"),
        (lambda m, v: m.apply(v, jnp.zeros((8, 8, 3)), jnp.zeros((8, 8, 3))), r"\[B, H, W, 3\]"),
        (
            lambda m, v: pwcnet.PWCNet(widths=(4, 4)).apply(v, *[jnp.zeros((1, 8, 8, 3))] * 2),
            r"widths \(=\(4, 4\)\).*6",
        ),
        (lambda m, v: pwcnet.PWCNet(radius=0).apply(v, *[jnp.zeros((1, 8, 8, 3))] * 2), r"radius \(=0\)"),
    ],
)
def test_errors_name_what_came(small, call, message):
    with pytest.raises(ValueError, match=message):
        call(*small)
