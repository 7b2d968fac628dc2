"""Conversion: the published layouts and names, files of every kind, and errors that name the key."""

import logging
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxdyn import convert, models, pretrained
from jaxdyn.models.pwcnet import LEVELS

SMALL = {
    "cain": {"num_feat": 8, "num_group": 2, "num_block": 3, "reduction": 4},
    "carn_m": {"num_feat": 8, "groups": 2},
    "pwcnet": {"widths": (2, 3, 4, 5, 6, 7), "decoder": (7, 6, 5, 4, 3), "context": (8, 7, 6, 5, 4, 3), "radius": 1},
    "spynet": {"num_level": 3, "widths": (4, 5, 6)},
    "basicvsr": {"num_feat": 6, "num_block": 3, "num_hr": 5},
}
NUMBER = {"One": 1, "Two": 2, "Thr": 3, "Fou": 4, "Fiv": 5, "Six": 6}


def torch_state(name: str) -> dict[str, np.ndarray]:
    """The state_dict of a small network, drawn, with the published names and in PyTorch's layout."""
    numbers, fields, state = np.random.RandomState(0), SMALL[name], {}

    def layer(key, num_out, num_in, side, is_transposed=False):
        shape = (num_in, num_out, side, side) if is_transposed else (num_out, num_in, side, side)
        state[f"{key}.weight"] = numbers.standard_normal(shape).astype(np.float32)
        state[f"{key}.bias"] = numbers.standard_normal(num_out).astype(np.float32)

    if name == "cain":
        f, squeezed = fields["num_feat"], fields["num_feat"] // fields["reduction"]
        layer("encoder.interpolate.headConv", f, 384, 3)
        layer("encoder.interpolate.tailConv", 192, f, 3)
        for g in range(fields["num_group"]):
            body = f"encoder.interpolate.body.{g}.body"
            for b in range(fields["num_block"]):
                layer(f"{body}.{b}.body.0.conv", f, f, 3)
                layer(f"{body}.{b}.body.2.conv", f, f, 3)
                layer(f"{body}.{b}.body.3.conv_du.0", squeezed, f, 1)
                layer(f"{body}.{b}.body.3.conv_du.2", f, squeezed, 1)
            layer(f"{body}.{fields['num_block']}.conv", f, f, 3)
    elif name == "carn_m":
        f, per_group = fields["num_feat"], fields["num_feat"] // fields["groups"]
        layer("entry", f, 3, 3)
        layer("exit", 3, f, 3)
        for k in (1, 2, 3):
            layer(f"b{k}.b1.body.0", f, per_group, 3)
            layer(f"b{k}.b1.body.2", f, per_group, 3)
            layer(f"b{k}.b1.body.4", f, f, 1)
            for i in (1, 2, 3):
                layer(f"b{k}.c{i}.body.0", f, (i + 1) * f, 1)
            layer(f"c{k}.body.0", f, (k + 1) * f, 1)
        for key, grow in (("up2.body.0", 4), ("up3.body.0", 9), ("up4.body.0", 4), ("up4.body.3", 4)):
            layer(f"upsample.{key}", grow * f, per_group, 3)
    elif name in ("spynet", "basicvsr"):
        flow = {"num_level": 6, "widths": (32, 64, 32, 16)} if name == "basicvsr" else fields
        widths, prefix = (8, *flow["widths"], 2), "spynet." if name == "basicvsr" else ""
        for level, i in np.ndindex(flow["num_level"], len(widths) - 1):
            layer(f"{prefix}basic_module.{level}.basic_module.{2 * i}", widths[i + 1], widths[i], 7)
    else:
        widths, decoder = fields["widths"], fields["decoder"]
        for level, width in enumerate(widths, start=1):
            order = ("aa", "a", "b") if level == 6 else ("a", "aa", "b")
            for i, suffix in enumerate(order):
                layer(f"conv{level}{suffix}.0", width, (3, *widths)[level - 1] if i == 0 else width, 3)
        for level in LEVELS:
            num_in = 9 if level == 6 else 9 + widths[level - 1] + 4
            for i, width in enumerate(decoder):
                layer(f"conv{level}_{i}.0", width, num_in, 3)
                num_in += width
            layer(f"predict_flow{level}", 2, num_in, 3)
            if level > 2:
                layer(f"deconv{level}", 2, 2, 4, is_transposed=True)
                layer(f"upfeat{level}", 2, num_in, 4, is_transposed=True)
        for i, width in enumerate((*fields["context"], 2)):
            layer(f"dc_conv{i + 1}.0" if i < 6 else "dc_conv7", width, (num_in, *fields["context"])[i], 3)
    if name == "basicvsr":
        f, hr = fields["num_feat"], fields["num_hr"]
        for direction in ("backward", "forward"):
            layer(f"{direction}_trunk.main.0", f, f + 3, 3)
            for m, conv in np.ndindex(fields["num_block"], 2):
                layer(f"{direction}_trunk.main.2.{m}.conv{conv + 1}", f, f, 3)
        layer("fusion", f, 2 * f, 1)
        layer("upconv1", 4 * f, f, 3)
        layer("upconv2", 4 * hr, f, 3)
        layer("conv_hr", hr, hr, 3)
        layer("conv_last", 3, hr, 3)
    return state


