"""What published PyTorch checkpoints hold: whose key names, which tensor is which parameter, and what comes besides.

For each network by name: `RENAMES`, other publications' key names into the first one's; `LAYERS`, the table of tensors
and parameters; `EXTRAS`, what may be there besides parameters; `fields`, the module's fields by the shapes.
`jaxdyn.convert` applies them.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from jaxdyn.errors import ConversionError
from jaxdyn.models import carn, spynet
from jaxdyn.models.basicvsr import DIRECTIONS
from jaxdyn.models.cain import SHUFFLE
from jaxdyn.models.pwcnet import LEVELS

Names = Iterable[str]

# Key names of other publications. ------------------------------------------------------------------------------------


def _from_mmagic_cain(names: list[str]) -> list[str]:
    """mmagic's key names of CAIN -> the original ones; original names stay."""
    blocks = [int(found[1]) for name in names if (found := re.match(r"body\.\d+\.body\.(\d+)\.", name))]
    last = f"body.{max(blocks, default=-1) + 1}.conv."
    rules = [
        (r"^conv_first\.", "encoder.interpolate.headConv."),
        (r"^conv_last\.", "encoder.interpolate.tailConv."),
        (r"^(body\.\d+\.)conv_after_body\.conv\.", rf"\1{last}"),
        (r"^(body\.\d+\.body\.\d+\.body\.3\.)channel_attention\.", r"\1conv_du."),
        (r"^body\.", "encoder.interpolate.body."),
    ]
    return [_substituted(name, rules) for name in names]


def _from_sniklaus_pwcnet(names: list[str]) -> list[str]:
    """sniklaus' key names of PWC-Net (`net...`, in files `module...`) -> NVIDIA's; others stay."""
    number = {"One": 1, "Two": 2, "Thr": 3, "Fou": 4, "Fiv": 5, "Six": 6}

    def translated(name: str) -> str:
        name = re.sub(r"(^|\.)module(?=[A-Z])", r"\1net", name)
        if found := re.fullmatch(r"netExtractor\.net(\w{3})\.([024])\.(\w+)", name):
            level = number.get(found[1], 0)
            order = ("aa", "a", "b") if level == 6 else ("a", "aa", "b")
            return f"conv{level}{order[int(found[2]) // 2]}.0.{found[3]}"
        if found := re.fullmatch(r"netRefiner\.netMain\.(\d+)\.(\w+)", name):
            layer = int(found[1]) // 2 + 1
            return f"dc_conv{layer}.{found[2]}" if layer == 7 else f"dc_conv{layer}.0.{found[2]}"
        if found := re.fullmatch(r"net(\w{3})\.net(Upflow|Upfeat)\.(\w+)", name):
            kind = "deconv" if found[2] == "Upflow" else "upfeat"
            return f"{kind}{number.get(found[1], 0) + 1}.{found[3]}"
        if found := re.fullmatch(r"net(\w{3})\.net(\w{3})\.0\.(\w+)", name):
            level, layer = number.get(found[1], 0), number.get(found[2], 0)
            return f"predict_flow{level}.{found[3]}" if layer == 6 else f"conv{level}_{layer - 1}.0.{found[3]}"
        return name

    return [translated(name) for name in names]


def _to_basicsr_spynet(names: list[str]) -> list[str]:
    """mmagic's (`basic_module.L.basic_module.i.conv`) and sniklaus' (`netBasic.L.netBasic.i`, in files `module...`) key
    names of SpyNet -> BasicSR's; others stay."""

    def translated(name: str) -> str:
        name = re.sub(r"(?:net|module)Basic\.(\d+)\.(?:net|module)Basic\.", r"basic_module.\1.basic_module.", name)
        if found := re.fullmatch(r"(.*basic_module\.\d+\.basic_module)\.(\d+)\.conv\.(\w+)", name):
            return f"{found[1]}.{2 * int(found[2])}.{found[3]}"  # without the activations, which are numbered too
        return name

    return [translated(name) for name in names]


