"""Where a step runs: on one device, or on many with the batch spread over them and the state the same on all.

Every element of a batch weighs the same in every loss, so the mean over devices is the mean over the batch: the plans
give the same gradients and losses up to the order of sums. Random numbers that one step shares, the threshold of
"gates", are the same in every plan. Those that each element draws, the choices of "depth", "scale" and "finders", are
the same under "single" and "sharding"; under "pmap" every device draws its own, so that they depend on the number of
devices.

Axes: B elements of a batch over all processes, D devices of this process.
"""

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterator
from typing import Literal, get_args

import chex
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from orbax.checkpoint import multihost

Kind = Literal["single", "pmap", "sharding"]

AXIS = "data"
"""The only axis of the mesh: elements of a batch."""

WHOLE = frozenset({"teacher", "frame_size"})
"""Entries of a batch that every device needs as they are; all others are spread along their first axis."""

ENVIRONMENT = {
    "coordinator": "JAX_COORDINATOR_ADDRESS",
    "num_process": "JAX_NUM_PROCESSES",
    "process": "JAX_PROCESS_ID",
}
"""Where `initialize` looks for what it is not given."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where a step runs; `plan_of` makes one.

    Attributes:
      kind: "single" is jit on the default device; "pmap" one program for each device, which averages gradients;
        "sharding" one program for all of them, which XLA splits: the state on every device, the batch along its first
        axis.
      devices: over all processes; empty for "single".
    """

    kind: Kind = "single"
    devices: tuple[jax.Device, ...] = ()
    _placed: dict = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def compile(self, make_step: Callable[[str | None], Callable]) -> Callable:
        """The compiled step: (state, batch, key, variant) -> (state, metrics); the state's memory is used again.

        Args:
          make_step: (axis name to average over, or None) -> the pure step.
        """
        if self.kind == "pmap":
            return self._pmapped(make_step(AXIS))
        places = {}
        if self.kind == "sharding":
            whole = NamedSharding(self.mesh, PartitionSpec())
            places = {"in_shardings": (whole, None, whole), "out_shardings": whole}  # the batch lies where it was put
        return jax.jit(make_step(None), static_argnums=3, donate_argnums=0, **places)

    def check(self, name: str, batch: int, accumulate: int = 1) -> None:
        """Whether a stage of this name and batch can be spread, its parts (see `step.make_step`) too.

        Raises:
          ValueError: it cannot.
        """
        number = max(1, len(self.devices))
        parts = number * accumulate if self.kind == "pmap" else math.lcm(number, accumulate)
        if batch % parts:
            raise ValueError(
                f"stage {name}: batch (={batch}) must be a multiple of {parts}, for {number} devices ({self.kind}) and "
                f"accumulate={accumulate}; change --config.stages.{name}.batch, accumulate, or the number of devices"
            )

    def put_state(self, state: chex.ArrayTree) -> chex.ArrayTree:
        """A state where the step expects it: on every device, without an axis for them."""
        if self.kind == "single":
            return state
        return jax.tree.map(lambda leaf: self._put(np.array(leaf), PartitionSpec()), state)

    def put_batch(self, batch: dict) -> dict:
        """This process's part of a global batch where the step expects it.

        Args:
          batch: arrays [B / processes, ...], and entries of `WHOLE`, the same in every process. What of these stays
            the same object from step to step is moved once.

        Raises:
          ValueError: an array that cannot be spread evenly over this process's devices.
        """
        if self.kind == "single":
            return batch
        num_local = self.num_local
        for path, leaf in jax.tree_util.tree_leaves_with_path({k: v for k, v in batch.items() if k not in WHOLE}):
            if not leaf.shape or leaf.shape[0] % num_local or not leaf.shape[0]:
                raise ValueError(
                    f"batch{jax.tree_util.keystr(path)} has shape {leaf.shape}, expected a first axis that is a "
                    f"multiple of {num_local}, the devices of this process; change the stage's batch, or use fewer "
                    "devices"
                )
        split = self._split_by_device if self.kind == "pmap" else np.asarray
        spread = lambda leaf: self._put(split(leaf), PartitionSpec(AXIS))  # noqa: E731
        return {
            name: self._put_whole(name, part) if name in WHOLE else jax.tree.map(spread, part)
            for name, part in batch.items()
        }

    def part_of(self, batch: dict) -> dict:
        """What of a whole batch is this process's part, for feeds that make the whole batch in every process."""
        number, process = (1, 0) if self.kind == "single" else (jax.process_count(), jax.process_index())

        def cut(leaf):
            if leaf.shape[0] % number:
                raise ValueError(f"batch (={leaf.shape[0]}) must be divisible by the {number} processes; change it")
            size = leaf.shape[0] // number
            return leaf[process * size : (process + 1) * size]

        return {name: part if name in WHOLE else jax.tree.map(cut, part) for name, part in batch.items()}

    @property
    def process(self) -> tuple[int, int]:
        """(p, P): which process this is of those that share a batch, and how many they are."""
        return (0, 1) if self.kind == "single" else (jax.process_index(), jax.process_count())

    @property
    def num_local(self) -> int:
        """D."""
        return len(self.mesh.local_devices)

    @functools.cached_property
    def mesh(self) -> Mesh:
        """The devices in a row: all for "sharding", those of this process for "pmap", which joins them itself."""
        own = jax.process_index()
        devices = [d for d in self.devices if self.kind == "sharding" or d.process_index == own]
        return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))

    def _pmapped(self, step: Callable) -> Callable:
        """The only place that knows `pmap`: the state goes in and comes out without an axis for devices."""

        @functools.cache
        def of(names: tuple[str, ...]) -> Callable:
            axes = {name: None if name in WHOLE else 0 for name in names}
            return jax.pmap(
                step,
                AXIS,
                in_axes=(None, axes, None),
                out_axes=None,
                static_broadcasted_argnums=3,
                devices=self.devices,
                donate_argnums=0,
            )

        return lambda state, batch, key, variant: of(tuple(sorted(batch)))(state, batch, key, variant)

    def _split_by_device(self, leaf: chex.Array) -> np.ndarray:
        """[D n, ...] -> [D, n, ...]."""
        return np.asarray(leaf).reshape(self.num_local, -1, *leaf.shape[1:])

    def _put(self, leaf: np.ndarray, spec: PartitionSpec) -> jax.Array:
        return jax.make_array_from_process_local_data(NamedSharding(self.mesh, spec), leaf)

    def _put_whole(self, name: str, part: chex.ArrayTree) -> chex.ArrayTree:
        """An entry on every device; the one of the step before is used again where it is the same object."""
        given, placed = self._placed.get(name, (None, None))
        if given is not part:
            placed = jax.tree.map(lambda leaf: self._put(np.asarray(leaf), PartitionSpec()), part)
            self._placed[name] = (part, placed)
        return placed


