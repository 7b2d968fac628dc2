"""Published PyTorch weights into this library's variables.

    file --read_checkpoint--> state_dict --from_torch--> variables --model_for--> the module that they fit

A network's layout is a table: for every parameter here, the key of the tensor there. Widths and depths are read from
the tensors' shapes. Whatever is missing, left over, misshapen or not finite is an error that names its key. Known
exceptions: PWC-Net's `deconv2`, which its network never uses, and CARN-M's mean shift, a constant, which is checked
where it is present.

Key names of other publications of the same networks (mmagic's CAIN, sniklaus' PWC-Net) are translated first.
"""

import contextlib
import dataclasses
import logging
import math
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from jaxdyn import models, pretrained
from jaxdyn.errors import UserError
from jaxdyn.models.cain import SHUFFLE
from jaxdyn.models.carn import RGB_MEAN
from jaxdyn.models.pwcnet import LEVELS

NESTING = ("state_dict", "params_ema", "params")  # names under which checkpoints keep their tensors, best first
PREFIXES = ("module.", "generator.")  # of DataParallel and of mmagic
TORCH_SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", ".pytorch")
PARTS = {"cain": "cain", "carn_m": "carn_m", "pwcnet": "flow"}  # network -> its part of CainSD

_log = logging.getLogger(__name__)

StateDict = Mapping[str, np.ndarray]


class ConversionError(UserError, ValueError):
    """Weights that cannot be converted: one line that names the file or the key, and the remedy."""


def from_torch(name: str, state_dict: Mapping[str, Any]) -> dict:
    """Variables of a network from its PyTorch tensors.

    Args:
      name: "pwcnet", "carn_m", "cain" or "cain_sd".
      state_dict: tensors by their original key names, PyTorch layout; a `module.` prefix and nesting under
        `state_dict` or `params` are seen through. For "cain_sd" a mapping of such mappings, {"cain": ..., "carn_m":
        ..., "pwcnet": ...}: parts that are missing, and the finders, are initialised (key 0) and listed in the log.

    Returns:
      {"params": ...} in float32, for `model_for(name, variables).apply`.

    Raises:
      ConversionError: (a ValueError) an unknown network, or a key that is missing, left over, misshapen or not finite.
    """
    variables, notes = _convert(name, state_dict)
    for note in notes:
        _log.info(note)
    return variables


def model_for(name: str, variables: Mapping[str, Any]) -> nn.Module:
    """The module whose widths and depths fit the variables, by their shapes.

    Args:
      name: as in `from_torch`.
      variables: {"params": ...}, the arrays or only their shapes.

    Raises:
      ConversionError: an unknown network, or variables that no configuration of it could have.
    """
    _check_name(name)
    if "params" not in variables:
        raise ConversionError(f'variables must hold "params", got {", ".join(map(str, variables)) or "nothing"}')
    return models.build(name, **_fields(name, variables["params"]))


def convert_files(name: str, inputs: Iterable[str | pathlib.Path], output: str | pathlib.Path) -> list[str]:
    """What `jaxdyn convert` does: reads checkpoints, converts them and writes a weights file.

    Args:
      name: as in `from_torch`.
      inputs: one checkpoint; for "cain_sd" one for each part, in any order: what a file holds is told from its keys.
      output: the file to write.

    Returns:
      Lines that tell what was done, what was left out and what was initialised.

    Raises:
      ConversionError: see `from_torch` and `read_checkpoint`; also a file that holds another network.
    """
    _check_name(name)
    inputs = [pathlib.Path(path) for path in inputs]
    parts = {}
    for path in inputs:
        found = read_checkpoint(path)
        network = identify(found)
        if network is None:
            raise ConversionError(
                f"{path}: holds none of {', '.join(PARTS)} (first key: {next(iter(found))}); is it the right file?"
            )
        if network in parts:
            raise ConversionError(f"{path}: a second {network}; give one file for each part")
        if name not in (network, "cain_sd"):
            raise ConversionError(f"{path}: holds {network}, not {name}; use `jaxdyn convert {network}`")
        parts[network] = found
    if name != "cain_sd" and len(parts) != 1:
        raise ConversionError(f"{name} takes one checkpoint, got {len(inputs)}")
    variables, notes = _convert(name, parts if name == "cain_sd" else parts[name])
    model = model_for(name, variables)
    sources = [path.name for path in inputs]
    pretrained.save(
        output, model, variables, {"name": name, "source": sources, "tool": "jaxdyn convert", "notes": notes}
    )
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))
    return [*notes, f"{output}: {name}, {size:,} parameters from {', '.join(sources)}"]


