"""Dense CAIN against CAIN-SD, packed and masked. Motion, finders, CARN-M and merging run all the same and count."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from eval.benches import rows
from eval.benches.routes import route_at_share
from eval.benches.rows import Plan, Plans, Row
from jaxdyn import flops, models

SIZE = (1280, 720)
SHARES = (0.75, 0.5, 0.3)
KINDS = ("mixed", "depth")


def measure(
    width: int,
    height: int,
    shares: Sequence[float] = SHARES,
    kinds: Sequence[str] = KINDS,
    rounds: int = 5,
    has_masked: bool = False,
    precision: str = "float32",
    **overrides,
) -> list[Row]:
    """Times `plans`, which see for the arguments; `rounds` interleaved repetitions."""
    return rows.measure(plans(width, height, shares, kinds, has_masked, precision, **overrides), rounds)


def plans(
    width: int,
    height: int,
    shares: Sequence[float] = SHARES,
    kinds: Sequence[str] = KINDS,
    has_masked: bool = False,
    precision: str = "float32",
    **overrides,
) -> Plans:
    """Dense CAIN, and CAIN-SD at some shares of its FLOPs; random weights and frames.

    Args:
      width, height: of the frames, in pixels.
      shares: of the dense FLOPs.
      kinds: "mixed" or "depth", see `route_at_share`.
      has_masked: whether masked execution is timed as well.
      precision: of the parameters, in which convolutions multiply.
      **overrides: fields of `CainSD`.
    """
    model = models.build("cain_sd", **overrides)
    sizes = {name: getattr(model, name) for name in ("num_feat", "num_group", "num_block", "reduction")}
    static = models.build("cain", **sizes)
    frames = jnp.asarray(np.random.RandomState(0).rand(2, 1, height, width, 3), jnp.float32)
    variables = rows.cast(rows.drawn_variables(model), precision)
    static_variables = {"params": variables["params"]["cain"]}

    @jax.jit
    def dense(v, a, b):
        return static.apply(v, a, b)[0]

    @functools.partial(jax.jit, static_argnums=4)
    def dynamic(v, a, b, route, execution):
        frame, aux = model.apply(v, a, b, None, route, execution)
        return frame, aux["scale_logits"], aux["depth_logits"]  # the finders' answers, so that their work is done

    dense_cost = flops.dense_cain(model, height, width)
    found = [Plan("dense CAIN", dense_cost, lambda: dense(static_variables, *frames))]
    for kind in kinds:
        for share in shares:
            route = route_at_share(model, height, width, share, kind == "mixed")
            cost = flops.route_cost(model, route, height, width)
            call = functools.partial(lambda r: dynamic(variables, *frames, r, "packed"), jax.device_put(route))
            found.append(Plan(f"packed, {kind} Route at {share:.0%}", cost, call))
    if has_masked:
        cost = flops.masked_cost(model, height, width)
        call = functools.partial(lambda r: dynamic(variables, *frames, r, "masked"), jax.device_put(route))
        found.append(Plan("masked", cost, call))
    return Plans(tuple(found))