def plan_of(kind: Kind, num_device: int | None = None) -> Plan:
    """A plan on the devices that there are.

    Args:
      kind: see `Plan`.
      num_device: how many to use, over all processes; None: all of them, or one for "single".

    Raises:
      ValueError: an unknown kind, or devices that there are not.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind (={kind!r}) must be one of {', '.join(get_args(Kind))}")
    if kind == "single":
        if num_device not in (None, 1):
            raise ValueError(f"num_device (={num_device}) must be 1 for a single device; use 'pmap' or 'sharding'")
        if jax.process_count() > 1:
            raise ValueError(f"'single' runs in 1 process, there are {jax.process_count()}; use 'pmap' or 'sharding'")
        return Plan()
    devices = jax.devices()
    num_device = len(devices) if num_device is None else num_device
    if not 1 <= num_device <= len(devices):
        raise ValueError(
            f"num_device (={num_device}) must be from 1 to {len(devices)}, the {devices[0].platform} devices that "
            "there are; use fewer, or, to try it on a CPU, set XLA_FLAGS=--xla_force_host_platform_device_count="
            f"{max(num_device, 1)}"
        )
    if jax.process_count() > 1 and num_device != len(devices):
        raise ValueError(
            f"num_device (={num_device}) must be {len(devices)}, all devices, with {jax.process_count()} processes; "
            "leave it out"
        )
    return Plan(kind, tuple(devices[:num_device]))


def initialize(coordinator: str | None = None, num_process: int | None = None, process: int | None = None) -> None:
    """Join the other processes of a run on several hosts; without any setting there is this process alone.

    Must come before anything that uses a device. What is not given comes from the variables in `ENVIRONMENT`.

    Args:
      coordinator: HOST:PORT of process 0, the same in every process; "auto" where a cluster's own settings (Slurm, Open
        MPI, TPU pods) tell everything.
      num_process: processes in all.
      process: the number of this one, from 0.

    Raises:
      ValueError: only some of the three are known, or numbers that do not fit each other.
    """
    given = {"coordinator": coordinator, "num_process": num_process, "process": process}
    found = {name: os.environ.get(ENVIRONMENT[name]) if value is None else value for name, value in given.items()}
    if found["coordinator"] == "auto":
        jax.distributed.initialize()
        return
    missing = [name for name, value in found.items() if value is None]
    if len(missing) == len(found):
        return
    if missing:
        variables = ", ".join(ENVIRONMENT[name] for name in missing)
        raise ValueError(f"{', '.join(missing)} not known, expected with several processes; set {variables}")
    number, own = int(found["num_process"]), int(found["process"])
    if not 0 <= own < number:
        raise ValueError(f"process (={own}) must be from 0 to num_process - 1 (={number - 1}); number them from 0")
    jax.distributed.initialize(found["coordinator"], number, own)


@contextlib.contextmanager
def chief_first(key: str) -> Iterator[None]:
    """Within, process 0 comes first, then the others at the same time; all leave together.

    What is kept on disk is so made once where the processes share it, and by each of them where they do not.

    Args:
      key: of this place in the program, another one for each.
    """
    barrier = multihost.get_barrier_sync_fn()  # does nothing in a process that is alone
    wait = lambda end: barrier(key=f"{key} {end}", timeout_ms=PATIENCE_MS)  # noqa: E731
    if not is_chief():
        wait("chief")
    yield
    if is_chief():
        wait("chief")
    wait("all")


PATIENCE_MS = 24 * 60 * 60 * 1000
"""How long processes wait for the one that makes what they share; one that died is noticed long before."""


def is_chief() -> bool:
    """Whether this process is the one that writes logs."""
    return jax.process_index() == 0
