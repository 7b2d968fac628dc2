"""CAIN against the reference outputs, its exits, and its errors."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn import convert, models
from jaxdyn.models import cain


@pytest.fixture(scope="module")
def small():
    """A small CAIN: the module and its variables."""
    model = models.build("cain", num_feat=8, num_group=2, num_block=1, reduction=4)
    image = jnp.zeros((1, 8, 8, 3))
    return model, jax.jit(model.init)(jax.random.key(0), image, image)


def reference_weights(shared, network):
    """The reference state_dict that `shared` can make."""
    sys.path.insert(0, str(shared / "parity"))
    try:
        import reference_weights
    finally:
        sys.path.pop(0)
    return reference_weights.state_dict(network)


def test_parity_at_published_size(shared):
    variables = convert.from_torch("cain", reference_weights(shared, "cain"))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 42_780_432
    apply = jax.jit(models.build("cain").apply)
    for name in ("cain", "cain_odd"):
        data = np.load(shared / "parity" / f"{name}.npz")
        output, aux = apply(variables, *(data[key].astype(np.float32)[None] / 255 for key in ("frame0", "frame1")))
        expected = data["output"] if "output" in data else data["output_strided"]
        output = np.asarray(output[0]) if "output" in data else np.asarray(output[0])[1::2, ::2]
        np.testing.assert_allclose(output, expected.reshape(output.shape), atol=1e-4 * np.ptp(expected))
        if "group_means" in data:
            means = np.stack([np.asarray(group).mean(axis=(0, 1, 2)) for group in aux["groups"]])
            np.testing.assert_allclose(means, data["group_means"], atol=1e-4 * np.ptp(data["group_means"]))


def test_attention_block_equals_a_plain_one(small, random):
    _, variables = small
    params = jax.tree.map(
        lambda leaf: leaf[0, 0], {k: v for k, v in variables["params"]["body"].items() if k != "conv"}
    )
    x = random.randn(2, 5, 4, 8).astype(np.float32)

    def convolve(x, layer):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        out = np.zeros_like(x)
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                out[:, i, j] = (
                    np.einsum("bijc,ijco->bo", padded[:, i : i + 3, j : j + 3], layer["kernel"]) + layer["bias"]
                )
        return out

    y = convolve(x, params["conv1"])
    y = convolve(np.where(y > 0, y, 0.2 * y), params["conv2"])
    squeezed = np.maximum(y.mean((1, 2)) @ params["squeeze"]["kernel"] + params["squeeze"]["bias"], 0)
    attention = 1 / (1 + np.exp(-(squeezed @ params["excite"]["kernel"] + params["excite"]["bias"])))
    np.testing.assert_allclose(cain.attention_block(params, x), x + y * attention[:, None, None], atol=1e-5)


def test_exits_share_the_trunk_and_the_last_is_the_output(small, random):
    model, variables = small
    frames = random.rand(2, 1, 20, 30, 3).astype(np.float32)
    output, aux = jax.jit(model.apply)(variables, *frames)
    assert output.shape == (1, 20, 30, 3)
    assert len(aux["exits"]) == model.num_group
    np.testing.assert_array_equal(output, aux["exits"][-1])
    one = model.clone(num_group=1)
    cut = {"params": {**variables["params"], "body": jax.tree.map(lambda leaf: leaf[:1], variables["params"]["body"])}}
    np.testing.assert_allclose(jax.jit(one.apply)(cut, *frames)[0], aux["exits"][0], atol=1e-6)


def test_gradients_are_finite_and_reach_everything(small, random):
    model, variables = small
    frames = random.rand(2, 1, 16, 16, 3).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda v: jnp.abs(model.apply(v, *frames)[0]).mean()))(variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


def test_errors_name_value_and_remedy(small):
    model, variables = small
    image = jnp.zeros((1, 8, 8, 3))
    with pytest.raises(ValueError, match="drop alpha"):
        model.apply(variables, jnp.zeros((1, 8, 8, 4)), image)
    with pytest.raises(ValueError, match="divide 8-bit images by 255"):
        model.apply(variables, image.astype(jnp.uint8), image)
    with pytest.raises(ValueError, match="resize them to one size"):
        model.apply(variables, image, jnp.zeros((1, 8, 9, 3)))
    with pytest.raises(ValueError, match="must be one of"):
        models.build("dain")
    with pytest.raises(TypeError, match="num_features"):
        models.build("cain", num_features=3)
