"""What a line of a paper's table costs where no data is at hand: a network of its size executes a Route made by hand.

A `Work` is what is executed and what that costs; a line of CAIN-SD executes the Route whose cost comes nearest to the
published share of the dense FLOPs. SkipVSR's paper counts one frame without SpyNet, gates and overlap; `counted` does
the same for a share of the residual blocks, and `blocks_of` finds the share that published multiply-adds imply.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxdyn import flops, models, routing
from jaxdyn.models.basicvsr import BasicVSR
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.models.skipvsr import SkipVSR
from jaxdyn.types import SCALES, BlockRoute, Cost, Route

Size = tuple[int, int]
"""(W, H) of the input, in pixels."""


CAIN_FIELDS = ("num_feat", "num_group", "num_block", "reduction")
"""What a CAIN-SD and its dense CAIN have in common."""
BASICVSR_FIELDS = ("num_feat", "num_block", "num_hr", "motion")
"""What a SkipVSR and its dense BasicVSR have in common."""


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """What one frame takes, everything included that `cost` lists.

    Attributes:
      model: the network; a CAIN-SD or SkipVSR also where its dense network is meant.
      size: of the input frames.
      cost: of one made frame.
      dense: the dense network's.
      parameters: of all networks that take part.
      route: what the network executes; None: nothing is routed, the dense network runs.
      note: what a reader should know of the figures.
    """

    model: nn.Module
    size: Size
    cost: Cost
    dense: Cost
    parameters: int
    route: Route | BlockRoute | None = None
    note: str = ""


# Interpolation


def dense_cain(model: CainSD, size: Size) -> Work:
    """CAIN of the model's widths on the whole frame."""
    cost = flops.dense_cain(model, size[1], size[0])
    static = models.build("cain", **{name: getattr(model, name) for name in CAIN_FIELDS})
    return Work(model, size, cost, cost, num_parameters(static))


def cain_sd(model: CainSD, size: Size, share: float) -> Work:
    """CAIN-SD on the Route whose cost comes nearest to a share of the dense FLOPs.

    Patches get a difficulty, evenly spread in a fixed random order; a shift of all of them, found by search, turns it
    into steps from the cheapest to the dearest choice that the finders have.

    Args:
      model: its `fixed_scale` and `fixed_depth` limit the choices.
      size: of the frames.
      share: 0 gives the cheapest Route, infinity the dearest.

    Raises:
      ValueError: a share below 0.
    """
    if not share >= 0:
        raise ValueError(f"share (={share}) must be at least 0, a share of the dense network's FLOPs")
    width, height = size
    dense, table = flops.dense_cain(model, height, width), flops.patch_costs(model, height, width)  # [3, G + 1]
    choices = _choices(model, table)
    shape = (1, *model.grid(height, width).shape)
    num_patch = math.prod(shape)
    difficulty = np.random.RandomState(0).permutation(num_patch) / max(num_patch - 1, 1)

    def at(shift: float) -> Route:
        steps = np.clip(np.round((len(choices) - 1) * (difficulty + shift)), 0, len(choices) - 1).astype(int)
        scale, depth = choices[steps].T
        return Route(scale.reshape(shape).astype(np.int32), depth.reshape(shape).astype(np.int32))

    below, above = -1.0, 1.0  # every patch gets the cheapest choice, the dearest
    once = flops.route_cost(model, at(below), height, width).flops - num_patch * table[tuple(choices[0])]

    def share_at(shift: float) -> float:
        route = at(shift)
        return float(once + table[route.scale, route.depth].sum()) / dense.flops

    for _ in range(NUM_HALVING):
        middle = (below + above) / 2
        below, above = (middle, above) if share_at(middle) < share else (below, middle)
    best = min((below, above), key=lambda shift: abs(share_at(shift) - share)) if share < math.inf else 1.0
    route = at(best)
    cost = flops.route_cost(model, route, height, width)
    note = (
        "of Routes made by hand the nearest to the published share of the dense FLOPs" if 0 < share < math.inf else ""
    )
    return Work(model, size, cost, dense, num_parameters(model), route, note)


NUM_HALVING = 12
"""Turns of the search for a shift; they tell a thousand patches apart."""


def _choices(model: CainSD, table: np.ndarray) -> np.ndarray:
    """(scale, depth) of every choice that the finders have, from the cheapest to the dearest."""
    scales = range(len(SCALES)) if model.fixed_scale is None else [model.fixed_scale]
    depths = model.depths if model.fixed_depth is None else [model.fixed_depth]
    return np.array(sorted(((s, d) for s in scales for d in depths), key=lambda choice: table[choice]))


# Super-resolution


