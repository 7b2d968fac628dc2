"""A network ready to make middle frames: host arrays in, host arrays out, one compilation for each frame size.

frames -> motion (host, or the network's own) -> Route -> routed compute -> frame, with the Route and what it cost
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxdyn import flops, motion
from jaxdyn.errors import UserError
from jaxdyn.models.cain import CAIN
from jaxdyn.models.cain_sd import CainSD, biases_of
from jaxdyn.programs import Programs
from jaxdyn.types import SCALES, Cost, Route

ALIGN_EDGE = 384
"""Short side of the images that DIS sees where frames are aligned, in pixels: finer motion is cheap, the finders take
it reduced."""


NUM_HALVING = 24
"""How often the interval of biases is halved."""

MISSED = 0.05
"""By how much of the dense FLOPs a bias on both finders may miss a budget before one on DepthNet alone is tried."""


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
      programs: folder in which traced programs are kept for later runs, see `jaxdyn.programs`; None: they are not.

    Raises:
      UserError: a network that makes no middle frames.
    """

    def __init__(
        self,
        model: nn.Module,
        variables: dict,
        execution: Literal["packed", "masked", "dense"] = "packed",
        device: jax.Device | None = None,
        programs: str | os.PathLike | None = None,
    ):
        if not isinstance(model, CAIN | CainSD):
            raise UserError(f"{type(model).__name__} makes no middle frames; use weights of cain_sd or cain.")
        if execution not in ("packed", "masked", "dense"):
            raise ValueError(f"execution (={execution!r}) must be 'packed', 'masked' or 'dense'")
        self.model, self.device = model, device
        self.execution = "dense" if isinstance(model, CAIN) else execution
        self.variables = jax.device_put(variables, device)
        self._programs = Programs(programs, device)

    def prepare(self, height: int, width: int) -> None:
        """Has a thread load the program for frames of a size, while they are still being read; `programs` say where."""
        frame = jax.ShapeDtypeStruct((1, height, width, 3), np.float32)
        edge = self._motion_edge()
        given = None
        if edge is not None:
            flow = jax.ShapeDtypeStruct((1, *motion.grid_size(height, width, edge), 2), np.float32)
            given = (flow, flow)
        self._run(frame, frame, given, None, self._programs.prepare)

    def middle(self, frame0: np.ndarray, frame1: np.ndarray, route: Route | None = None) -> Middle:
        """The frame between two: float32 [H, W, 3] in [0, 1] x 2 -> the same, with its Route and cost.

        Args:
          frame0, frame1: the two.
          route: executed as given, [1, n_h, n_w]; another needs no new compilation. None: the finders decide.

        Raises:
          ValueError: frames that are no pair of RGB images, a Route for a network that takes none.
        """
        if route is not None and (isinstance(self.model, CAIN) or self.execution == "dense"):
            raise ValueError("a Route was given, but this network takes the same path everywhere; leave it out")
        height, width = frame0.shape[:2]
        given = self._host_motion(frame0, frame1)
        frames = [jax.device_put(np.asarray(frame, np.float32)[None], self.device) for frame in (frame0, frame1)]
        frame, executed = self._run(*frames, given, route)
        self._prepare_cost(height, width)  # once, while the device is at work
        executed = jax.device_get(executed)
        return Middle(np.asarray(frame[0]), executed, self._cost(executed, height, width, route is not None))

    def dense_cost(self, height: int, width: int) -> Cost:
        """The static network of the same widths on the whole frame: what every share is a share of."""
        return flops.dense_cain(self.model, height, width)

    def densely(self) -> "Interpolator | None":
        """The same network on whole frames to the deepest exit; None where this is what it does already."""
        if self.execution == "dense":
            return None
        return Interpolator(self.model, self.variables, "dense", self.device, self._programs.folder)

    def meet(self, budget: float, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float | tuple[float, float]:
        """Sets, and gives, the bias on the finders' logits that brings the executed share of the dense FLOPs nearest to
        a budget: see `CainSD.cost_bias`.

        The finders see motion and difference alone, so their scores of the pairs say what any bias would cost; the
        network itself does not run. One bias on both finders is preferred. Where it misses the budget by more than
        `MISSED`, the bias may be on DepthNet's alone: a reduced scale is no cheaper where super-resolution takes more
        than the trunk.

        Args:
          budget: a share, over 0.
          pairs: neighbouring frames, float32 [H, W, 3] in [0, 1], of any sizes; one is held at a time.

        Raises:
          UserError: a network that has nothing to choose, or no pairs.
        """
        model = self.model
        can_choose = isinstance(model, CainSD) and None in (model.fixed_scale, model.fixed_depth)
        if not can_choose or self.execution != "packed":
            raise UserError("this network takes the same path everywhere; a budget needs weights of cain_sd, packed.")
        found = [(self._logits(*pair), pair[0].shape[:2]) for pair in pairs]
        if not found:
            raise UserError("no pairs of frames to find a bias on.")
        costs = self.model.choice_costs

        @functools.cache
        def miss(bias: float | tuple[float, float]) -> float:
            """How far the share is above the budget."""
            routes = [(route_of(self.model, *logits, bias), size) for logits, size in found]
            shares = [self._cost(route, *size).share(self.dense_cost(*size)) for route, size in routes]
            return float(np.mean(shares)) - budget

        largest = max(float(np.ptp(part)) for logits, _ in found for part in logits if part is not None)
        gap = min(float(np.abs(np.diff(cost)).min(initial=1.0)) for cost in costs)
        most = (largest + 1) / gap  # where every patch takes what is cheapest; below 0, what is dearest

        def nearest(of: Callable[[float], float | tuple[float, float]]) -> float | tuple[float, float]:
            low, high = -most, most
            trials = [0.0, low, high]
            for _ in range(NUM_HALVING):
                middle = (low + high) / 2
                trials.append(middle)
                low, high = (middle, high) if miss(of(middle)) > 0 else (low, middle)
            return of(min(trials, key=lambda bias: (abs(miss(of(bias))), abs(bias))))

        best = nearest(lambda bias: bias)
        if abs(miss(best)) > MISSED and model.fixed_depth is None:
            best = min(best, nearest(lambda bias: (0.0, bias)), key=lambda bias: abs(miss(bias)))
        self.model = self.model.clone(cost_bias=best)
        return best

    def _logits(self, frame0: np.ndarray, frame1: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Both finders' scores of a pair, [1, n_h, n_w, K] each; None where a choice is fixed."""
        given = self._host_motion(frame0, frame1)
        frames = [jax.device_put(np.asarray(frame, np.float32)[None], self.device) for frame in (frame0, frame1)]
        return jax.device_get(self._programs(_scores, (self.model,), self.variables, *frames, given))

    def _motion_edge(self) -> int | None:
        """Short side of the flow that comes from the host, in pixels; None where the network has its own motion."""
        if getattr(self.model, "motion", None) != "dis":
            return None
        return ALIGN_EDGE if self.model.is_aligned else self.model.router_edge

    def _host_motion(self, frame0: np.ndarray, frame1: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        edge = self._motion_edge()
        return None if edge is None else tuple(flow[None] for flow in motion.dis(frame0, frame1, edge))

    def _run(self, frame0, frame1, given, route, call: Callable | None = None) -> tuple[jax.Array, Route | None]:
        """The network on arrays of a batch of one, (frame, Route or None), by `call`; None: by the kept programs."""
        call = call or self._programs
        if isinstance(self.model, CAIN):
            return call(_static, (self.model,), self.variables, frame0, frame1), None
        model, execution = self.model, self.execution
        if execution == "dense":
            height, width = frame0.shape[1:3]
            model, execution = whole_frame(model, height, width), "packed"
            route = full_route(model, 1, height, width)
        return call(_dynamic, (model, execution), self.variables, frame0, frame1, given, route)

    def _prepare_cost(self, height: int, width: int) -> None:
        """Has what `_cost` adds up analysed, which takes a second the first time; it is kept."""
        if isinstance(self.model, CainSD):
            model = whole_frame(self.model, height, width) if self.execution == "dense" else self.model
            flops.cain_sd_stages(model, height, width)

    def _cost(self, route: Route | None, height: int, width: int, is_given: bool = False) -> Cost:
        if route is None:
            return self.dense_cost(height, width)
        if self.execution == "dense":
            return flops.route_cost(whole_frame(self.model, height, width), route, height, width, is_given=True)
        if self.execution == "masked":
            return flops.masked_cost(self.model, height, width)
        return flops.route_cost(self.model, route, height, width, is_given)


def whole_frame(model: CainSD, height: int, width: int) -> CainSD:
    """The same network with the frame as its one patch (Table 4's "full frame")."""
    side = max(height, width)
    return model.clone(patch=side, stride=side)


def full_route(model: CainSD, batch: int, height: int, width: int) -> Route:
    """Every patch at full scale to the deepest exit."""
    shape = (batch, *model.grid(height, width).shape)
    return Route(np.full(shape, SCALES.index(1), np.int32), np.full(shape, model.num_group, np.int32))


def route_of(
    model: CainSD,
    scale_logits: np.ndarray | None,
    depth_logits: np.ndarray | None,
    bias: float | tuple[float, float] = 0.0,
) -> Route:
    """What finders choose by their scores, and a network whose choice of scale or of depth is fixed.

    Args:
      model: of the finders.
      scale_logits, depth_logits: [B, n_h, n_w, K]; None where the choice is fixed, but not both.
      bias: on the costs of the choices, see `CainSD.cost_bias`.
    """
    shape = (depth_logits if scale_logits is None else scale_logits).shape[:3]
    scale, depth = (
        np.full(shape, fixed, np.int32)
        if logits is None
        else (logits - part * np.array(costs)).argmax(-1).astype(np.int32)
        for logits, fixed, costs, part in zip(
            (scale_logits, depth_logits), model.fixed_choices, model.choice_costs, biases_of(bias), strict=True
        )
    )
    return Route(scale, depth + model.first_exit)


@functools.partial(jax.jit, static_argnums=0)
def _static(model: CAIN, variables, frame0, frame1):
    return jnp.clip(model.apply(variables, frame0, frame1)[0], 0.0, 1.0)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _dynamic(model: CainSD, execution: str, variables, frame0, frame1, given, route):
    frame, aux = model.apply(variables, frame0, frame1, given, route, execution)
    return jnp.clip(frame, 0.0, 1.0), aux["route"]


@functools.partial(jax.jit, static_argnums=0)
def _scores(model: CainSD, variables, frame0, frame1, given):
    def find(network):
        small0, small1 = network.router_image(frame0), network.router_image(frame1)
        moved = network.find_motion(small0, small1, given)
        return network.find(small0, small1, moved, network.grid(*frame0.shape[1:3]))

    found = model.apply(variables, method=find)
    return found["scale_logits"], found["depth_logits"]
