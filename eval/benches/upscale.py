"""Dense BasicVSR against SkipVSR, packed and masked. Motion, gates and upsampling run all the same and count."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from eval.benches import rows
from eval.benches.routes import blocks_at_share
from eval.benches.rows import Plan, Plans, Row
from jaxdyn import flops, models
from jaxdyn.types import BlockRoute, Cost

SIZE, FRAMES = (320, 180), 10
SHARES = (0.78, 0.63, 0.43)
TILINGS = ("frame", "patches")


def measure(
    width: int,
    height: int,
    time: int = FRAMES,
    shares: Sequence[float] = SHARES,
    tilings: Sequence[str] = TILINGS,
    rounds: int = 5,
    has_masked: bool = False,
    precision: str = "float32",
    **overrides,
) -> list[Row]:
    """Times `plans`, which see for the arguments; `rounds` interleaved repetitions."""
    return rows.measure(plans(width, height, time, shares, tilings, has_masked, precision, **overrides), rounds)


def plans(
    width: int,
    height: int,
    time: int = FRAMES,
    shares: Sequence[float] = SHARES,
    tilings: Sequence[str] = TILINGS,
    has_masked: bool = False,
    precision: str = "float32",
    **overrides,
) -> Plans:
    """Dense BasicVSR, and SkipVSR at some shares of its FLOPs; random weights and frames.

    Args:
      width, height: of the small frames, in pixels.
      time: frames of the clip.
      shares: of the dense FLOPs, SpyNet included on both sides.
      tilings: "frame" or "patches".
      has_masked: whether masked execution is timed as well.
      precision: of the parameters, in which convolutions multiply.
      **overrides: fields of `SkipVSR`.
    """
    networks = [models.build("skipvsr", **overrides, tiling=tiling) for tiling in tilings]
    sizes = {name: getattr(networks[0], name) for name in ("num_feat", "num_block", "num_hr", "motion")}
    static = models.build("basicvsr", **sizes)
    clip = jnp.asarray(np.random.RandomState(0).rand(1, time, height, width, 3), jnp.float32)
    variables = rows.cast(rows.drawn_variables(networks[0]), precision)
    static_variables = {"params": {k: v for k, v in variables["params"].items() if not k.startswith("gate_")}}

    @jax.jit
    def dense(v, x):
        return static.apply(v, x)[0]

    @functools.partial(jax.jit, static_argnums=(0, 4))
    def dynamic(model, v, x, route, execution):
        large, aux = model.apply(v, x, 0.0, route, execution)
        return large, aux["scores"]  # the gates' answers, so that their work is done

    def run(model, route, execution):
        return functools.partial(lambda r: dynamic(model, variables, clip, r, execution), jax.device_put(route))

    found = [Plan("dense BasicVSR", dense_cost(static, time, height, width), lambda: dense(static_variables, clip))]
    for model in networks:
        for share in shares:
            route = blocks_at_share(model, time, height, width, share)
            cost = flops.block_route_cost(model, route, height, width)
            found.append(Plan(f"packed, {model.tiling} at {share:.0%}", cost, run(model, route, "packed")))
        if has_masked:
            full = BlockRoute(np.ones_like(route.blocks))
            cost = flops.block_route_cost(model, full, height, width)
            found.append(Plan(f"masked, {model.tiling}", cost, run(model, route, "masked")))
    return Plans(tuple(found), per=time)


def dense_cost(static, time: int, height: int, width: int) -> Cost:
    """What the static network costs on a clip of so many frames."""
    stages = flops.dense_basicvsr(static, height, width).stages
    return Cost(tuple(dataclasses.replace(stage, times=stage.times * time) for stage in stages))
