"""What every method is that makes frames to be scored: who it is, what it makes, and what that cost.

A method of interpolation makes the frame between two (`eval.interpolating`); one of upscaling makes a window of frames
four times as large (`eval.upscaling`). `eval.points` has them by name.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from flax import linen as nn

from jaxdyn import pretrained
from jaxdyn.errors import UserError
from jaxdyn.types import Cost

Pair = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Label:
    """Who makes frames, as `Row` says it.

    Attributes:
      method, point, weights: see `Row`.
      parameters: of the networks that take part; None where there are none.
    """

    method: str
    point: str = ""
    weights: str = ""
    parameters: int | None = None


@dataclasses.dataclass(frozen=True)
class Made:
    """A frame that was made.

    Attributes:
      frame: [H, W, 3] float32 in [0, 1].
      cost: as executed.
      counts: what routing did, see `Row`.
    """

    frame: np.ndarray
    cost: Cost
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)


class Dense(Protocol):
    """The static network that shares are shares of: an `Interpolator` or an `Upscaler`."""

    def dense_cost(self, height: int, width: int) -> Cost:
        """What it costs for one frame of this size."""


class Interpolates(Protocol):
    """Makes frames between frames.

    Attributes:
      label: who.
      dense: what its share is a share of; None where no network takes part.
    """

    label: Label
    dense: Dense | None

    def tune(self, pairs: Callable[[], Iterable[Pair]]) -> None:
        """Meets a budget, if there is one, on the pairs of frames that a call gives."""

    def middle(self, frame0: np.ndarray, frame1: np.ndarray) -> Made:
        """The frame between two, float32 [H, W, 3] in [0, 1]."""


class Upscales(Protocol):
    """Makes frames four times as large.

    Attributes:
      label, dense: see `Interpolates`.
      overlap: frames that a window should hold before and after those that are wanted.
    """

    label: Label
    dense: Dense | None
    overlap: int

    def tune(self, windows: Callable[[], Sequence[Pair]]) -> None:
        """Meets a budget, if there is one, on the windows (frames [n, H, W, 3], starts [n]) that a call gives."""

    def window_length(self, height: int, width: int) -> int | None:
        """Frames of this size that a window gives at most; None: any number."""

    def window(self, frames: np.ndarray, starts: np.ndarray, keep: tuple[int, int]) -> list[Made]:
        """The frames keep[0] <= t < keep[1] of a window, float32 [n, H, W, 3] in [0, 1], see `Upscaler.window`."""


Method = Interpolates | Upscales


@dataclasses.dataclass(frozen=True)
class Weights:
    """A network that was loaded.

    Attributes:
      name: as rows call it.
      model, variables: as `jaxdyn.load` gives them.
    """

    name: str
    model: nn.Module
    variables: Mapping[str, Any]

    def parameters(self, *parts: str) -> int:
        """How many there are, in some of its parts or in all."""
        params = self.variables["params"]
        return sum(leaf.size for part in (parts or params) if part in params for leaf in jax.tree.leaves(params[part]))


def load_weights(name: str | os.PathLike) -> Weights:
    """Weights of the package by name, or a file of `jaxdyn convert` or of training.

    Raises:
      UserError: see `pretrained.load`.
    """
    return Weights(Path(name).name, *pretrained.load(name))


def refuse(weights: Weights, task: str, wanted: str) -> UserError:
    """The error of a network that does another task."""
    return UserError(f"{weights.name}: a {type(weights.model).__name__} does not {task}; use weights of {wanted}.")


def budget_of(name: str) -> float | None:
    """The share of "budget60%" or "budget0.6"; None for other names.

    Raises:
      UserError: a budget that is no share.
    """
    if not name.startswith("budget"):
        return None
    match = re.fullmatch(r"budget(\d*\.?\d+)(%?)", name)
    share = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not share > 0:
        raise UserError(f"row (={name!r}) must be a share of the dense FLOPs, such as budget60% or budget0.6.")
    return share