def reference_state(shared, monkeypatch, network: str) -> dict[str, np.ndarray]:
    """The reference weights of a network of the published size."""
    monkeypatch.syspath_prepend(shared / "parity")
    state = __import__("reference_weights").state_dict(network)
    sys.modules.pop("reference_weights")
    return state


def same(a, b) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


@pytest.fixture(params=list(SMALL))
def name(request) -> str:
    return request.param


@pytest.fixture
def state(name) -> dict[str, np.ndarray]:
    return torch_state(name)


def test_widths_and_depths_are_read_from_the_shapes(name, state):
    variables = convert.from_torch(name, state)
    assert convert.model_for(name, variables) == models.build(name, **SMALL[name])
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == sum(value.size for value in state.values())


def test_every_number_lands_in_its_place():
    """By hand: one kernel of each layout."""
    cain = torch_state("cain")
    body = convert.from_torch("cain", cain)["params"]["body"]
    source = cain["encoder.interpolate.body.1.body.2.body.0.conv.weight"]  # [O, I, kh, kw]
    for o, i, y, x in np.ndindex(source.shape):
        assert body["conv1"]["kernel"][1, 2, y, x, i, o] == source[o, i, y, x]
    squeeze = cain["encoder.interpolate.body.0.body.1.body.3.conv_du.0.weight"]
    np.testing.assert_array_equal(body["squeeze"]["kernel"][0, 1], squeeze[:, :, 0, 0].T)
    np.testing.assert_array_equal(body["conv"]["bias"][1], cain["encoder.interpolate.body.1.body.3.conv.bias"])
    pwcnet = torch_state("pwcnet")
    source = pwcnet["upfeat4.weight"]  # [I, O, kh, kw]
    kernel = convert.from_torch("pwcnet", pwcnet)["params"]["decoder4"]["up_feat"]["kernel"]
    for i, o, y, x in np.ndindex(source.shape):
        assert kernel[y, x, i, o] == source[i, o, y, x]
    basicvsr = torch_state("basicvsr")
    params = convert.from_torch("basicvsr", basicvsr)["params"]
    for direction, conv in (("backward", "conv2"), ("forward", "conv1")):
        source = basicvsr[f"{direction}_trunk.main.2.2.{conv}.weight"]
        kernel = np.asarray(params[direction]["body"][conv]["kernel"][2])
        for o, i, y, x in np.ndindex(source.shape):
            assert kernel[y, x, i, o] == source[o, i, y, x]
    source = basicvsr["spynet.basic_module.4.basic_module.6.bias"]
    np.testing.assert_array_equal(params["flow"]["level4"]["conv3"]["bias"], source)


@pytest.mark.parametrize("network", ["cain", "carn_m", "pwcnet", "spynet", "basicvsr"])
def test_full_size_of_the_published_tensors(shared, monkeypatch, network):
    state = reference_state(shared, monkeypatch, network)
    assert convert.identify(state) == network
    assert convert.model_for(network, convert.from_torch(network, state)) == models.build(network)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {"params": state},
        lambda state: {"params": None, "params_ema": state},
        lambda state: {key: value.astype(np.float64) for key, value in state.items()},
    ],
    ids=["prefix", "nested prefix", "params", "params_ema", "float64"],
)
def test_wrappings_are_seen_through(name, state, wrap):
    assert same(convert.from_torch(name, wrap(state)), convert.from_torch(name, state))


