"""Traced programs, kept from one run to the next: a job computes as soon as its program is loaded.

    (function, static arguments, shapes) -> key -> FOLDER/KEY -> StableHLO -> compiled program -> call

JAX's own cache keeps what XLA compiled, and finds it by the program, so that a network is traced and lowered in every
run: two or three seconds of each start. Here the traced program (`jax.export`) is kept as well, under everything that
it depends on: this package's source, versions and settings of JAX, static arguments, shapes, the kind of device.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from concurrent import futures
from importlib import metadata
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import export

from jaxdyn import cache, pretrained
from jaxdyn.types import BlockRoute, Route

MAX_NUM = 64
"""Programs in a folder; beyond it those that were not used for longest go. Each takes some 100 kB."""

DIGEST = hashlib.sha256
SETTINGS = ("jax_default_matmul_precision", "jax_default_prng_impl", "jax_enable_x64", "jax_numpy_dtype_promotion")
"""Of JAX, that a trace depends on."""


class Programs:
    """Calls jitted functions by programs that are kept in a folder.

    What a call gives is what the function itself gives. A function that this package does not hold, or a network whose
    source it does not hold, is called as it is: a key would not notice that it changed.

    Args:
      folder: where they are kept, made if it is not there; its owner's alone, as programs are run. None: nothing is
        kept, and functions are called as they are.
      device: on which they run; None: JAX's default.
    """

    def __init__(self, folder: str | os.PathLike | None = None, device: jax.Device | None = None):
        self.folder = None if folder is None else pathlib.Path(folder)
        self._device = device
        self._loaded: dict[_Wanted, futures.Future] = {}
        self._thread = futures.ThreadPoolExecutor(1, "jaxdyn-programs")

    def __call__(self, function: Callable, static: Sequence[Any], *arguments: Any) -> Any:
        """function(*static, *arguments).

        Args:
          function: jitted, of a module; its first arguments are static.
          static: these: networks, strings, numbers, tuples.
          *arguments: trees of arrays.
        """
        if not self._keeps(function, static):
            return function(*static, *arguments)
        wanted = self._wanted(function, static, arguments)
        if wanted not in self._loaded:
            self._loaded[wanted] = done = futures.Future()
            done.set_result(wanted.load())
        return self._loaded[wanted].result()(*arguments)

    def prepare(self, function: Callable, static: Sequence[Any], *arguments: Any) -> None:
        """Has a thread load the program of a later call, if it is kept; what goes wrong, the call raises.

        Args:
          function, static: as in a call.
          *arguments: trees of arrays, or of `jax.ShapeDtypeStruct`s in their place.
        """
        if not self._keeps(function, static):
            return
        wanted = self._wanted(function, static, arguments)
        if wanted not in self._loaded and wanted.path.exists():
            self._loaded[wanted] = self._thread.submit(wanted.load)

    def _keeps(self, function: Callable, static: Sequence[Any]) -> bool:
        places = [function.__module__, *(type(value).__module__ for value in static if isinstance(value, nn.Module))]
        return self.folder is not None and all(place.startswith("jaxdyn.") for place in places)

    def _wanted(self, function: Callable, static: Sequence[Any], arguments: tuple) -> "_Wanted":
        leaves, tree = jax.tree.flatten(arguments)
        shapes = tuple((tuple(leaf.shape), np.dtype(leaf.dtype).name) for leaf in leaves)
        return _Wanted(self.folder, function, tuple(static), tree, shapes, self._device)


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """What is called: a program by everything that it depends on."""

    folder: pathlib.Path
    function: Callable
    static: tuple
    tree: Any
    shapes: tuple
    device: jax.Device | None

    @functools.cached_property
    def platform(self) -> str:
        """What it is compiled for, as `jax.export` names it."""
        is_cpu = self.device is not None and self.device.platform == "cpu"
        return "cpu" if is_cpu else export.default_export_platform()

    @functools.cached_property
    def path(self) -> pathlib.Path:
        """Where it is kept."""
        return self.folder / key_of(self.function, self.static, (str(self.tree), self.shapes), self.platform)

    def load(self) -> Callable:
        """The compiled program, from the folder or into it."""
        sharding = None if self.device is None else jax.sharding.SingleDeviceSharding(self.device)
        leaves = [jax.ShapeDtypeStruct(*shape, sharding=sharding) for shape in self.shapes]
        arguments, kept = jax.tree.unflatten(self.tree, leaves), read(self.path)
        if kept is None:
            try:
                exported = export.export(self.function, platforms=[self.platform])(*self.static, *arguments)
                kept = bytes(exported.serialize())
            except (ValueError, NotImplementedError):  # an operation of this device that cannot be exported
                return functools.partial(self.function, *self.static)
            with contextlib.suppress(OSError):  # a full disk: this run goes on, the next one traces again
                write(self.path, kept)
        return jax.jit(export.deserialize(bytearray(kept)).call).lower(*arguments).compile()


def key_of(function: Callable, static: Sequence[Any], shapes: Any, platform: str) -> str:
    """The file name of a program: another one whenever anything differs that its trace depends on."""
    content = {
        "function": f"{function.__module__}.{function.__qualname__}",
        "static": [_describe(value) for value in static],
        "shapes": repr(shapes),
        "platform": platform,
        "settings": [repr(getattr(jax.config, name)) for name in SETTINGS],
        "versions": [metadata.version(name) for name in ("jax", "jaxlib", "flax", "numpy")],
        "source": source_digest(),
    }
    return DIGEST(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def read(path: pathlib.Path) -> bytes | None:
    """The program in a file, now the last one used; None where there is none, or not as it was written."""
    try:
        content = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    digest, kept = content[: DIGEST().digest_size], content[DIGEST().digest_size :]
    return kept if digest == DIGEST(kept).digest() else None


def write(path: pathlib.Path, kept: bytes) -> None:
    """Writes a program, whole or not at all; of too many, the ones not used for longest go.

    Raises:
      OSError: the folder cannot be made or written.
    """
    cache.write_whole(path, DIGEST(kept).digest() + kept)
    others = sorted(path.parent.glob("[0-9a-f]*"), key=_last_use)
    for other in others[: max(len(others) - MAX_NUM, 0)]:
        other.unlink(missing_ok=True)


@functools.cache
def source_digest() -> str:
    """Of all modules of this package: an edited network is not the one that was traced."""
    digest, package = DIGEST(), pathlib.Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _describe(value: Any) -> str:
    if isinstance(value, nn.Module):
        return f"{type(value).__module__}.{type(value).__qualname__} {pretrained.changed_fields(value)}"
    return repr(value)


def _last_use(path: pathlib.Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has removed it
        return 0.0


def _register() -> None:
    """Routes go into programs and come out of them."""
    for kind in (Route, BlockRoute):
        export.register_pytree_node_serialization(
            kind,
            serialized_name=f"jaxdyn.{kind.__name__}",
            serialize_auxdata=lambda auxiliary: b"",
            deserialize_auxdata=lambda stored: (),
        )


_register()
