"""A network ready to make middle frames: host arrays in, host arrays out, one compilation for each frame size.

frames -> motion (host, or the network's own) -> Route -> routed compute -> frame, with the Route and what it cost
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxdyn import flops, motion
from jaxdyn.errors import UserError
from jaxdyn.models.cain import CAIN
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.types import SCALES, Cost, Route

ALIGN_EDGE = 384
"""Short side of the images that DIS sees where frames are aligned, in pixels: finer motion is cheap, the finders take
it reduced."""


@dataclasses.dataclass(frozen=True)
class Middle:
    """A frame between two others.

    Attributes:
      frame: [H, W, 3] float32 in [0, 1].
      route: what each patch got; None where the network is static.
      cost: of this frame, as executed.
    """

    frame: np.ndarray
    route: Route | None
    cost: Cost


class Interpolator:
    """Makes middle frames with a CAIN-SD or a plain CAIN, the latter densely.

    Args:
      model, variables: as `jaxdyn.load` gives them.
      execution: "packed" computes what the Route selects, "masked" everything and selects, "dense" takes the whole
        frame through the deepest exit at full scale, whatever the finders say.
      device: where to compute; None: JAX's default.

    Raises:
      UserError: a network that makes no middle frames.
    """

    def __init__(
        self,
        model: nn.Module,
        variables: dict,
        execution: Literal["packed", "masked", "dense"] = "packed",
        device: jax.Device | None = None,
    ):
        if not isinstance(model, CAIN | CainSD):
            raise UserError(f"{type(model).__name__} makes no middle frames; use weights of cain_sd or cain.")
        if execution not in ("packed", "masked", "dense"):
            raise ValueError(f"execution (={execution!r}) must be 'packed', 'masked' or 'dense'")
        self.model, self.device = model, device
        self.execution = "dense" if isinstance(model, CAIN) else execution
        self.variables = jax.device_put(variables, device)

    def middle(self, frame0: np.ndarray, frame1: np.ndarray) -> Middle:
        """The frame between two: float32 [H, W, 3] in [0, 1] x 2 -> the same, with its Route and cost.

        Raises:
          ValueError: frames that are no pair of RGB images.
        """
        height, width = frame0.shape[:2]
        given = self._host_motion(frame0, frame1)
        frames = [jax.device_put(np.asarray(frame, np.float32)[None], self.device) for frame in (frame0, frame1)]
        frame, route = self._run(*frames, given)
        route = jax.device_get(route)
        return Middle(np.asarray(frame[0]), route, self._cost(route, height, width))

    def dense_cost(self, height: int, width: int) -> Cost:
        """The static network of the same widths on the whole frame: what every share is a share of."""
        return flops.dense_cain(self.model, height, width)

    def meet(self, budget: float, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
        """Refuses a budget: the finders' choice cannot be shifted.

        Raises:
          UserError: always; the message says what to do instead.
        """
        raise UserError(
            f"budget {budget:g}: interpolation follows its finders and takes no budget ({len(pairs)} pairs were looked "
            "at); leave --budget out."
        )

    def _host_motion(self, frame0: np.ndarray, frame1: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        if getattr(self.model, "motion", None) != "dis":
            return None
        edge = ALIGN_EDGE if self.model.is_aligned else self.model.router_edge
        return tuple(flow[None] for flow in motion.dis(frame0, frame1, edge))

    def _run(self, frame0: jax.Array, frame1: jax.Array, given) -> tuple[jax.Array, Route | None]:
        if isinstance(self.model, CAIN):
            return _static(self.model, self.variables, frame0, frame1), None
        if self.execution == "dense":
            model = whole_frame(self.model, *frame0.shape[1:3])
            return _dynamic(
                model, "packed", self.variables, frame0, frame1, given, full_route(model, 1, *frame0.shape[1:3])
            )
        return _dynamic(self.model, self.execution, self.variables, frame0, frame1, given, None)

    def _cost(self, route: Route | None, height: int, width: int) -> Cost:
        if route is None:
            return self.dense_cost(height, width)
        if self.execution == "dense":
            return flops.route_cost(whole_frame(self.model, height, width), route, height, width)
        if self.execution == "masked":
            return flops.masked_cost(self.model, height, width)
        return flops.route_cost(self.model, route, height, width, chunks=self.model.chunks)


def whole_frame(model: CainSD, height: int, width: int) -> CainSD:
    """The same network with the frame as its one patch (Table 4's "full frame")."""
    side = max(height, width)
    return model.clone(patch=side, stride=side)


def full_route(model: CainSD, batch: int, height: int, width: int) -> Route:
    """Every patch at full scale to the deepest exit."""
    shape = (batch, *model.grid(height, width).shape)
    return Route(np.full(shape, SCALES.index(1), np.int32), np.full(shape, model.num_group, np.int32))


@functools.partial(jax.jit, static_argnums=0)
def _static(model: CAIN, variables, frame0, frame1):
    return jnp.clip(model.apply(variables, frame0, frame1)[0], 0.0, 1.0)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _dynamic(model: CainSD, execution: str, variables, frame0, frame1, given, route):
    frame, aux = model.apply(variables, frame0, frame1, given, route, execution)
    return jnp.clip(frame, 0.0, 1.0), aux["route"]