def test_mmagic_names_of_cain():
    state, renamed = torch_state("cain"), {}
    for key, value in state.items():
        key = (
            key.removeprefix("encoder.interpolate.").replace("headConv", "conv_first").replace("tailConv", "conv_last")
        )
        parts = key.replace("conv_du", "channel_attention").split(".")
        if len(parts) == 6:  # body.g.body.3.conv.weight
            parts = [*parts[:2], "conv_after_body", *parts[4:]]
        renamed["generator." + ".".join(parts)] = value
    assert "generator.body.1.conv_after_body.conv.bias" in renamed
    assert "generator.body.0.body.2.body.3.channel_attention.2.weight" in renamed
    assert convert.identify(renamed) == "cain"
    assert same(convert.from_torch("cain", renamed), convert.from_torch("cain", state))


@pytest.mark.parametrize("word", ["net", "module"])
def test_sniklaus_names_of_pwcnet(word):
    state, renamed = torch_state("pwcnet"), {}
    text = {number: name for name, number in NUMBER.items()}
    for key, value in state.items():
        stem, kind = key.rsplit(".", 1)
        stem = stem.removesuffix(".0")
        level = int(stem.strip("abcdefghijklmnopqrstuvwxyz_")[0])
        if stem.startswith("dc_conv"):
            new = f"{word}Refiner.{word}Main.{2 * int(stem[7:]) - 2}"
        elif stem.startswith("predict_flow"):
            new = f"{word}{text[level]}.{word}Six.0"
        elif stem.startswith(("deconv", "upfeat")):
            new = f"{word}{text[level - 1]}.{word}{'Upflow' if stem.startswith('deconv') else 'Upfeat'}"
        elif "_" in stem:
            new = f"{word}{text[level]}.{word}{text[int(stem[-1]) + 1]}.0"
        else:
            order = ("aa", "a", "b") if level == 6 else ("a", "aa", "b")
            new = f"{word}Extractor.{word}{text[level]}.{2 * order.index(stem[5:])}"
        renamed[f"{new}.{kind}"] = value
    assert len(renamed) == len(state)
    assert convert.identify(renamed) == "pwcnet"
    assert same(convert.from_torch("pwcnet", renamed), convert.from_torch("pwcnet", state))


