"""Words and values that every part shares.

Axes, everywhere: B batch, T time, H height, W width, C channels; N patches (N = B n_h n_w), P patch side, K choices.
Arrays are NHWC or BTHWC. Images are float32 RGB in [0, 1]; uint8 lives at the edges only. Flow is in pixels of its own
grid, channel 0 = x, and `warp(b, flow_ab)` looks like `a`. One multiply-add is two FLOPs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import chex
import jax
import numpy as np
from flax import struct

SCALES = (1, 2, 4)  # Section 3.2, CAIN-SD: a patch is computed at 1 / scale of its size
"""The scaling factors that `Route.scale` indexes."""


@struct.dataclass
class Route:
    """What every patch of a frame gets: a decision as a value.

    Networks make Routes, execution consumes them, cost is computed from them and pictures are drawn from them.

    Attributes:
      scale: [B, n_h, n_w] int32, index into `SCALES`.
      depth: [B, n_h, n_w] int32, the exit: residual groups that run, 1 to num_group; 0 = exit 0, no network at all.
    """

    scale: chex.Array
    depth: chex.Array

    @classmethod
    def of(cls, value: "Route | Mapping[str, Any]") -> "Route":
        """A Route from a Route or from a mapping with `scale` and `depth`."""
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping) and set(value) == {"scale", "depth"}:
            return cls(**value)
        raise ValueError(
            f"route (={type(value).__name__}) must be a Route or a mapping with the keys 'scale' and 'depth'"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, n_h, n_w)."""
        return tuple(self.scale.shape)

    def check(self, shape: tuple[int, int, int], num_exit: int, has_exit0: bool) -> None:
        """Refuse a Route of the wrong shape or kind, and (outside of jit) one whose values are out of range."""
        for name, array, low, high in (
            ("scale", self.scale, 0, len(SCALES) - 1),
            ("depth", self.depth, 0 if has_exit0 else 1, num_exit),
        ):
            if tuple(array.shape) != shape:
                raise ValueError(
                    f"route.{name} has shape {tuple(array.shape)}, expected {shape}: one value for each patch"
                )
            if not np.issubdtype(array.dtype, np.integer):
                raise ValueError(f"route.{name} has dtype {array.dtype}, expected an integer type such as int32")
            if isinstance(array, jax.core.Tracer):
                continue
            values = np.asarray(array)
            if values.min() < low or values.max() > high:
                raise ValueError(f"route.{name} holds {values.min()} to {values.max()}, expected {low} to {high}")


@struct.dataclass
class BlockRoute:
    """Which residual blocks run on which tile of which frame: SkipVSR's decision as a value.

    Attributes:
      blocks: [B, 2, T, M, n_h, n_w] bool, M_m^t of Eq. 9; 0 backward, 1 forward, T by frame, M blocks.
    """

    blocks: chex.Array

    @classmethod
    def of(cls, value: "BlockRoute | Mapping[str, Any]") -> "BlockRoute":
        """A BlockRoute from a BlockRoute or from a mapping with `blocks`."""
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping) and set(value) == {"blocks"}:
            return cls(**value)
        raise ValueError(f"route (={type(value).__name__}) must be a BlockRoute or a mapping with the key 'blocks'")

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a Route of the wrong shape or kind."""
        if tuple(self.blocks.shape) != shape:
            raise ValueError(
                f"route.blocks has shape {tuple(self.blocks.shape)}, expected {shape}: (B, 2, T, num_block, n_h, n_w)"
            )
        if self.blocks.dtype != bool:
            raise ValueError(f"route.blocks has dtype {self.blocks.dtype}, expected bool")


@dataclasses.dataclass(frozen=True)
class Stage:
    """The cost of one part of a computation.

    Attributes:
      name: what is computed, such as "flow" or "group scale 2".
      flops: floating-point operations of one execution, by XLA's analysis (a multiply-add is two).
      multiply_adds: multiply-adds of its convolutions and matrix products, one execution.
      times: how many times it ran. An average over frames need not be whole.
      is_excluded: shown, but not part of the total.
    """

    name: str
    flops: float
    multiply_adds: float
    times: float = 1
    is_excluded: bool = False


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a computation costs: its stages and their sum."""

    stages: tuple[Stage, ...]

    @property
    def flops(self) -> float:
        """Floating-point operations in all."""
        return sum(s.flops * s.times for s in self.stages if not s.is_excluded)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds in all."""
        return sum(s.multiply_adds * s.times for s in self.stages if not s.is_excluded)

    def share(self, dense: "Cost") -> float:
        """FLOPs as a share of the dense network's; may exceed 1 (overlap, routing)."""
        return self.flops / dense.flops
