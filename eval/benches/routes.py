"""Routes made by hand that cost a given share of the dense FLOPs: what packed execution is timed at."""

import numpy as np

from jaxdyn import flops
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.models.skipvsr import SkipVSR
from jaxdyn.types import BlockRoute, Route

LADDER = ((2, 1), (2, 3), (2, 5), (1, 1), (1, 3), (1, 5), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5))
"""(scale, depth), from the cheapest to the dearest: what patches of rising difficulty get."""


def route_at_share(model: CainSD, height: int, width: int, share: float, is_mixed: bool) -> Route:
    """A Route whose executed cost is as near to a share of the dense FLOPs as the grid allows.

    Patches get a difficulty, evenly spread over them in a fixed random order; one shift, found by search, turns
    it into steps of `LADDER` (`is_mixed`) or into depths at full scale.
    """
    dense = flops.dense_cain(model, height, width)
    shape = (1, *model.grid(height, width).shape)
    num_patch = int(np.prod(shape))
    difficulty = np.random.RandomState(0).permutation(num_patch) / max(num_patch - 1, 1)
    ladder = np.array(LADDER if is_mixed else [(0, d) for d in range(1, model.num_group + 1)])

    def at(shift: float) -> Route:
        steps = np.clip(np.round(len(ladder) * (difficulty + shift)), 0, len(ladder) - 1).astype(int)
        scale, depth = ladder[steps].T.astype(np.int32)
        return Route(scale.reshape(shape), np.minimum(depth, model.num_group).reshape(shape))

    def miss(shift: float) -> float:
        return abs(flops.route_cost(model, at(shift), height, width).share(dense) - share)

    near = min(np.linspace(-1, 1, 51), key=miss)
    return at(min(np.linspace(near - 0.05, near + 0.05, 41), key=miss))


def blocks_at_share(model: SkipVSR, time: int, height: int, width: int, share: float, seed: int = 0) -> BlockRoute:
    """A Route whose executed cost is as near to a share of the dense FLOPs as whole tiles allow.

    Each tile of each frame gets a difficulty at random, and each of its blocks runs with a chance that grows with it:
    different tiles run in every block, as gates decide.
    """
    shape = (1, 2, time, model.num_block, *model.grid(height, width).shape)
    random = np.random.RandomState(seed)
    ease = 0.5 * random.rand(*shape[:3], 1, *shape[4:]) + 0.5 * random.rand(*shape)
    dense = flops.dense_basicvsr(model, height, width).flops * time

    def at(part: float) -> BlockRoute:
        return BlockRoute(ease <= np.quantile(ease, part) if part > 0 else np.zeros(shape, bool))

    def miss(part: float) -> float:
        cost = flops.block_route_cost(model, at(part), height, width)
        return abs(cost.flops / dense - share)

    near = min(np.linspace(0, 1, 21), key=miss)
    return at(float(min(np.clip(np.linspace(near - 0.05, near + 0.05, 21), 0, 1), key=miss)))