def test_mmagic_names_of_basicvsr_and_spynet():
    state, renamed = torch_state("basicvsr"), {}
    for key, value in state.items():
        if key.startswith("spynet."):
            words = key.split(".")  # spynet.basic_module.L.basic_module.i.weight
            key = ".".join([*words[:4], str(int(words[4]) // 2), "conv", words[5]])
        key = key.replace("_trunk.", "_resblocks.").replace("upconv", "upsample")
        key = key.replace("upsample1.", "upsample1.upsample_conv.").replace("upsample2.", "upsample2.upsample_conv.")
        renamed[f"generator.{key}"] = value
    assert "generator.forward_resblocks.main.2.1.conv1.bias" in renamed
    assert "generator.spynet.basic_module.5.basic_module.4.conv.bias" in renamed
    renamed |= {f"generator.spynet.{name}": value for name, value in constants_of_spynet().items()}
    renamed["step_counter"] = np.float32([300000])  # beside the generator, without its prefix
    assert convert.identify({"state_dict": renamed}) == "basicvsr"
    assert same(convert.from_torch("basicvsr", {"state_dict": renamed}), convert.from_torch("basicvsr", state))
    flow = {key.removeprefix("generator.spynet."): value for key, value in renamed.items() if ".spynet." in key}
    assert convert.identify(flow) == "spynet"
    assert same(convert.from_torch("spynet", flow), {"params": convert.from_torch("basicvsr", state)["params"]["flow"]})


@pytest.mark.parametrize("word", ["net", "module"])
def test_sniklaus_names_of_spynet(word):
    state = torch_state("spynet")
    renamed = {key.replace("basic_module", f"{word}Basic"): value for key, value in state.items()}
    assert f"{word}Basic.2.{word}Basic.6.bias" in renamed
    assert convert.identify(renamed) == "spynet"
    assert same(convert.from_torch("spynet", renamed), convert.from_torch("spynet", state))


def constants_of_spynet() -> dict[str, np.ndarray]:
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return {"mean": mean.reshape(1, 3, 1, 1), "std": deviation.reshape(1, 3, 1, 1)}


@pytest.mark.parametrize(("network", "prefix"), [("spynet", ""), ("basicvsr", "spynet.")])
def test_constants_of_spynet_are_checked(network, prefix, caplog):
    caplog.set_level(logging.INFO, "jaxdyn.convert")
    state = torch_state(network)
    constants = {f"{prefix}{name}": value for name, value in constants_of_spynet().items()}
    assert same(convert.from_torch(network, state | constants), convert.from_torch(network, state))
    assert f"equal to the built-in constants: {prefix}mean, {prefix}std" in caplog.text
    for name, what in (("mean", "mean"), ("std", "deviation")):
        other = {**constants, f"{prefix}{name}": constants[f"{prefix}{name}"] + np.float32(0.01)}
        with pytest.raises(ValueError, match=f"{network}: {prefix}{name} is not the published {what}"):
            convert.from_torch(network, state | other)


def test_skipvsr_is_basicvsr_with_undecided_gates(tmp_path, caplog):
    caplog.set_level(logging.INFO, "jaxdyn.convert")
    state, fields = torch_state("basicvsr"), SMALL["basicvsr"]
    variables = convert.from_torch("skipvsr", {"params": state})
    assert "initialised, to be trained: gate_backward, gate_forward" in caplog.text
    params = dict(variables["params"])
    for gate in (params.pop("gate_backward"), params.pop("gate_forward")):
        assert gate["kernel"].shape == (fields["num_feat"],)
        assert gate["bias"].shape == ()
        assert not any(map(np.any, gate.values()))
    assert same({"params": params}, convert.from_torch("basicvsr", state))
    assert convert.model_for("skipvsr", variables) == models.build("skipvsr", **fields)
    np.savez(tmp_path / "published.npz", **state)
    notes = convert.convert_files("skipvsr", [tmp_path / "published.npz"], tmp_path / "out.safetensors")
    assert "initialised, to be trained: gate_backward, gate_forward" in notes
    model, again = pretrained.load(tmp_path / "out.safetensors")
    assert model == models.build("skipvsr", **fields)
    assert same(again, variables)
    with pytest.raises(
        ValueError, match=r"skipvsr: these parameters are of another network \('gate_backward' not found"
    ):
        convert.model_for("skipvsr", {"params": params})
    del params["flow"]  # as trained with DIS
    assert convert.model_for("basicvsr", {"params": params}) == models.build("basicvsr", **fields, motion="dis")


def test_basicvsr_with_another_spynet():
    state = torch_state("basicvsr")
    short = {key: value for key, value in state.items() if not key.startswith("spynet.basic_module.5.")}
    with pytest.raises(
        ValueError, match=r"its SpyNet has 5 levels of widths \(32, 64, 32, 16\) .* always has 6 levels"
    ):
        convert.from_torch("basicvsr", short)
    narrow = {key: value for key, value in state.items() if not key.startswith("spynet.")}
    narrow |= {f"spynet.{key}": value for key, value in torch_state("spynet").items()}
    with pytest.raises(ValueError, match=r"its SpyNet has 3 levels of widths \(4, 5, 6\)"):
        convert.from_torch("skipvsr", narrow)


def test_known_extras_are_left_out(caplog):
    caplog.set_level(logging.INFO, "jaxdyn.convert")
    pwcnet = torch_state("pwcnet")
    extra = {"deconv2.weight": np.zeros((2, 2, 4, 4)), "deconv2.bias": np.zeros(2)}
    assert same(convert.from_torch("pwcnet", pwcnet | extra), convert.from_torch("pwcnet", pwcnet))
    assert "deconv2.weight" in caplog.text
    carn = torch_state("carn_m")
    shift = {}
    for key, sign in (("sub_mean", -1), ("add_mean", 1)):
        shift[f"{key}.shifter.weight"] = np.eye(3, dtype=np.float32)[:, :, None, None]
        shift[f"{key}.shifter.bias"] = sign * np.float32([0.4488, 0.4371, 0.4040])
    assert same(convert.from_torch("carn_m", carn | shift), convert.from_torch("carn_m", carn))
    shift["add_mean.shifter.bias"][1] = 0.5
    with pytest.raises(ValueError, match=r"add_mean\.shifter\.bias is not the published mean shift"):
        convert.from_torch("carn_m", carn | shift)


def test_missing_extra_misshapen_and_broken_keys_are_named(name, state):
    key = {
        "cain": "encoder.interpolate.body.1.body.2.body.2.conv.weight",
        "carn_m": "b2.c3.body.0.weight",
        "pwcnet": "conv4_2.0.weight",
        "spynet": "basic_module.1.basic_module.2.weight",
        "basicvsr": "forward_trunk.main.2.1.conv2.weight",
    }[name]
    pattern = key.replace(".", r"\.")
    missing = {k: v for k, v in state.items() if k != key}
    with pytest.raises(ValueError, match=f"{name}: {pattern} is missing"):
        convert.from_torch(name, missing)
    with pytest.raises(ValueError, match=r"module\.surplus\.weight is unknown"):
        convert.from_torch(name, {f"module.{k}": v for k, v in {**state, "surplus.weight": state[key]}.items()})
    with pytest.raises(ValueError, match=rf"{pattern} has shape \({state[key].shape[0]}, {state[key].shape[1] - 1}, "):
        convert.from_torch(name, {**state, key: state[key][:, :-1]})
    with pytest.raises(ValueError, match=f"{pattern} has shape .*, expected four axes"):
        convert.from_torch(name, {**state, key: state[key].ravel()})
    for bad in (np.nan, np.inf):
        broken = state[key].copy()
        broken.flat[3] = bad
        with pytest.raises(ValueError, match=f"{pattern} holds NaN or infinity"):
            convert.from_torch(name, {**state, key: broken})
    bias = key.replace(".weight", ".bias")
    with pytest.raises(ValueError, match=rf"{bias.replace('.', chr(92) + '.')} has shape \(1,\)"):
        convert.from_torch(name, {**state, bias: state[bias][:1]})


def test_other_things_are_refused():
    known = "basicvsr, cain, cain_sd, carn_m, pwcnet, skipvsr, spynet"
    with pytest.raises(ValueError, match=f"network .='dain'. must be one of {known}"):
        convert.from_torch("dain", {})
    with pytest.raises(ValueError, match="holds no tensors"):
        convert.from_torch("cain", {})
    with pytest.raises(ValueError, match="'epoch' is no tensor but int"):
        convert.from_torch("cain", {"epoch": 3})
    with pytest.raises(ValueError, match="missing; is this the cain checkpoint"):
        convert.from_torch("cain", torch_state("pwcnet"))
    twice = torch_state("cain")
    twice["conv_last.bias"] = twice["encoder.interpolate.tailConv.bias"]  # mmagic's name beside the original one
    with pytest.raises(ValueError, match=r"tailConv\.bias is there twice"):
        convert.from_torch("cain", twice)
    with pytest.raises(ValueError, match=r'variables must hold "params", got head'):
        convert.model_for("cain", {"head": {}})
    wide = torch_state("cain")
    key = "encoder.interpolate.body.0.body.0.body.3.conv_du.2.weight"
    wide[key] = np.repeat(wide[key], 3, axis=2)
    with pytest.raises(ValueError, match=r"conv_du\.2\.weight has shape \(8, 2, 3, 1\)"):
        convert.from_torch("cain", wide)
    with pytest.raises(ValueError, match="mapping with keys among cain, carn_m, pwcnet; got spynet"):
        convert.from_torch("cain_sd", {"spynet": {}})


def test_cain_sd_by_parts(caplog, monkeypatch):
    """CAIN comes from the tensors; what is missing is drawn, and listed. Without the flow, to save time."""
    build = models.build
    routing_only = {"cain_sd": {"motion": "difference"}}
    monkeypatch.setattr(models, "build", lambda name, **fields: build(name, **fields, **routing_only.get(name, {})))
    caplog.set_level(logging.INFO, "jaxdyn.convert")
    variables = convert.from_torch("cain_sd", {"cain": torch_state("cain")})
    assert same(variables["params"]["cain"], convert.from_torch("cain", torch_state("cain"))["params"])
    assert set(variables["params"]) == {"cain", "carn_m", "scale_net", "depth_net"}
    assert "initialised, to be trained: carn_m, depth_net, scale_net" in caplog.text
    with pytest.raises(ValueError, match=r"cain_sd: carn_m: .* has shape .*, expected"):
        convert.from_torch("cain_sd", {"carn_m": torch_state("carn_m")})


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_files_without_pytorch(tmp_path, name, state, suffix):
    path = tmp_path / f"weights{suffix}"
    np.savez(path, **state) if suffix == ".npz" else save_file(state, path)
    read = convert.read_checkpoint(path)
    assert set(read) == set(state)
    assert convert.identify(read) == name
    assert same(convert.from_torch(name, read), convert.from_torch(name, state))


def test_convert_files_writes_what_weights_takes(tmp_path, name, state):
    np.savez(tmp_path / "published.npz", **state)
    output = tmp_path / "out.safetensors"
    notes = convert.convert_files(name, [tmp_path / "published.npz"], output)
    assert "published.npz" in notes[-1]
    assert f"{sum(value.size for value in state.values()):,} parameters" in notes[-1]
    model, variables = pretrained.load(output)
    assert model == models.build(name, **SMALL[name])
    assert same(variables, convert.from_torch(name, state))


def test_files_of_another_network(tmp_path):
    np.savez(tmp_path / "flow.npz", **torch_state("pwcnet"))
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    output = tmp_path / "out.safetensors"
    with pytest.raises(ValueError, match=r"flow\.npz: holds pwcnet, not cain; use `jaxdyn convert pwcnet`"):
        convert.convert_files("cain", [tmp_path / "flow.npz"], output)
    with pytest.raises(ValueError, match=r"other\.npz: holds none of basicvsr, cain, carn_m, pwcnet, spynet"):
        convert.convert_files("cain_sd", [tmp_path / "other.npz"], output)
    with pytest.raises(ValueError, match=r"flow\.npz: a second pwcnet"):
        convert.convert_files("cain_sd", [tmp_path / "flow.npz"] * 2, output)
    with pytest.raises(ValueError, match=r"flow\.npz: holds pwcnet, not skipvsr; use `jaxdyn convert pwcnet`"):
        convert.convert_files("skipvsr", [tmp_path / "flow.npz"], output)
    np.savez(tmp_path / "spynet.npz", **torch_state("spynet"))
    with pytest.raises(ValueError, match=r"spynet\.npz: holds spynet, not cain_sd; use `jaxdyn convert spynet`"):
        convert.convert_files("cain_sd", [tmp_path / "spynet.npz"], output)
    assert not output.exists()


def test_bad_files(tmp_path, monkeypatch):
    for file, content, message in (
        ("a.npz", b"PK\x03\x04 cut", "a.npz: cannot be read as .npz"),
        ("a.safetensors", b"1234", "a.safetensors: cannot be read as .safetensors"),
        ("a.txt", b"", "a.txt: unknown kind of checkpoint; give one of .ckpt, .npz"),
    ):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            convert.read_checkpoint(tmp_path / file)
    with pytest.raises(ValueError, match=r"none\.pth: no such file"):
        convert.read_checkpoint(tmp_path / "none.pth")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))  # a pickle inside: never opened
    with pytest.raises(ValueError, match=r"objects\.npz: cannot be read"):
        convert.read_checkpoint(tmp_path / "objects.npz")
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pth.tar").write_bytes(b"")
    with pytest.raises(ValueError, match=r'needs PyTorch: pip install "jaxdyn\[convert\]"'):
        convert.read_checkpoint(tmp_path / "a.pth.tar")


def test_files_of_pytorch(tmp_path, state, name):
    torch = pytest.importorskip("torch")
    tensors = {f"module.{key}": torch.from_numpy(value) for key, value in state.items()}
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"epoch": 7, "best": np.float64(33.1), "state_dict": tensors}, path)
    assert same(convert.from_torch(name, convert.read_checkpoint(path)), convert.from_torch(name, state))
    torch.save({key: value.bfloat16() for key, value in tensors.items()}, path)
    assert jax.tree.all(
        jax.tree.map(lambda x: x.dtype == np.float32, convert.from_torch(name, convert.read_checkpoint(path)))
    )


class Intruder:
    """An object whose unpickling would run code."""

    def __reduce__(self):
        return (print, ("this must never be printed",))


def test_pickled_code_is_never_run(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": {}, "model": Intruder()}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"bad\.pth: holds Python objects besides tensors"):
        convert.read_checkpoint(tmp_path / "bad.pth")
    assert "never" not in capsys.readouterr().out
