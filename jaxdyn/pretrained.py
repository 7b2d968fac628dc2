"""Weights as files: the ones that come with the package, and the user's own.

A weights file is safetensors: every array of `variables["params"]` under its path ("cain/head/kernel"), and in the
metadata one JSON object with the network's name, its fields (what `models.build` takes) and a card: data, licence,
command, scores.
"""

import dataclasses
import functools
import importlib.resources
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import chex
import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxdyn import models
from jaxdyn.errors import UserError

FORMAT = "jaxdyn weights 1"


def shipped() -> dict[str, pathlib.Path]:
    """Names and files of the weights in the package."""
    folder = pathlib.Path(str(importlib.resources.files("jaxdyn") / "weights"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def load(name: str | os.PathLike) -> tuple[nn.Module, dict]:
    """A network and its variables, float32.

    Args:
      name: of weights that come with the package ("cain_sd"), or the path of a weights file.

    Raises:
      UserError: no such weights, a file of another kind, arrays that do not fit the network, values that are not
        finite.
    """
    path = shipped().get(str(name), pathlib.Path(name))
    content = read_metadata(path)
    model = models.build(content["network"], **_fields_of(content))
    with safe_open(path, framework="numpy") as file:
        arrays = {key: file.get_tensor(key).astype(np.float32) for key in file.keys()}  # noqa: SIM118 (no mapping)
    check(path, model, arrays)
    return model, {"params": unflatten_dict(arrays, sep="/")}


def read_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """What a weights file says of itself: `network`, `fields`, `card`.

    Raises:
      UserError: no such file, or not a weights file of this package.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        known = ", ".join(shipped()) or "none"
        raise UserError(f"{path}: no such weights file; weights that come with the package: {known}.")
    try:
        with safe_open(path, framework="numpy") as file:
            content = json.loads((file.metadata() or {}).get("jaxdyn", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a weights file ({error}); `jaxdyn convert` makes one of a PyTorch checkpoint."
        ) from error
    if content.get("format") != FORMAT:
        raise UserError(f"{path}: safetensors, but not written by jaxdyn; run it through `jaxdyn convert` first.")
    return content


def save(
    path: str | os.PathLike,
    model: nn.Module,
    variables: Mapping[str, Any],
    card: Mapping[str, Any],
    dtype: np.typing.DTypeLike = np.float32,
) -> None:
    """Write a weights file, whole or not at all.

    Args:
      path: of the file; its folder must exist.
      model: a network that `models.build` knows; its fields are stored beside the arrays.
      variables: {"params": ...}.
      card: what a reader should know: data, licence, command, hardware, scores. Plain JSON values.
      dtype: of the stored arrays; float16 halves the file.

    Raises:
      ValueError: a network that cannot be built by name, or values that `dtype` cannot hold.
      OSError: a place that cannot be written.
    """
    path = pathlib.Path(path)
    arrays = {}
    for key, leaf in flatten_dict(dict(variables["params"]), sep="/").items():
        arrays[key] = np.asarray(leaf, dtype, order="C")
        if not np.isfinite(arrays[key]).all():
            raise ValueError(
                f"{key} is not finite as {np.dtype(dtype)}; store it as float32, or look at the training log"
            )
    content = {"format": FORMAT, "network": _name_of(model), "fields": changed_fields(model), "card": dict(card)}
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        save_file(arrays, temporary, metadata={"jaxdyn": json.dumps(content)})
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def check(path: pathlib.Path, model: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays that are not exactly the network's parameters, or not finite."""
    wanted = {key: leaf.shape for key, leaf in flatten_dict(parameter_shapes(model), sep="/").items()}
    for problem, keys in (("lacks", wanted.keys() - arrays.keys()), ("has an unknown", arrays.keys() - wanted.keys())):
        if keys:
            raise UserError(f"{path}: {problem} {sorted(keys)[0]} ({len(keys)} such); it was made for another network.")
    for key, shape in wanted.items():
        if arrays[key].shape != shape:
            raise UserError(
                f"{path}: {key} has shape {arrays[key].shape}, the network needs {shape}; convert it again."
            )
        if not np.isfinite(arrays[key]).all():
            raise UserError(f"{path}: {key} holds NaN or infinity; use another file.")


@functools.lru_cache(maxsize=16)
def parameter_shapes(model: nn.Module) -> chex.ArrayTree:
    """Shapes of a network's parameters, without computing any; kept, because it traces the whole network."""
    return jax.eval_shape(model.init, jax.random.key(0), *models.example_arguments(model))["params"]


def _name_of(model: nn.Module) -> str:
    for name, kind in models.modules().items():
        if type(model) is kind:
            return name
    raise ValueError(
        f"{type(model).__name__} is not one of the networks of models.build: {', '.join(models.modules())}"
    )


def changed_fields(model: nn.Module) -> dict[str, Any]:
    """The module's own fields as JSON values; only what differs from the defaults."""
    fields = {}
    for field in dataclasses.fields(model):
        if field.name in ("parent", "name"):
            continue
        value = getattr(model, field.name)
        if value != field.default:
            fields[field.name] = value
    return fields


def _fields_of(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _as_tuple(value) for key, value in content["fields"].items()}


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
