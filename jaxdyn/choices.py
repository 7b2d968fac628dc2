"""Which execution wins on this machine for a size: measured by `jaxdyn bench`, kept in the cache, used by the jobs.

A choice is asked for by everything that it depends on: the machine and its cores, the kind of device, the versions,
the network with its widths, the size of the frames. What it does not depend on is the weights' values.
"""

import dataclasses
import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import jax
from flax import linen as nn

from jaxdyn import cache, machine, pretrained
from jaxdyn.version import __version__

Job = Literal["interpolate", "upscale"]
EXECUTIONS = ("packed", "dense")
CHOSEN = ("chunks", "parallel")  # fields of networks that a choice sets


@dataclasses.dataclass(frozen=True)
class Key:
    """What a choice holds for.

    Attributes:
      job: "interpolate" or "upscale".
      size: "WIDTHxHEIGHT" of the source's frames.
      network: its name and fields, but for those that are chosen.
      device: kind of the device, such as "cpu".
      machine: see `machine.describe`.
      versions: of jaxdyn and JAX.
    """

    job: Job
    size: str
    network: str
    device: str
    machine: str
    versions: str

    @property
    def file_name(self) -> str:
        """Readable in its front, unique by its end."""
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()[:12]
        return f"{self.job}-{self.size}-{digest}.json"


@dataclasses.dataclass(frozen=True)
class Choice:
    """What won, and by how much.

    Attributes:
      execution: "packed" or "dense", the faster one.
      together: how many patches run side by side where packed execution is fastest: for "interpolate" at scale 1, 1/2
        and 1/4, for "upscale" one number.
      share: executed FLOPs of packed execution, of the dense network's.
      packed_milliseconds: of a made frame.
      dense_milliseconds: likewise, in the same interleaved run.
    """

    execution: Literal["packed", "dense"]
    together: tuple[int, ...]
    share: float
    packed_milliseconds: float
    dense_milliseconds: float

    def __post_init__(self):
        """Refuse what no measurement could have given."""
        if self.execution not in EXECUTIONS:
            raise ValueError(f"execution (={self.execution!r}) must be one of {', '.join(EXECUTIONS)}")
        if len(self.together) not in (1, 3) or not all(type(n) is int and n > 0 for n in self.together):
            raise ValueError(f"together (={self.together!r}) must be one or three whole numbers over 0")
        for name in ("share", "packed_milliseconds", "dense_milliseconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} (={getattr(self, name)!r}) must be over 0")

    @property
    def speedup(self) -> float:
        """How many times as fast packed execution is."""
        return self.dense_milliseconds / self.packed_milliseconds


def key_of(job: Job, size: tuple[int, int], model: nn.Module, device: jax.Device | None = None) -> Key:
    """The key for a network on a device here.

    Args:
      job: "interpolate" or "upscale".
      size: (W, H) of the source's frames.
      model: as the weights have it.
      device: None: JAX's default.
    """
    kind = (device or jax.devices()[0]).device_kind
    fields = {name: value for name, value in pretrained.changed_fields(model).items() if name not in CHOSEN}
    network = " ".join([type(model).__name__, *(f"{name}={value}" for name, value in sorted(fields.items()))])
    versions = f"jaxdyn {__version__}, JAX {metadata.version('jax')}"
    return Key(job, f"{size[0]}x{size[1]}", network, kind, machine.describe(), versions)


def read(part: Path, key: Key) -> Choice | None:
    """The choice that was kept for a key, or None.

    Args:
      part: of the cache, see `cache.prepare`.
      key: of `key_of`.

    Raises:
      CacheError: a file that is damaged.
    """
    path = _path(part, key)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["key"] != dataclasses.asdict(key):
            raise ValueError("it was kept for something else")
        return Choice(**{**content["choice"], "together": tuple(content["choice"]["together"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error) or type(error).__name__
        raise cache.CacheError(f"{path}: damaged and ignored ({reason}); `jaxdyn bench` writes it anew") from error


def write(part: Path, key: Key, choice: Choice) -> Path:
    """Keeps a choice, in place of an earlier one; gives its file.

    Raises:
      OSError: it cannot be written.
    """
    content: dict[str, Any] = {"key": dataclasses.asdict(key), "choice": dataclasses.asdict(choice)}
    cache.write_whole(_path(part, key), json.dumps(content, indent=1) + "\n")
    return _path(part, key)


def _path(part: Path, key: Key) -> Path:
    return part / "choices" / key.file_name
