"""Weights files: round trip, and files that are refused."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import jaxdyn
from jaxdyn import models, pretrained
from jaxdyn.errors import UserError


@pytest.fixture
def small():
    """A small CAIN and weights for it."""
    model = models.build("cain", num_feat=8, num_group=2, num_block=1, reduction=4)
    random = np.random.RandomState(0)
    draw = lambda leaf: random.randn(*leaf.shape).astype(np.float32)  # noqa: E731
    return model, {"params": jax.tree.map(draw, pretrained.parameter_shapes(model))}


def test_round_trip_keeps_network_values_and_card(small, tmp_path):
    model, variables = small
    path = tmp_path / "w.safetensors"
    pretrained.save(path, model, variables, {"data": "drawn"})
    again, values = jaxdyn.load(path)
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, values, variables)
    assert pretrained.read_metadata(path)["card"] == {"data": "drawn"}
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("skipvsr", {"num_feat": 4, "num_block": 2, "motion": "dis", "tiling": "patches", "tile": 8, "rule": "below"}),
        ("basicvsr", {"num_feat": 4, "num_block": 1, "num_hr": 3}),
        ("spynet", {"num_level": 2, "widths": (3, 4)}),
    ],
)
def test_round_trip_of_fields(name, fields, tmp_path):
    model = models.build(name, **fields)
    variables = {"params": jax.tree.map(lambda leaf: np.ones(leaf.shape), pretrained.parameter_shapes(model))}
    pretrained.save(tmp_path / "w", model, variables, {})
    assert pretrained.read_metadata(tmp_path / "w")["network"] == name
    again, values = pretrained.load(tmp_path / "w")
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, values, variables)


def test_shapes_of_every_kind_of_network():
    """Initialised with two images and flow, one image, two images, a clip."""
    small = {"num_feat": 4, "num_group": 1, "num_block": 1, "reduction": 2}
    for model, parts in (
        (models.build("cain_sd", **small, motion="dis", is_aligned=True), {"cain", "scale_net", "depth_net"}),
        (models.build("carn_m", num_feat=4), {"entry", "exit", "block1", "fusion1", "up2"}),
        (models.build("spynet", num_level=1), {"level0"}),
        (models.build("skipvsr", num_feat=4), {"flow", "forward", "backward", "gate_forward", "fusion"}),
        (models.build("skipvsr", num_feat=4, motion="dis"), {"forward", "gate_backward", "conv_last"}),
    ):
        shapes = pretrained.parameter_shapes(model)
        assert parts <= set(shapes)
        assert ("flow" in shapes) == ("flow" in parts)


def test_half_precision_is_half_the_size_and_near(small, tmp_path):
    model, variables = small
    pretrained.save(tmp_path / "full", model, variables, {})
    pretrained.save(tmp_path / "half", model, variables, {}, np.float16)
    assert (tmp_path / "half").stat().st_size < 0.6 * (tmp_path / "full").stat().st_size
    _, values = pretrained.load(tmp_path / "half")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), values, variables)


def test_what_is_refused(small, tmp_path):
    model, variables = small
    with pytest.raises(UserError, match="no such weights file"):
        pretrained.load(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="not a weights file"):
        pretrained.load(tmp_path / "text")
    save_file({"a": np.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(UserError, match="jaxdyn convert"):
        pretrained.load(tmp_path / "foreign")
    broken = jax.tree.map(np.copy, variables)
    broken["params"]["tail"]["bias"][3] = np.nan
    with pytest.raises(ValueError, match="tail/bias is not finite"):
        pretrained.save(tmp_path / "nan", model, broken, {})
    assert not (tmp_path / "nan").exists()
    other = {"params": {**variables["params"], "more": {"x": np.zeros(2, np.float32)}}}
    pretrained.save(tmp_path / "extra", model, other, {})
    with pytest.raises(UserError, match="unknown more/x"):
        pretrained.load(tmp_path / "extra")
    pretrained.save(tmp_path / "shape", model.clone(num_feat=16), variables, {})
    with pytest.raises(UserError, match="the network needs"):
        pretrained.load(tmp_path / "shape")


def test_shipped_weights_load_fit_and_tell_where_they_come_from():
    files = pretrained.shipped()
    assert sum(path.stat().st_size for path in files.values()) <= 16e6
    for name, path in files.items():
        model, variables = jaxdyn.load(name)
        assert sum(leaf.size for leaf in jax.tree.leaves(variables)) > 0
        assert isinstance(model, tuple(models.modules().values()))
        card = pretrained.read_metadata(path)["card"]
        assert {"data", "licence", "command", "scores", "limits"} <= set(card)