def _from_mmagic_basicvsr(names: list[str]) -> list[str]:
    """mmagic's key names of BasicVSR -> BasicSR's; those stay."""
    rules = [
        (r"^(backward|forward)_resblocks\.", r"\1_trunk."),
        (r"^upsample(\d)\.upsample_conv\.", r"upconv\1."),
    ]
    return _to_basicsr_spynet([_substituted(name, rules) for name in names])


RENAMES: dict[str, Callable[[list[str]], list[str]]] = {
    "cain": _from_mmagic_cain,
    "pwcnet": _from_sniklaus_pwcnet,
    "spynet": _to_basicsr_spynet,
    "basicvsr": _from_mmagic_basicvsr,
}


def _substituted(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


# Layouts: which tensor is which parameter. --------------------------------------------------------------------------


def _convolution(kernel: np.ndarray) -> np.ndarray:
    """[O, I, kh, kw] -> [kh, kw, I, O]."""
    return kernel.transpose(2, 3, 1, 0)


def _transposed_convolution(kernel: np.ndarray) -> np.ndarray:
    """[I, O, kh, kw] -> [kh, kw, I, O]."""
    return kernel.transpose(2, 3, 0, 1)


def _linear(kernel: np.ndarray) -> np.ndarray:
    """A 1 x 1 convolution [O, I, 1, 1] -> a matrix [I, O]."""
    return kernel.reshape(kernel.shape[0], -1).T


@dataclasses.dataclass(frozen=True)
class Layer:
    """A kernel and a bias: where they go, and the tensors they come from, one, or stacked along leading axes."""

    path: tuple[str, ...]
    sources: Any  # a name, or nested lists of names
    layout: Callable[[np.ndarray], np.ndarray] = _convolution


def _pwcnet_layers(_: Names) -> list[Layer]:
    layers = []
    for level in range(1, 7):
        order = ("aa", "a", "b") if level == 6 else ("a", "aa", "b")
        layers += [Layer(("pyramid", f"level{level}_conv{i}"), f"conv{level}{order[i]}.0") for i in range(3)]
    for level in LEVELS:
        here = f"decoder{level}"
        layers += [Layer((here, f"conv{i}"), f"conv{level}_{i}.0") for i in range(5)]
        layers.append(Layer((here, "flow"), f"predict_flow{level}"))
        if level > 2:
            layers.append(Layer((here, "up_flow"), f"deconv{level}", _transposed_convolution))
            layers.append(Layer((here, "up_feat"), f"upfeat{level}", _transposed_convolution))
    layers += [Layer(("context", f"conv{i}"), f"dc_conv{i + 1}.0") for i in range(6)]
    return [*layers, Layer(("context", "flow"), "dc_conv7")]


def _carn_layers(_: Names) -> list[Layer]:
    layers = [Layer(("entry",), "entry"), Layer(("exit",), "exit")]
    for block in (1, 2, 3):
        here = f"block{block}"
        layers += [Layer((here, "residual", f"conv{i}"), f"b{block}.b1.body.{2 * i - 2}") for i in (1, 2, 3)]
        layers += [Layer((here, f"fusion{i}"), f"b{block}.c{i}.body.0") for i in (1, 2, 3)]
        layers.append(Layer((f"fusion{block}",), f"c{block}.body.0"))
    ups = {"up2": "up2.body.0", "up3": "up3.body.0", "up4_first": "up4.body.0", "up4_second": "up4.body.3"}
    return layers + [Layer((path,), f"upsample.{source}") for path, source in ups.items()]


def _cain_layers(names: Names) -> list[Layer]:
    body = "encoder.interpolate.body"
    found = [re.match(rf"{re.escape(body)}\.(\d+)\.body\.(\d+)\.body\.", name) for name in names]
    places = [(int(match[1]), int(match[2])) for match in found if match]
    num_group = max((group for group, _ in places), default=0) + 1
    num_block = max((block for _, block in places), default=0) + 1

    def stack(inner: str) -> list[list[str]]:
        return [[f"{body}.{g}.body.{r}.body.{inner}" for r in range(num_block)] for g in range(num_group)]

    return [
        Layer(("head",), "encoder.interpolate.headConv"),
        Layer(("tail",), "encoder.interpolate.tailConv"),
        Layer(("body", "conv1"), stack("0.conv")),
        Layer(("body", "conv2"), stack("2.conv")),
        Layer(("body", "squeeze"), stack("3.conv_du.0"), _linear),
        Layer(("body", "excite"), stack("3.conv_du.2"), _linear),
        Layer(("body", "conv"), [f"{body}.{g}.body.{num_block}.conv" for g in range(num_group)]),
    ]


def _spynet_layers(names: Names) -> list[Layer]:
    found = [re.match(r"basic_module\.(\d+)\.basic_module\.(\d+)\.", name) for name in names]
    places = [(int(match[1]), int(match[2])) for match in found if match]
    num_level = max((level for level, _ in places), default=0) + 1
    num_conv = max((index for _, index in places), default=0) // 2 + 1
    return [
        Layer((f"level{level}", f"conv{i}"), f"basic_module.{level}.basic_module.{2 * i}")
        for level in range(num_level)
        for i in range(num_conv)
    ]


def _basicvsr_layers(names: Names) -> list[Layer]:
    found = [re.match(r"(?:backward|forward)_trunk\.main\.2\.(\d+)\.", name) for name in names]
    num_block = max((int(match[1]) for match in found if match), default=0) + 1
    layers = [Layer((name,), name) for name in ("fusion", "upconv1", "upconv2", "conv_hr", "conv_last")]
    for direction in DIRECTIONS:
        trunk = f"{direction}_trunk.main"
        layers.append(Layer((direction, "head"), f"{trunk}.0"))
        for name in ("conv1", "conv2"):
            layers.append(Layer((direction, "body", name), [f"{trunk}.2.{m}.{name}" for m in range(num_block)]))
    flow = _spynet_layers([name.removeprefix("spynet.") for name in names if name.startswith("spynet.")])
    return [*layers, *(Layer(("flow", *layer.path), f"spynet.{layer.sources}") for layer in flow)]


LAYERS: dict[str, Callable[[Names], list[Layer]]] = {
    "pwcnet": _pwcnet_layers,
    "carn_m": _carn_layers,
    "cain": _cain_layers,
    "spynet": _spynet_layers,
    "basicvsr": _basicvsr_layers,
}
"""A network's table, which may depend on the key names that there are: they tell depths."""

MARKS = {
    "encoder.interpolate.headConv.weight": "cain",
    "entry.weight": "carn_m",
    "conv1a.0.weight": "pwcnet",
    "basic_module.0.basic_module.0.weight": "spynet",
    "backward_trunk.main.0.weight": "basicvsr",
}
"""Keys by which a checkpoint is known."""


# What is there besides parameters. -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Extra:
    """A tensor that may stand in a checkpoint and is no parameter: a constant of the network, or nothing it uses."""

    pattern: str  # of the whole key name
    constant: np.ndarray | None = None  # what it must be
    what: str = ""  # the constant's name


EXTRAS: dict[str, tuple[Extra, ...]] = {
    "pwcnet": (Extra(r"deconv2\.(weight|bias)"),),
    "carn_m": (
        Extra(r"sub_mean\..*bias", -carn.RGB_MEAN, "mean shift"),
        Extra(r"add_mean\..*bias", carn.RGB_MEAN, "mean shift"),
        Extra(r"(sub|add)_mean\..*", np.eye(3), "mean shift"),
    ),
    "spynet": (Extra("mean", spynet.RGB_MEAN, "mean"), Extra("std", spynet.RGB_STD, "deviation")),
    "basicvsr": (
        Extra(r"spynet\.mean", spynet.RGB_MEAN, "mean"),
        Extra(r"spynet\.std", spynet.RGB_STD, "deviation"),
        Extra("step_counter"),  # mmagic's, of training
    ),
}


def extra(network: str, name: str) -> Extra | None:
    """What a key of a checkpoint is besides a parameter, or None."""
    return next((known for known in EXTRAS.get(network, ()) if re.fullmatch(known.pattern, name)), None)


# Fields by shapes. ---------------------------------------------------------------------------------------------------


def fields(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The module's fields that give parameters of these shapes.

    Args:
      name: of a network, as in `models.build`.
      params: its parameters, the arrays or only their shapes.

    Raises:
      ConversionError: parameters that no configuration of it could have.
    """
    try:
        return _FIELDS[name](params)
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise ConversionError(f"{name}: these parameters are of another network ({error} not found)") from error


def _pwcnet_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    def width(part: str, layer: str) -> int:
        return params[part][layer]["kernel"].shape[-1]

    candidates = params["decoder6"]["conv0"]["kernel"].shape[2]
    side = math.isqrt(candidates)
    if side**2 != candidates or side % 2 == 0 or side < 3:
        raise ConversionError(
            f"pwcnet: conv6_0 reads {candidates} candidates, which is no (2 r + 1)^2 of a search radius r"
        )
    return {
        "widths": tuple(width("pyramid", f"level{level}_conv0") for level in range(1, 7)),
        "decoder": tuple(width("decoder6", f"conv{i}") for i in range(5)),
        "context": tuple(width("context", f"conv{i}") for i in range(6)),
        "radius": side // 2,
    }


def _carn_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    num_feat = params["entry"]["kernel"].shape[-1]
    per_group = params["block1"]["residual"]["conv1"]["kernel"].shape[2]
    if per_group == 0 or num_feat % per_group:
        raise ConversionError(f"carn_m: {num_feat} features are no whole number of groups of {per_group}")
    return {"num_feat": num_feat, "groups": num_feat // per_group}


def _cain_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    num_group, num_block = params["body"]["conv1"]["kernel"].shape[:2]
    num_feat, squeezed = params["head"]["kernel"].shape[-1], params["body"]["squeeze"]["kernel"].shape[-1]
    return {"num_feat": num_feat, "num_group": num_group, "num_block": num_block, "reduction": num_feat // squeezed}


def _cain_sd_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    extra = params["cain"]["head"]["kernel"].shape[2] - 6 * SHUFFLE**2
    fields = _cain_fields(params["cain"]) | {"is_aligned": extra != 0}
    fields["motion"] = "pwcnet" if "flow" in params else "dis"
    if "depth_net" in params:
        fields["has_exit0"] = params["depth_net"]["conv3"]["kernel"].shape[-1] > fields["num_group"]
    return fields


def _spynet_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    level = params["level0"]
    widths = tuple(level[f"conv{i}"]["kernel"].shape[-1] for i in range(len(level) - 1))
    return {"num_level": sum(name.startswith("level") for name in params), "widths": widths}


def _basicvsr_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    body = params["forward"]["body"]["conv1"]["kernel"].shape  # [M, 3, 3, F, F]
    result = {"num_feat": body[-1], "num_block": body[0], "num_hr": params["conv_hr"]["kernel"].shape[-1]}
    if "flow" not in params:
        return {**result, "motion": "dis"}
    flow, built = _spynet_fields(params["flow"]), spynet.SpyNet()
    if flow != {"num_level": built.num_level, "widths": built.widths}:
        raise ConversionError(
            f"basicvsr: its SpyNet has {flow['num_level']} levels of widths {flow['widths']} (read from level 0); "
            f"the one in BasicVSR always has {built.num_level} levels of widths {built.widths} here"
        )
    return result


def _skipvsr_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    for direction in DIRECTIONS:
        params[f"gate_{direction}"]["kernel"]  # must be there
    return _basicvsr_fields(params)


_FIELDS = {
    "pwcnet": _pwcnet_fields,
    "carn_m": _carn_fields,
    "cain": _cain_fields,
    "cain_sd": _cain_sd_fields,
    "spynet": _spynet_fields,
    "basicvsr": _basicvsr_fields,
    "skipvsr": _skipvsr_fields,
}
