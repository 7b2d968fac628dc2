"""CARN-M against reference outputs, its published size, and what a super-resolution network must do."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn import convert, models
from jaxdyn.models import carn
from jaxdyn.ops.conv import conv2d


@pytest.fixture(scope="module")
def small():
    """A small network with drawn parameters: drawing them here spares the compilation of `init`."""
    model, numbers = carn.CARNM(num_feat=8, groups=2), np.random.RandomState(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    return model, jax.tree.map(lambda leaf: jnp.asarray(numbers.uniform(-0.3, 0.3, leaf.shape), jnp.float32), shapes)


def test_parity(shared, monkeypatch):
    monkeypatch.syspath_prepend(shared / "parity")
    state_dict = __import__("reference_weights").state_dict("carn_m")
    sys.modules.pop("reference_weights")
    reference = np.load(shared / "parity" / "carn_m.npz")
    image = reference["input"][None] / np.float32(255)
    model, variables = models.build("carn_m"), convert.from_torch("carn_m", state_dict)
    for scale, key in ((2, "x2"), (3, "x3_strided"), (4, "x4_strided")):
        output = np.asarray(model.apply(variables, image, scale)[0])
        assert output.shape == (1, scale * image.shape[1], scale * image.shape[2], 3)
        output = output[:, 1::2, ::2] if key.endswith("strided") else output
        np.testing.assert_allclose(output, reference[key], atol=1e-4 * np.ptp(reference[key]), err_msg=key)


def test_has_the_published_size():
    shapes = jax.eval_shape(models.build("carn_m").init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    mean_shift = 2 * (3 * 3 + 3)  # two 1 x 1 convolutions from RGB to RGB in the published network, constants here
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) + mean_shift == 414_811


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_any_size_any_scale_and_finite_gradients(small, random, scale):
    model, variables = small
    image = random.rand(2, 7, 5, 3).astype(np.float32)

    @jax.jit
    def loss(variables, image):
        output, aux = model.apply(variables, image, scale)
        assert aux["features"].shape == (2, 7, 5, 8)
        return jnp.mean(output**2), output.shape

    (value, shape), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(variables, image)
    assert shape == (2, 7 * scale, 5 * scale, 3)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    trained = {path for path, leaf in jax.tree_util.tree_leaves_with_path(gradients[0]) if np.any(leaf)}
    names = {jax.tree_util.keystr(path, simple=True, separator="/").split("/")[1] for path in trained}
    ups = {2: {"up2"}, 3: {"up3"}, 4: {"up4_first", "up4_second"}}[scale]
    assert {name for name in names if name.startswith("up")} == ups  # the other scales are untouched


def test_blocks_are_run_three_times_with_the_same_weights(small, random):
    """The cascade of the paper, written out with concatenation and one convolution call each."""
    _, variables = small
    params = variables["params"]["block1"]
    x = random.rand(1, 6, 6, 8).astype(np.float32)

    def residual(y):
        p = params["residual"]
        z = jax.nn.relu(conv2d(y, p["conv1"]["kernel"], p["conv1"]["bias"], groups=2))
        z = jax.nn.relu(conv2d(z, p["conv2"]["kernel"], p["conv2"]["bias"], groups=2))
        return jax.nn.relu(conv2d(z, p["conv3"]["kernel"], p["conv3"]["bias"]) + y)

    cascaded = out = x
    for k in (1, 2, 3):
        cascaded = jnp.concatenate([cascaded, residual(out)], axis=-1)
        out = jax.nn.relu(conv2d(cascaded, params[f"fusion{k}"]["kernel"], params[f"fusion{k}"]["bias"]))
    result = carn.CascadingBlock(8, 2).apply({"params": params}, x)
    np.testing.assert_allclose(result, out, atol=1e-6)


def test_output_is_not_clamped_and_bias_is_the_mean(small):
    """With all parameters zero the output is the mean colour, whatever the input."""
    model, variables = small
    zero = jax.tree.map(jnp.zeros_like, variables)
    output, _ = model.apply(zero, jnp.full((1, 4, 4, 3), 0.9))
    np.testing.assert_allclose(output, np.broadcast_to(carn.RGB_MEAN, output.shape), atol=1e-7)
    zero["params"]["exit"]["bias"] = jnp.full(3, 5.0)
    assert model.apply(zero, jnp.zeros((1, 4, 4, 3)))[0].min() > 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, v: m.apply(v, jnp.zeros((1, 8, 8, 3)), 5), r"scale must be one of \(2, 3, 4\), got 5"),
        (lambda m, v: m.apply(v, jnp.zeros((8, 8, 3))), r"\[B, H, W, 3\], got shape \(8, 8, 3\)"),
        (
            lambda m, v: carn.CARNM(10).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))),
            r"num_feat \(=10\).*groups \(=4\)",
        ),
    ],
)
def test_errors_name_what_came(small, call, message):
    with pytest.raises(ValueError, match=message):
        call(*small)
