"""SpyNet against reference outputs, its published size, its units, and any size of image."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn import convert, models, pretrained
from jaxdyn.models.spynet import SpyNet


@pytest.fixture(scope="module")
def small():
    """A small network with drawn parameters: drawing them here spares the compilation of `init`."""
    model, numbers = models.build("spynet", num_level=3, widths=(6, 5)), np.random.RandomState(0)

    def draw(leaf):
        reach = 0.3 if len(leaf.shape) == 1 else 1.5 / np.sqrt(np.prod(leaf.shape[:-1]))
        return jnp.asarray(numbers.uniform(-reach, reach, leaf.shape), jnp.float32)

    return model, {"params": jax.tree.map(draw, pretrained.parameter_shapes(model))}


@pytest.mark.parametrize("name", ["spynet", "spynet_odd"])
def test_parity(shared, monkeypatch, name):
    monkeypatch.syspath_prepend(shared / "parity")
    state_dict = __import__("reference_weights").state_dict("spynet")
    sys.modules.pop("reference_weights")
    reference = np.load(shared / "parity" / f"{name}.npz")
    ref, supp = (reference[key][None] / np.float32(255) for key in ("ref", "supp"))
    model, variables = models.build("spynet"), convert.from_torch("spynet", state_dict)
    flow, aux = jax.jit(model.apply)(variables, ref, supp)
    np.testing.assert_allclose(flow, reference["flow"], atol=1e-3)  # px
    np.testing.assert_allclose(flow, reference["flow"], atol=1e-4 * np.ptp(reference["flow"]))
    assert len(aux["flows"]) == 6


def test_has_the_published_size():
    shapes = pretrained.parameter_shapes(models.build("spynet"))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 1_440_300
    assert all(sum(leaf.size for leaf in jax.tree.leaves(level)) == 240_050 for level in shapes.values())


@pytest.mark.parametrize("size", [(13, 22), (2, 3), (1, 1)])
@pytest.mark.parametrize("level", [0, 2])
def test_any_size_and_units(small, size, level):
    """One level finds (1, 2) px everywhere, the others nothing: px of its grid, then px of the image."""
    model, variables = small

    def last(name, at):
        bias = jnp.array([1.0, 2.0]) if name == f"level{level}" else jnp.zeros(2)
        return {**at, "conv2": {"kernel": jnp.zeros_like(at["conv2"]["kernel"]), "bias": bias}}

    params = {name: last(name, at) for name, at in variables["params"].items()}
    image = np.random.RandomState(1).rand(1, *size, 3).astype(np.float32)
    flow, aux = jax.jit(model.apply)({"params": params}, image, image)
    assert flow.shape == (1, *size, 2)
    height, width = (-(-side // 4) * 4 for side in size)  # brought to multiples of 4 for three levels
    assert [f.shape for f in aux["flows"]] == [(1, height // n, width // n, 2) for n in (4, 2, 1)]
    factor = 2 ** (2 - level)
    np.testing.assert_allclose(flow[..., 0], factor * size[1] / width, rtol=1e-5)
    np.testing.assert_allclose(flow[..., 1], 2 * factor * size[0] / height, rtol=1e-5)


def test_the_published_depth_takes_the_smallest_images(random):
    model = models.build("spynet", widths=(4,))
    draw = lambda leaf: jnp.asarray(0.05 * random.standard_normal(leaf.shape), jnp.float32)  # noqa: E731
    variables = {"params": jax.tree.map(draw, pretrained.parameter_shapes(model))}
    for size in ((1, 1), (2, 3), (31, 33)):
        ref, supp = random.rand(2, 1, *size, 3).astype(np.float32)
        flow, aux = jax.jit(model.apply)(variables, ref, supp)
        assert flow.shape == (1, *size, 2)
        assert np.isfinite(flow).all()
        assert aux["flows"][0].shape == (1, 1, -(-size[1] // 32), 2)


def test_a_batch_is_its_images_one_by_one(small, random):
    model, variables = small
    ref, supp = random.rand(2, 2, 9, 14, 3).astype(np.float32)
    apply = jax.jit(model.apply)
    flow, _ = apply(variables, ref, supp)
    assert np.ptp(flow) > 0.1
    for b in range(2):
        np.testing.assert_allclose(flow[b : b + 1], apply(variables, ref[b : b + 1], supp[b : b + 1])[0], atol=1e-4)


def test_gradients_are_finite_and_reach_everything(small, random):
    model, variables = small
    images = jnp.asarray(random.rand(2, 1, 9, 10, 3), jnp.float32)

    @jax.jit
    def gradients(variables, images):
        return jax.grad(lambda v, i: jnp.square(model.apply(v, *i)[0]).mean(), argnums=(0, 1))(variables, images)

    found = gradients(variables, images)
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf), path
    assert all(np.any(image) for image in found[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, v: m.apply(v, jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 8, 9, 3))), r"\(1, 8, 8, 3\).*\(1, 8, 9, 3\)"),
        (lambda m, v: m.apply(v, *[jnp.zeros((8, 8, 3))] * 2), r"\[B, H, W, 3\]"),
        (lambda m, v: m.apply(v, *[jnp.zeros((1, 8, 8, 3), jnp.uint8)] * 2), "divide 8-bit images by 255"),
        (lambda m, v: SpyNet(num_level=0).apply(v, *[jnp.zeros((1, 8, 8, 3))] * 2), r"num_level \(=0\)"),
    ],
)
def test_errors_name_what_came(small, call, message):
    with pytest.raises(ValueError, match=message):
        call(*small)
