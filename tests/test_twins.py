"""The PyTorch twins against the reference outputs, and against our networks with the same weights."""

import jax
import numpy as np
import pytest

from eval import twins
from jaxdyn import convert

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def to_torch(images):
    """[..., H, W, C] -> [..., C, H, W]."""
    return torch.as_tensor(np.moveaxis(np.asarray(images, np.float32), -1, -3))


def run(twin, *images):
    """A twin on channels-last arrays."""
    with torch.inference_mode():
        return np.moveaxis(twin(*map(to_torch, images)).numpy(), -3, -1)


def published(shared, monkeypatch, network, **fields):
    """A twin with the reference weights."""
    monkeypatch.syspath_prepend(shared / "parity")
    import reference_weights

    twin = twins.build(network.removesuffix("_small"), **fields)
    state = {name: value for name, value in twin.state_dict().items() if name.rpartition(".")[2] in ("mean", "std")}
    twins.load(twin, {**state, **reference_weights.state_dict(network)})
    return twin


def redrawn(twin):
    """Its tensors, drawn anew so that no layer is small and no bias is zero; SpyNet's constants stay."""
    random = np.random.RandomState(0)
    tensors = {}
    for name, value in twin.state_dict().items():
        if name.endswith((".weight", ".bias")):
            fan = np.prod(value.shape[1:]) if value.ndim > 1 else 100
            tensors[name] = (random.standard_normal(tuple(value.shape)) / np.sqrt(fan)).astype(np.float32)
        else:
            tensors[name] = value.numpy()
    twins.load(twin, tensors)
    return tensors


def same(found, expected):
    """Equal to 1e-4 of the range."""
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.ptp(expected))


def test_cain_parity(shared, monkeypatch):
    twin = published(shared, monkeypatch, "cain")
    assert sum(p.numel() for p in twin.parameters()) == 42_780_432
    for name in ("cain", "cain_odd"):
        data = np.load(shared / "parity" / f"{name}.npz")
        output = run(twin, *(data[key][None] / 255 for key in ("frame0", "frame1")))
        expected = data["output"] if "output" in data else data["output_strided"]
        same(output if "output" in data else output[:, 1::2, ::2], expected)


@pytest.mark.parametrize("name", ["spynet", "spynet_odd"])
def test_spynet_parity(shared, monkeypatch, name):
    data = np.load(shared / "parity" / f"{name}.npz")
    flow = run(published(shared, monkeypatch, "spynet"), data["ref"][None] / 255, data["supp"][None] / 255)
    np.testing.assert_allclose(flow, data["flow"], atol=1e-3)


@pytest.mark.parametrize(("name", "fields"), [("basicvsr", {}), ("basicvsr_small", {"num_feat": 16, "num_block": 3})])
def test_basicvsr_parity(shared, monkeypatch, name, fields):
    data = np.load(shared / "parity" / f"{name}.npz")
    large = run(published(shared, monkeypatch, name, **fields), data["frames"][None] / 255)
    same(large[0, :, 1::2, ::2], data["output_strided"])


def test_cain_is_ours(random):
    twin = twins.build("cain", num_feat=8, num_group=2, num_block=2, reduction=4)
    variables = convert.from_torch("cain", redrawn(twin))
    frames = random.rand(2, 2, 70, 75, 3).astype(np.float32)
    ours = jax.jit(convert.model_for("cain", variables).apply)(variables, *frames)[0]
    same(run(twin, *frames), np.asarray(ours))


@pytest.mark.parametrize("num_frame", [1, 3])
def test_basicvsr_is_ours(random, num_frame):
    twin = twins.build("basicvsr", num_feat=8, num_block=2, num_hr=8)
    variables = convert.from_torch("basicvsr", redrawn(twin))
    clip = random.rand(1, num_frame, 33, 40, 3).astype(np.float32)
    ours = jax.jit(convert.model_for("basicvsr", variables).apply)(variables, clip)[0]
    same(run(twin, clip), np.asarray(ours))


def test_a_network_without_a_twin():
    with pytest.raises(ValueError, match=r"network \(='pwcnet'\) must be one of cain, basicvsr, spynet"):
        twins.build("pwcnet")


def test_tensors_of_another_network_are_refused():
    with pytest.raises(RuntimeError, match="spynet"):
        twins.load(twins.build("basicvsr", num_feat=4, num_block=1, num_hr=4), {})