def identify(state_dict: StateDict) -> str | None:
    """Which published network a checkpoint holds, told by its keys: "cain", "carn_m", "pwcnet" or None."""
    marks = {"encoder.interpolate.headConv.weight": "cain", "entry.weight": "carn_m", "conv1a.0.weight": "pwcnet"}
    for network in marks.values():
        with contextlib.suppress(ConversionError):
            known = _Tensors(network, state_dict).values
            for mark, owner in marks.items():
                if owner == network and mark in known:
                    return network
    return None


# Files. -------------------------------------------------------------------------------------------------------------


def read_checkpoint(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint file, by their key names as they stand, out of any nesting.

    PyTorch is needed for its own formats alone. Nothing that a file holds is ever executed: PyTorch reads with
    `weights_only=True`, NumPy with `allow_pickle=False`.

    Args:
      path: a .pth, .pt, .pth.tar, .ckpt, .npz or .safetensors file.

    Returns:
      Key -> float array.

    Raises:
      ConversionError: no such file, an unknown or damaged format, no tensors in it, objects other than tensors, or
      PyTorch is
        needed and not installed.
    """
    path = pathlib.Path(path)
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors, **dict.fromkeys(TORCH_SUFFIXES, _read_torch)}
    reader = readers.get(path.suffix.lower())
    if not path.is_file():
        raise ConversionError(f"{path}: no such file")
    if reader is None:
        raise ConversionError(f"{path}: unknown kind of checkpoint; give one of {', '.join(sorted(readers))}")
    try:
        content = reader(path)
    except (ConversionError, MemoryError):
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ConversionError(f"{path}: cannot be read as {path.suffix} ({reason}); is the file whole?") from error
    try:
        return _unnested(content)
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from error


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    from safetensors import safe_open

    with safe_open(path, framework="flax") as file:  # through JAX, which knows bfloat16
        return {key: np.asarray(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118


def _read_torch(path: pathlib.Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ConversionError(
            f'{path}: reading {path.suffix} needs PyTorch: pip install "jaxdyn[convert]" (.npz and .safetensors do not)'
        ) from error
    import pickle

    # Plain NumPy numbers, which checkpoints keep beside the weights (a best score): data, nothing that runs.
    numbers = [np.dtype, np.ndarray, np._core.multiarray.scalar, np._core.multiarray._reconstruct]
    numbers += [type(np.dtype(code)) for code in ("f4", "f8", "i4", "i8")]
    try:
        with torch.serialization.safe_globals(numbers):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConversionError(
            f"{path}: holds Python objects besides tensors, and those are never run; save the tensors alone with "
            "torch.save(model.state_dict(), ...) where the file comes from"
        ) from error

    def as_numpy(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: as_numpy(item) for key, item in value.items()}
        if isinstance(value, torch.Tensor):
            return (value.float() if value.is_floating_point() else value).numpy()
        return value

    return as_numpy(content)


def _unnested(content: Any) -> dict[str, np.ndarray]:
    """The innermost mapping of tensors: seen through `state_dict`, `params_ema` and `params`."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in NESTING if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content:
        raise ConversionError("holds no tensors by name; expected the state_dict of a network")
    for key, value in content.items():
        if not hasattr(value, "shape"):
            raise ConversionError(
                f"{key!r} is no tensor but {type(value).__name__}; expected the state_dict of a network"
            )
    return dict(content)


# Tensors by their first publication's names. ------------------------------------------------------------------------


class _Tensors:
    """A state_dict under the first publication's key names; messages keep the names that the file has."""

    def __init__(self, network: str, state_dict: Mapping[str, Any]):
        tensors = _unnested(state_dict)
        stripped = {key: key for key in tensors}  # name without prefixes -> key in the file
        for prefix in PREFIXES:
            if all(name.startswith(prefix) for name in stripped):
                stripped = {name.removeprefix(prefix): key for name, key in stripped.items()}
        rename = {"cain": _from_mmagic_cain, "pwcnet": _from_sniklaus_pwcnet}.get(network, lambda names: names)
        names = list(stripped)
        self.network = network
        self.keys = dict(zip(rename(names), stripped.values(), strict=True))
        self.values = {name: tensors[key] for name, key in self.keys.items()}
        if len(self.keys) < len(tensors):
            twice = sorted(set(tensors) - set(self.keys.values()))
            raise ConversionError(f"{network}: {_some(twice)} there twice, under two publications' names")

    def key(self, name: str) -> str:
        """The name that the file has for it."""
        return self.keys.get(name, name)


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
class _Layer:
    """A kernel and a bias: where they go, and the tensors they come from, one, or stacked along leading axes."""

    path: tuple[str, ...]
    sources: Any  # a name, or nested lists of names
    layout: Callable[[np.ndarray], np.ndarray] = _convolution


def _pwcnet_layers(_: _Tensors) -> list[_Layer]:
    layers = []
    for level in range(1, 7):
        order = ("aa", "a", "b") if level == 6 else ("a", "aa", "b")
        layers += [_Layer(("pyramid", f"level{level}_conv{i}"), f"conv{level}{order[i]}.0") for i in range(3)]
    for level in LEVELS:
        here = f"decoder{level}"
        layers += [_Layer((here, f"conv{i}"), f"conv{level}_{i}.0") for i in range(5)]
        layers.append(_Layer((here, "flow"), f"predict_flow{level}"))
        if level > 2:
            layers.append(_Layer((here, "up_flow"), f"deconv{level}", _transposed_convolution))
            layers.append(_Layer((here, "up_feat"), f"upfeat{level}", _transposed_convolution))
    layers += [_Layer(("context", f"conv{i}"), f"dc_conv{i + 1}.0") for i in range(6)]
    return [*layers, _Layer(("context", "flow"), "dc_conv7")]


def _carn_layers(_: _Tensors) -> list[_Layer]:
    layers = [_Layer(("entry",), "entry"), _Layer(("exit",), "exit")]
    for block in (1, 2, 3):
        here = f"block{block}"
        layers += [_Layer((here, "residual", f"conv{i}"), f"b{block}.b1.body.{2 * i - 2}") for i in (1, 2, 3)]
        layers += [_Layer((here, f"fusion{i}"), f"b{block}.c{i}.body.0") for i in (1, 2, 3)]
        layers.append(_Layer((f"fusion{block}",), f"c{block}.body.0"))
    ups = {"up2": "up2.body.0", "up3": "up3.body.0", "up4_first": "up4.body.0", "up4_second": "up4.body.3"}
    return layers + [_Layer((path,), f"upsample.{source}") for path, source in ups.items()]


def _cain_layers(tensors: _Tensors) -> list[_Layer]:
    body = "encoder.interpolate.body"
    found = [re.match(rf"{re.escape(body)}\.(\d+)\.body\.(\d+)\.body\.", name) for name in tensors.values]
    places = [(int(match[1]), int(match[2])) for match in found if match]
    num_group = max((group for group, _ in places), default=0) + 1
    num_block = max((block for _, block in places), default=0) + 1

    def stack(inner: str) -> list[list[str]]:
        return [[f"{body}.{g}.body.{r}.body.{inner}" for r in range(num_block)] for g in range(num_group)]

    return [
        _Layer(("head",), "encoder.interpolate.headConv"),
        _Layer(("tail",), "encoder.interpolate.tailConv"),
        _Layer(("body", "conv1"), stack("0.conv")),
        _Layer(("body", "conv2"), stack("2.conv")),
        _Layer(("body", "squeeze"), stack("3.conv_du.0"), _linear),
        _Layer(("body", "excite"), stack("3.conv_du.2"), _linear),
        _Layer(("body", "conv"), [f"{body}.{g}.body.{num_block}.conv" for g in range(num_group)]),
    ]


_LAYERS = {"pwcnet": _pwcnet_layers, "carn_m": _carn_layers, "cain": _cain_layers}


# Conversion. --------------------------------------------------------------------------------------------------------


def _check_name(name: str) -> None:
    known = (*_LAYERS, "cain_sd")
    if name not in known:
        raise ConversionError(f"network (={name!r}) must be one of {', '.join(sorted(known))}")


def _convert(name: str, state_dict: Mapping[str, Any]) -> tuple[dict, list[str]]:
    """Variables, and notes on what was left out or initialised."""
    _check_name(name)
    if name == "cain_sd":
        return _convert_parts(state_dict)
    tensors = _Tensors(name, state_dict)
    layers = _LAYERS[name](tensors)
    notes = _drop_known_extras(tensors)
    names = {
        name for layer in layers for source in _leaves(layer.sources) for name in (f"{source}.weight", f"{source}.bias")
    }
    if missing := sorted(names - set(tensors.values)):
        raise ConversionError(f"{name}: {_some(missing)} missing; is this the {name} checkpoint, and whole?")
    if extra := sorted(set(tensors.values) - names):
        raise ConversionError(
            f"{name}: {_some([tensors.key(key) for key in extra])} unknown; {name} has no such parameter"
        )
    for key, value in tensors.values.items():
        if np.ndim(value) != (1 if key.endswith(".bias") else 4):
            wanted = "[O]" if key.endswith(".bias") else "four axes"
            raise ConversionError(f"{name}: {tensors.key(key)} has shape {tuple(value.shape)}, expected {wanted}")
        if not np.isfinite(np.asarray(value, np.float32)).all():
            raise ConversionError(f"{name}: {tensors.key(key)} holds NaN or infinity; the checkpoint is broken")

    _check_shapes(name, layers, tensors)
    params = {}
    for layer in layers:
        kernel = _stacked(layer.sources, lambda s, layer=layer: layer.layout(_float(tensors.values[f"{s}.weight"])))
        params[(*layer.path, "kernel")] = kernel
        params[(*layer.path, "bias")] = _stacked(layer.sources, lambda s: _float(tensors.values[f"{s}.bias"]))
    return {"params": traverse_util.unflatten_dict({path: jnp.asarray(leaf) for path, leaf in params.items()})}, notes


def _convert_parts(state_dicts: Mapping[str, StateDict]) -> tuple[dict, list[str]]:
    """CAIN-SD from its parts; what is missing is initialised and named in the notes."""
    if not isinstance(state_dicts, Mapping) or not set(state_dicts) <= set(PARTS):
        got = (
            ", ".join(map(str, list(state_dicts)[:3]))
            if isinstance(state_dicts, Mapping)
            else type(state_dicts).__name__
        )
        raise ConversionError(
            f"cain_sd is converted from its parts, a mapping with keys among {', '.join(PARTS)}; got {got}"
        )
    converted, notes = {}, []
    for network, state_dict in state_dicts.items():
        variables, part_notes = _convert(network, state_dict)
        converted[PARTS[network]] = variables["params"]
        notes += part_notes
    fields = _fields("cain", converted["cain"]) if "cain" in converted else {}
    model = models.build("cain_sd", **fields)
    expected = pretrained.parameter_shapes(model)
    for part, params in converted.items():
        if (found := jax.tree.map(jnp.shape, params)) != (wanted := jax.tree.map(jnp.shape, expected[part])):
            different = [
                f"{'/'.join(path)} has shape {shape}, expected {traverse_util.flatten_dict(wanted).get(path)}"
                for path, shape in traverse_util.flatten_dict(found).items()
                if traverse_util.flatten_dict(wanted).get(path) != shape
            ]
            raise ConversionError(f"cain_sd: {part}: {different[0]}; only CAIN may have other widths here")
    absent = sorted(set(expected) - set(converted))
    if absent:
        notes.append(f"initialised, to be trained: {', '.join(absent)}")
        frame = jnp.zeros((1, 64, 64, 3))

        @jax.jit  # computes the absent parts only
        def draw(key: chex.PRNGKey) -> dict:
            params = model.init(key, frame, frame)["params"]
            return {part: params[part] for part in absent}

        converted |= draw(jax.random.key(0))
    return {"params": converted}, notes


def _drop_known_extras(tensors: _Tensors) -> list[str]:
    """Takes out what a network carries besides its parameters; says so."""
    if tensors.network == "pwcnet":
        unused = [key for key in ("deconv2.weight", "deconv2.bias") if tensors.values.pop(key, None) is not None]
        return [f"left out, the network never uses them: {', '.join(unused)}"] if unused else []
    if tensors.network != "carn_m":
        return []
    checked = []
    for shift, sign in (("sub_mean", -1), ("add_mean", 1)):
        for key in [key for key in tensors.values if key.startswith(f"{shift}.")]:
            value = np.asarray(tensors.values.pop(key), np.float32)
            constant = sign * RGB_MEAN if key.endswith("bias") else np.eye(3)
            if value.size != constant.size or not np.allclose(value.reshape(constant.shape), constant, atol=1e-4):
                raise ConversionError(
                    f"carn_m: {tensors.key(key)} is not the published mean shift; these weights need other code"
                )
            checked.append(key)
    return [f"left out, equal to the built-in constants: {', '.join(sorted(checked))}"] if checked else []


def _check_shapes(name: str, layers: list[_Layer], tensors: _Tensors) -> None:
    """Every tensor against the module that the first ones' shapes call for."""
    tops = {
        (*layer.path, "kernel"): layer.layout(tensors.values[f"{next(_leaves(layer.sources))}.weight"])
        for layer in layers
    }
    stack = {layer.path: np.shape(np.array(layer.sources)) for layer in layers}
    shapes = {path: jax.ShapeDtypeStruct((*stack[path[:-1]], *top.shape), jnp.float32) for path, top in tops.items()}
    params = traverse_util.unflatten_dict(shapes)
    model = models.build(name, **_fields(name, params))
    expected = traverse_util.flatten_dict(pretrained.parameter_shapes(model))
    for layer in layers:
        skip = len(stack[layer.path])
        for source in _leaves(layer.sources):
            for kind, leaf, layout in (("weight", "kernel", layer.layout), ("bias", "bias", lambda bias: bias)):
                found = tensors.values[f"{source}.{kind}"]
                wanted = expected[(*layer.path, leaf)].shape[skip:]
                if layout(found).shape != wanted:
                    here = f"{tensors.key(f'{source}.{kind}')} has shape {tuple(found.shape)}"
                    raise ConversionError(
                        f"{name}: {here}, which is {layout(found).shape} here, but the other tensors call for {wanted}"
                    )


def _fields(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The module's fields that give parameters of these shapes."""
    try:
        return {"pwcnet": _pwcnet_fields, "carn_m": _carn_fields, "cain": _cain_fields, "cain_sd": _cain_sd_fields}[
            name
        ](params)
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


def _leaves(sources: Any) -> Iterable[str]:
    if isinstance(sources, str):
        yield sources
    else:
        for inner in sources:
            yield from _leaves(inner)


def _stacked(sources: Any, read: Callable[[str], np.ndarray]) -> np.ndarray:
    return read(sources) if isinstance(sources, str) else np.stack([_stacked(inner, read) for inner in sources])


def _float(value: Any) -> np.ndarray:
    return np.asarray(value, np.float32)


def _some(keys: list[str], limit: int = 4) -> str:
    listed = ", ".join(keys[:limit])
    return (
        f"{listed} {'is' if len(keys) == 1 else 'are'}"
        if len(keys) <= limit
        else f"{listed} and {len(keys) - limit} more are"
    )