def dense_basicvsr(model: BasicVSR, size: Size) -> Work:
    """BasicVSR of the model's widths on one whole frame, its flows included."""
    cost = flops.dense_basicvsr(model, size[1], size[0])
    return Work(model, size, cost, cost, num_parameters(model, without=("flow", "gate_")))


def counted(model: BasicVSR, size: Size, part: float, note: str = "") -> Work:
    """One frame as SkipVSR's paper counts it: a part of the residual blocks, on the whole frame, without SpyNet.

    Args:
      model: whose stages are counted.
      size: of the small frame.
      part: of the blocks that run, 0 to 1.
      note: of the result.
    """
    if not 0 <= part <= 1:
        raise ValueError(f"part (={part}) of the blocks must be between 0 and 1")
    stages = [stage for stage in flops.dense_basicvsr(model, size[1], size[0]).stages if stage.name != FLOW]
    ran = [dataclasses.replace(stage, times=part * stage.times) if stage.name == BLOCK else stage for stage in stages]
    parameters = num_parameters(model, without=("flow",))
    return Work(model, size, Cost(tuple(ran)), Cost(tuple(stages)), parameters, note=note)


def flows(model: BasicVSR, size: Size) -> Work | None:
    """The two flows of a frame, which `counted` leaves out; None where motion has no FLOPs."""
    stages = [stage for stage in flops.dense_basicvsr(model, size[1], size[0]).stages if stage.name == FLOW]
    if not stages:
        return None
    whole = counted(model, size, 1.0).cost
    parameters = num_parameters(model) - num_parameters(model, without=("flow",))
    return Work(model, size, Cost(tuple(stages)), whole, parameters, note="of one frame; not part of the other rows")


FLOW, BLOCK = "SpyNet", "residual block"
"""Names of stages of `flops.dense_basicvsr`."""


@functools.cache
def blocks_of(multiply_adds: float, size: Size = (320, 180)) -> float:
    """The part of the residual blocks that a published number of multiply-adds implies, 0 to 1.

    Table 2, SkipVSR: 324.9 G, 297.8 G, ... are 95, 84, 71, 53 and 25 % of the blocks.
    """
    stages = counted(models.build("basicvsr"), size, 1.0).cost.stages
    blocks = sum(stage.multiply_adds * stage.times for stage in stages if stage.name == BLOCK)
    rest = sum(stage.multiply_adds * stage.times for stage in stages if stage.name != BLOCK)
    return min(1.0, max(0.0, (multiply_adds - rest) / blocks))


def skipvsr(model: SkipVSR, size: Size, time: int, part: float, seed: int = 0) -> Work:
    """SkipVSR on a clip whose tiles run a part of their blocks: the executed cost of one frame, everything included.

    Args:
      model: its tiles, and how many run together.
      size: of the small frames.
      time: frames of the clip.
      part: of the blocks that run, 0 to 1; which do differs from tile to tile, as gates decide.
      seed: of that.
    """
    width, height = size
    shape = (1, 2, time, model.num_block, *model.grid(height, width).shape)
    random = np.random.RandomState(seed)
    ease = 0.5 * random.rand(*shape[:3], 1, *shape[4:]) + 0.5 * random.rand(*shape)
    runs = ease <= np.quantile(ease, part) if part > 0 else np.zeros(shape, bool)
    return _routed(model, size, BlockRoute(runs))


def policy(model: SkipVSR, size: Size, time: int, name: str) -> Work:
    """As `skipvsr`, with half of the blocks for all tiles, see `routing.skip_policy`."""
    shape = (1, 2, time, model.num_block, *model.grid(size[1], size[0]).shape)
    runs = routing.skip_policy(name, model.num_block)[:, None, None]
    return _routed(model, size, BlockRoute(np.broadcast_to(runs, shape)))


def _routed(model: SkipVSR, size: Size, route: BlockRoute) -> Work:
    """The cost of a frame of a clip that executes its Route packed."""
    width, height = size
    whole = flops.block_route_cost(model, route, height, width)
    per_frame = 1 / route.blocks.shape[2]
    cost = Cost(tuple(dataclasses.replace(stage, times=stage.times * per_frame) for stage in whole.stages))
    dense = flops.dense_basicvsr(model, height, width)
    return Work(model, size, cost, dense, num_parameters(model), route, "executed packed, everything included")


# Parameters


@functools.cache
def num_parameters(model: nn.Module, without: tuple[str, ...] = ()) -> int:
    """Numbers that a network learns, but for parts whose names begin as told; CARN-M's mean shift as published."""
    parts: Mapping[str, Any] = flops.shapes(model)["params"]
    kept = {name: leaves for name, leaves in parts.items() if not name.startswith(without)} if without else parts
    constants = flops.MEAN_SHIFT if "carn_m" in kept else 0
    return constants + sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(kept))
