"""Published PyTorch weights into this library's variables.

    file --read_checkpoint--> state_dict --from_torch--> variables --model_for--> the module that they fit

A network's layout is a table: for every parameter here, the key of the tensor there. Widths and depths are read from
the tensors' shapes. Whatever is missing, left over, misshapen or not finite is an error that names its key. Known
exceptions: PWC-Net's `deconv2` and mmagic's `step_counter`, which no network uses, and constants, which are checked
where they are present: CARN-M's mean shift, SpyNet's `mean` and `std`.

Key names of other publications of the same networks (mmagic's CAIN, SpyNet and BasicVSR, sniklaus' PWC-Net and SpyNet)
are translated first. The tables are in `jaxdyn.layouts`.
"""

import contextlib
import logging
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from jaxdyn import layouts, models, pretrained
from jaxdyn.errors import ConversionError
from jaxdyn.layouts import Layer
from jaxdyn.models.basicvsr import DIRECTIONS

NESTING = ("state_dict", "params_ema", "params")  # names under which checkpoints keep their tensors, best first
PREFIXES = ("module.", "generator.")  # of DataParallel and of mmagic
TORCH_SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", ".pytorch")
PARTS = {"cain": "cain", "carn_m": "carn_m", "pwcnet": "flow"}  # network -> its part of CainSD
SOURCES = {"cain_sd": tuple(PARTS), "skipvsr": ("basicvsr",)}  # network that was never published -> whose files make it

_log = logging.getLogger(__name__)

StateDict = Mapping[str, np.ndarray]


def from_torch(name: str, state_dict: Mapping[str, Any]) -> dict:
    """Variables of a network from its PyTorch tensors.

    Args:
      name: "pwcnet", "carn_m", "cain", "spynet", "basicvsr"; "cain_sd" or "skipvsr", which are made from those.
      state_dict: tensors by their original key names, PyTorch layout; a `module.` prefix and nesting under
        `state_dict` or `params` are seen through. For "cain_sd" a mapping of such mappings, {"cain": ..., "carn_m":
        ..., "pwcnet": ...}: parts that are missing, and the finders, are initialised (key 0) and listed in the log. For
        "skipvsr" BasicVSR's tensors: the gates are initialised, which at threshold 0 changes nothing.

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
    return models.build(name, **layouts.fields(name, variables["params"]))


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
                f"{path}: holds none of {', '.join(sorted(layouts.LAYERS))} (first key: {next(iter(found))}); "
                "is it the right file?"
            )
        if network in parts:
            raise ConversionError(f"{path}: a second {network}; give one file for each part")
        if network not in SOURCES.get(name, (name,)):
            raise ConversionError(f"{path}: holds {network}, not {name}; use `jaxdyn convert {network}`")
        parts[network] = found
    if name != "cain_sd" and len(parts) != 1:
        raise ConversionError(f"{name} takes one checkpoint, got {len(inputs)}")
    variables, notes = _convert(name, parts if name == "cain_sd" else next(iter(parts.values())))
    model = model_for(name, variables)
    sources = [path.name for path in inputs]
    pretrained.save(
        output, model, variables, {"name": name, "source": sources, "tool": "jaxdyn convert", "notes": notes}
    )
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))
    return [*notes, f"{output}: {name}, {size:,} parameters from {', '.join(sources)}"]


def identify(state_dict: StateDict) -> str | None:
    """Which published network a checkpoint holds, told by its keys: "cain", "carn_m", "pwcnet", "spynet", "basicvsr" or
    None."""
    for mark, network in layouts.MARKS.items():
        with contextlib.suppress(ConversionError):
            if mark in _Tensors(network, state_dict).values:
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
            if all(name.startswith(prefix) or layouts.extra(network, name) for name in stripped):
                stripped = {name.removeprefix(prefix): key for name, key in stripped.items()}
        rename = layouts.RENAMES.get(network, lambda names: names)
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


# Conversion. --------------------------------------------------------------------------------------------------------


def _check_name(name: str) -> None:
    known = (*layouts.LAYERS, *SOURCES)
    if name not in known:
        raise ConversionError(f"network (={name!r}) must be one of {', '.join(sorted(known))}")


def _convert(name: str, state_dict: Mapping[str, Any]) -> tuple[dict, list[str]]:
    """Variables, and notes on what was left out or initialised."""
    _check_name(name)
    if name == "cain_sd":
        return _convert_parts(state_dict)
    if name == "skipvsr":
        return _convert_with_gates(state_dict)
    tensors = _Tensors(name, state_dict)
    layers = layouts.LAYERS[name](tensors.values)
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
    fields = layouts.fields("cain", converted["cain"]) if "cain" in converted else {}
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

        @jax.jit  # computes the absent parts only
        def draw(key: chex.PRNGKey) -> dict:
            params = model.init(key, *models.example_arguments(model))["params"]
            return {part: params[part] for part in absent}

        converted |= draw(jax.random.key(0))
    return {"params": converted}, notes


def _convert_with_gates(state_dict: Mapping[str, Any]) -> tuple[dict, list[str]]:
    """SkipVSR from BasicVSR: the same parameters, and gates that are still undecided."""
    variables, notes = _convert("basicvsr", state_dict)
    params = dict(variables["params"])
    num_feat = layouts.fields("basicvsr", params)["num_feat"]
    gates = {f"gate_{direction}": {"kernel": jnp.zeros(num_feat), "bias": jnp.zeros(())} for direction in DIRECTIONS}
    return {"params": params | gates}, [*notes, f"initialised, to be trained: {', '.join(gates)}"]


def _drop_known_extras(tensors: _Tensors) -> list[str]:
    """Takes out what a checkpoint carries besides the network's parameters; says so."""
    unused, checked = [], []
    for name in list(tensors.values):
        extra = layouts.extra(tensors.network, name)
        if extra is None:
            continue
        value = np.asarray(tensors.values.pop(name), np.float32)
        if extra.constant is None:
            unused.append(name)
            continue
        is_equal = value.size == extra.constant.size and np.allclose(
            value.reshape(extra.constant.shape), extra.constant, atol=1e-4
        )
        if not is_equal:
            raise ConversionError(
                f"{tensors.network}: {tensors.key(name)} is not the published {extra.what}; "
                "these weights need other code"
            )
        checked.append(name)
    notes = [f"left out, the network never uses them: {', '.join(unused)}"] if unused else []
    return notes + ([f"left out, equal to the built-in constants: {', '.join(sorted(checked))}"] if checked else [])


def _check_shapes(name: str, layers: list[Layer], tensors: _Tensors) -> None:
    """Every tensor against the module that the first ones' shapes call for."""
    tops = {
        (*layer.path, "kernel"): layer.layout(tensors.values[f"{next(_leaves(layer.sources))}.weight"])
        for layer in layers
    }
    stack = {layer.path: np.shape(np.array(layer.sources)) for layer in layers}
    shapes = {path: jax.ShapeDtypeStruct((*stack[path[:-1]], *top.shape), jnp.float32) for path, top in tops.items()}
    params = traverse_util.unflatten_dict(shapes)
    model = models.build(name, **layouts.fields(name, params))
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
