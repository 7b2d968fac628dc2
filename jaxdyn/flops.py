"""What computation costs: stages by XLA's own analysis, Routes by the stages they execute.

A stage (one patch through one residual group, say) is traced by itself, outside of loops and conditionals, as the
papers count: padding written out, groups split. XLA's analysis of it, lowered for a CPU on whatever machine this is,
gives FLOPs: a multiply-add is two, and the few elementwise operations stand with them. Multiply-adds alone come from
the shapes of convolutions and matrix products. The cost of a Route is then a sum over stages of (times executed) x
(cost), linear by construction.

Packed execution runs what a Route asks for and no more: its nominal cost is the executed cost.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.extend import core

from jaxdyn import models, pretrained
from jaxdyn.models import basicvsr, cain, cain_sd, fusion, skipvsr
from jaxdyn.ops import conv, patches
from jaxdyn.types import SCALES, BlockRoute, Cost, Route, Stage

MEAN_SHIFT = 2 * (3 * 3 + 3)
"""CARN-M's two mean shifts are layers in the published file and constants here; its parameters are counted as
published."""


def measure(name: str, function: Callable, *arguments, times: float = 1) -> Stage:
    """The cost of one execution of `function`.

    Args:
      name: of the stage.
      function: pure function of arrays, without data-dependent loops.
      *arguments: arrays, or trees of `jax.ShapeDtypeStruct`: only shapes are used.
      times: how often it runs.

    Raises:
      ValueError: a loop whose number of turns is not known, which no static analysis can count.
    """
    with conv.analysed():
        traced = jax.jit(lambda *a: function(*a)).trace(
            *arguments
        )  # a new function each time: the trace is not the cached fast one
    analysis = traced.lower(lowering_platforms=("cpu",)).cost_analysis() or {}
    return Stage(name, float(analysis.get("flops", 0.0)), float(count_multiply_adds(traced.jaxpr.jaxpr)), times)


def count_multiply_adds(jaxpr: core.Jaxpr) -> int:
    """Multiply-adds of all convolutions and matrix products of a jaxpr, from their shapes."""
    total = 0
    for equation in jaxpr.eqns:
        kind = equation.primitive.name
        if kind == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            spec = equation.params["dimension_numbers"].rhs_spec  # (O, I / groups, spatial...)
            taps = math.prod(kernel[d] for d in spec[1:])
            total += math.prod(equation.outvars[0].aval.shape) * taps
        elif kind == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            reach = math.prod(equation.invars[0].aval.shape[d] for d in contracted)
            total += math.prod(equation.outvars[0].aval.shape) * reach
        elif kind == "while":
            raise ValueError("a while loop has no static cost; analyse its body as a stage of its own")
        elif kind == "scan":
            total += equation.params["length"] * count_multiply_adds(equation.params["jaxpr"].jaxpr)
        elif kind == "cond":
            total += max(count_multiply_adds(branch.jaxpr) for branch in equation.params["branches"])
        else:
            for inner in core.jaxprs_in_params(equation.params):
                total += count_multiply_adds(inner)
    return total


# The static networks


def dense_cain(model: cain.CAIN | cain_sd.CainSD, height: int, width: int) -> Cost:
    """The static network of the model's widths on a whole frame, padded to multiples of 128 as published. No flow, no
    finders."""
    return _dense_cain(model.num_feat, model.num_group, model.num_block, model.reduction, height, width)


@functools.cache
def _dense_cain(num_feat: int, num_group: int, num_block: int, reduction: int, height: int, width: int) -> Cost:
    height, width = (math.ceil(side / cain.PAD) * cain.PAD for side in (height, width))
    static = cain.CAIN(num_feat, num_group, num_block, reduction)
    image = _spec(1, height, width, 3)
    params = shapes(static)["params"]
    features = _spec(1, height // cain.SHUFFLE, width // cain.SHUFFLE, num_feat)
    return Cost(
        (
            measure("mean", lambda a, b: (cain.subtract_mean(a), cain.subtract_mean(b)), image, image),
            measure("head", cain.head, params["head"], image, image),
            measure("residual group", _first_group, params["body"], features, times=num_group),
            measure(
                "tail", lambda p, first, x: cain.to_image(cain.tail(p, first + x)), params["tail"], features, features
            ),
        )
    )


# The dynamic network

ONCE = ("flow", "finders", "alignment", "exit 0", "merge")
"""Stages that a frame has once, and not once for each patch."""


@functools.cache
def cain_sd_stages(model: cain_sd.CainSD, height: int, width: int) -> dict[str, Stage]:
    """The cost of each part of CAIN-SD on one frame: the router's once, the others for one patch.

    Keys: "flow" (both directions), "finders", "alignment", "exit 0", "merge"; for each scale s "ends s" (scaling, head,
    tail), "group s" and, where CARN-M brings patches back, "carn_m s". Parts that a configuration lacks are absent.
    """
    grid = model.grid(height, width)
    frame = _spec(1, height, width, 3)
    small = _spec(1, *cain_sd.router_size(height, width, model.router_edge), 3)
    flows = None if model.motion == "difference" else (_spec(*small.shape[:3], 2),) * 2
    variables = shapes(model)
    params = variables["params"]

    def part(name, method, *arguments):
        bound = lambda v, *a: model.apply(v, *a, method=method)  # noqa: E731
        return measure(name, bound, variables, *arguments)

    stages = {}
    if model.motion == "pwcnet":
        stages["flow"] = part("flow", lambda m, a, b: m.find_motion(a, b, None), small, small)

    def finders(m, frame0, frame1, motion):
        small0, small1 = m.router_image(frame0), m.router_image(frame1)
        return m.find(small0, small1, motion, grid)

    stages["finders"] = part("finders", finders, frame, frame, flows)
    field = _spec(*small.shape[:3], 8)
    if model.is_aligned:
        stages["alignment"] = part("alignment", lambda m, motion: m.displace(motion, (height, width)), flows)
        stages["exit 0"] = part("exit 0", lambda m, a, b, moved: m.exit0(a, b, moved), frame, frame, field)
    pieces = _spec(1, *grid.shape, *grid.patch, 3)
    stages["merge"] = measure("merge", lambda p: patches.merge(p, grid), pieces)

    stack = _spec(1, *grid.patch, fusion.NUM_SOURCE if model.is_aligned else 6)
    for scale in SCALES:
        sides = [math.ceil(math.ceil(side / scale) / cain.SHUFFLE) for side in grid.patch]
        small_patch = _spec(1, *(math.ceil(side / scale) for side in grid.patch), 3)

        def ends(p, x, a, b, moved, scale=scale):
            if model.is_aligned:  # candidates are made for this patch alone
                x = fusion.sources_at(a, b, moved, jnp.zeros((1, 2), jnp.int32), grid.patch)
            enlarge = lambda image, factor: jnp.repeat(jnp.repeat(image, factor, 1), factor, 2)  # noqa: E731
            upscale = None if model.is_aligned else enlarge
            return cain_sd.compute_patches(p, upscale, x, scale, lambda unchanged: unchanged)

        stages[f"ends {scale}"] = measure(f"ends at scale 1/{scale}", ends, params["cain"], stack, frame, frame, field)
        features = _spec(1, *sides, model.num_feat)
        stages[f"group {scale}"] = measure(
            f"residual group at scale 1/{scale}", _first_group, params["cain"]["body"], features
        )
        if scale > 1 and not model.is_aligned:
            network = models.build("carn_m")
            upscale = lambda p, image, n=network, s=scale: n.apply({"params": p}, image, s)[0]  # noqa: E731
            stages[f"carn_m {scale}"] = measure(f"CARN-M x{scale}", upscale, params["carn_m"], small_patch)
    return stages


def route_cost(model: cain_sd.CainSD, route: Route, height: int, width: int, is_given: bool = False) -> Cost:
    """What a Route costs, everything included: motion, finders, patches, CARN-M, merging.

    Packed execution runs exactly this: nominal and executed cost are one.

    Args:
      model: whose stages are counted.
      route: for frames of height x width; with B > 1 the cost of all B.
      height, width: of the frames, in pixels.
      is_given: whether the network was given the Route: then finders do not run, nor does motion that they alone see.
    """
    stages = cain_sd_stages(model, height, width)
    scale, depth = np.asarray(route.scale).reshape(-1), np.asarray(route.depth).reshape(-1)
    batch = route.shape[0]
    idle = (("finders",) if model.is_aligned else ("finders", "flow")) if is_given else ()
    idle += () if (depth == 0).any() else ("exit 0",)
    once = [name for name in ONCE if name in stages and name not in idle]
    counted = [_times(stages[name], batch) for name in once]
    for index, factor in enumerate(SCALES):
        levels = np.where(scale == index, depth, 0)
        num_computed = int((levels > 0).sum())
        counted.append(_times(stages[f"ends {factor}"], num_computed))
        counted.append(_times(stages[f"group {factor}"], int(levels.sum())))
        if f"carn_m {factor}" in stages:
            counted.append(_times(stages[f"carn_m {factor}"], num_computed))
    return Cost(tuple(stage for stage in counted if stage.times))


def masked_cost(model: cain_sd.CainSD, height: int, width: int) -> Cost:
    """What masked execution of a frame costs: every patch at every scale to the deepest exit."""
    stages = cain_sd_stages(model, height, width)
    num_patch = math.prod(model.grid(height, width).shape)
    turns = {
        name: num_patch * (model.num_group if name.startswith("group") else 1) for name in stages if name not in ONCE
    }
    return Cost(tuple(_times(stage, turns.get(name, 1)) for name, stage in stages.items()))


def patch_costs(model: cain_sd.CainSD, height: int, width: int) -> np.ndarray:
    """What one patch of a frame costs at each scale, to each exit: [3, num_group + 1] FLOPs, exit 0 first.

    C(H(s_i, d_j)) |p| of Eq. 11 and 12, CAIN-SD: the interpolation and CARN-M part of `route_cost`.

    Args:
      model: whose stages are counted.
      height, width: of the frame, in pixels.
    """
    stages = cain_sd_stages(model, height, width)
    table = np.zeros((len(SCALES), model.num_group + 1))
    for i, factor in enumerate(SCALES):
        ends, group = stages[f"ends {factor}"].flops, stages[f"group {factor}"].flops
        carn_m = stages[f"carn_m {factor}"].flops if f"carn_m {factor}" in stages else 0.0
        table[i, 1:] = ends + carn_m + group * np.arange(1, model.num_group + 1)
    return table


def exit_costs(model: cain_sd.CainSD, patch: int = 256) -> np.ndarray:
    """C(H(s_i, d_j)) of Eq. 11 for one pixel of the frame: [3, num_group] FLOPs, the interpolation and CARN-M part."""
    return patch_costs(model.clone(patch=patch, stride=patch), patch, patch)[:, 1:] / patch**2


# Super-resolution: one frame of a clip


@functools.cache
def dense_basicvsr(model: basicvsr.BasicVSR, height: int, width: int) -> Cost:
    """The static network of the model's widths on one whole frame, its two flows included (DIS has no FLOPs).

    Args:
      model: BasicVSR, or SkipVSR, whose gates and tiles are left out.
      height, width: of the small frame, in pixels.
    """
    return Cost(tuple(_vsr_stages(model, 1, height, width).values()))


def _vsr_stages(model: basicvsr.BasicVSR, num: int, height: int, width: int) -> dict[str, Stage]:
    """What one frame of a clip costs, as `num` pictures of height x width: "flow" (both ways), "warp", "head", "block"
    (of all pictures, both directions, all blocks) and "tail"."""
    params = shapes(model)["params"]
    image, features = _spec(num, height, width, 3), _spec(num, height, width, model.num_feat)
    flow, is_fresh = _spec(num, height, width, 2), jax.ShapeDtypeStruct((num,), bool)
    stages = {}
    if model.motion == "spynet":
        network = models.build("spynet")
        stages["flow"] = measure(
            "SpyNet", lambda p, a, b: network.apply({"params": p}, a, b)[0], params["flow"], image, image, times=2
        )

    def arrive(features, flow, is_fresh):
        return basicvsr.arrive(features, {"flow": flow, "is_fresh": is_fresh})

    def block(body, x):
        return basicvsr.residual_block(body, 0, x)

    one = params["forward"]
    stages["warp"] = measure("warp", arrive, features, flow, is_fresh, times=2)
    stages["head"] = measure("head", basicvsr.head, one["head"], image, features, times=2)
    stages["block"] = measure("residual block", block, one["body"], features, times=2 * model.num_block)
    stages["tail"] = measure("upsampling", basicvsr.upsample, params, image, features, features)
    return stages


@functools.cache
def skipvsr_stages(model: skipvsr.SkipVSR, height: int, width: int) -> dict[str, Stage]:
    """The cost of each part of SkipVSR on one frame.

    Keys: "flow", "warp", "head", "tail", of all pictures that travel by themselves, one execution; "gate", one tile
    compared and scored; "tile", one residual block on one tile, its halo included; "block", on all pictures as a whole;
    "merge" of patches.
    """
    grid = model.grid(height, width)
    num, size = (1, (height, width)) if model.tiling == "frame" else (math.prod(grid.shape), grid.patch)
    stages = _vsr_stages(model, num, *size)
    stages["block"] = _times(stages["block"], 1)
    params, (h, w), f, r = shapes(model)["params"], grid.patch, model.num_feat, skipvsr.HALO

    def tile(body, slab):
        block = basicvsr.block_at(body, 0)
        y = nn.relu(conv.conv2d(slab, block["conv1"]["kernel"], block["conv1"]["bias"], padding="valid"))
        y = conv.conv2d(y, block["conv2"]["kernel"], block["conv2"]["bias"], padding="valid")
        return slab[:, r:-r, r:-r] + y

    def compare(gate, after, before):
        return skipvsr.score_of_tile(gate, after, before, h * w)

    slab = _spec(1, h + 2 * r, w + 2 * r, f)
    stages["tile"] = measure("residual block of a tile", tile, params["forward"]["body"], slab)
    stages["gate"] = measure("gate of a tile", compare, params["gate_forward"], _spec(h, w, f), _spec(h, w, f))
    if model.tiling == "patches":
        where = skipvsr.enlarged(grid)
        pieces = _spec(1, *grid.shape, *where.patch, 3)
        stages["merge"] = measure("merge", lambda p: patches.merge(p, where), pieces)
    return stages


def block_route_cost(
    model: skipvsr.SkipVSR,
    route: BlockRoute,
    height: int,
    width: int,
    keep: tuple[int, int] | None = None,
) -> Cost:
    """What a Route costs, everything included: motion, gates, blocks, upsampling.

    Packed execution runs exactly this: tiles, and the whole picture where a block runs on so many of them that it takes
    less time.

    Args:
      model: whose stages are counted.
      route: of clips of height x width; the cost is that of all their frames.
      height, width: of the small frames, in pixels.
      keep: as given to the network; None: all frames.
    """
    stages = skipvsr_stages(model, height, width)
    blocks = np.array(route.blocks)
    batch, _, time, num_block = blocks.shape[:4]
    first, last = (0, time) if keep is None else keep
    blocks[:, 0, :first] = blocks[:, 1, last:] = False  # frames that are not visited
    num_tile = blocks[0, 0, 0, 0].size
    visited = batch * ((time - first) + last)  # frames, of both directions together
    tiles, wholes = block_counts(model, blocks)
    counts = {
        "flow": 2 * batch * (time - 1),
        "warp": visited,
        "head": visited,
        "tile": int(tiles.sum()),
        "block": int(wholes.sum()),
        "gate": visited * num_tile * (num_block + 1),
        "tail": batch * (last - first),
        "merge": batch * (last - first),
    }
    return Cost(tuple(_times(stage, counts[name]) for name, stage in stages.items()))


def block_counts(model: skipvsr.SkipVSR, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How packed execution runs blocks: on how many tiles by themselves, and whether on the whole picture.

    Args:
      model: whose `is_whole` decides.
      blocks: [..., n_h, n_w] bool, which tiles were chosen.

    Returns:
      [...] int and [...] bool.
    """
    blocks = np.asarray(blocks)
    chosen, num_tile = blocks.sum(axis=(-2, -1)), math.prod(blocks.shape[-2:])
    is_whole = np.asarray(model.is_whole(chosen, num_tile))
    return np.where(is_whole, 0, chosen), is_whole


def block_flops(model: skipvsr.SkipVSR, blocks: np.ndarray, height: int, width: int) -> np.ndarray:
    """FLOPs of residual blocks as packed execution runs them: [..., n_h, n_w] bool -> [...]."""
    stages = skipvsr_stages(model, height, width)
    tiles, wholes = block_counts(model, blocks)
    return tiles * stages["tile"].flops + wholes * stages["block"].flops


# What the command line prints


def describe(name: str, width: int, height: int) -> dict:
    """One network's cost on one frame, as `jaxdyn flops --json` prints it.

    Args:
      name: "cain", "cain_sd" (every patch at scale 1 to the last exit), "carn_m" (x2 of an input of this size),
        "pwcnet" or "spynet" (one flow), "basicvsr" or "skipvsr" (one frame, every block on the whole frame; SpyNet is
        shown and left out of the sum and of the parameters, as the papers count).
      width, height: of the input, in pixels.

    Returns:
      model, size [W, H], flops, multiply_adds, parameters, stages [{name, flops, multiply_adds, times}]; the cost of a
      stage is of one execution.

    Raises:
      ValueError: an unknown network or an empty size.
    """
    if width < 1 or height < 1:
        raise ValueError(f"size (={width}x{height}) must be at least 1x1 pixels")
    model = models.build(name)
    constants = 0
    if name == "cain":
        cost, variables = dense_cain(model, height, width), shapes(model)
    elif name == "cain_sd":
        shape = (1, *model.grid(height, width).shape)
        full = Route(np.zeros(shape, np.int32), np.full(shape, model.num_group, np.int32))
        cost, variables = route_cost(model, full, height, width), shapes(model)
    elif name == "carn_m":
        variables = shapes(model)
        constants = MEAN_SHIFT
        cost = Cost((measure("x2", lambda v, a: model.apply(v, a, 2)[0], variables, _spec(1, height, width, 3)),))
    elif name in ("basicvsr", "skipvsr"):
        cost, params = _without_flow(model, height, width), shapes(model)["params"]
        variables = {part: leaves for part, leaves in params.items() if part != "flow"}
    else:
        image = _spec(1, height, width, 3)
        variables = shapes(model)
        cost = Cost((measure("flow", lambda v, a, b: model.apply(v, a, b)[0], variables, image, image),))
    stages = [
        {"name": s.name, "flops": s.flops, "multiply_adds": s.multiply_adds, "times": s.times}
        | ({"excluded": True} if s.is_excluded else {})
        for s in cost.stages
    ]
    return {
        "model": name,
        "size": [width, height],
        "flops": cost.flops,
        "multiply_adds": cost.multiply_adds,
        "parameters": constants + sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables)),
        "stages": stages,
    }


def _without_flow(model: basicvsr.BasicVSR, height: int, width: int) -> Cost:
    """The static network on one frame, its two flows shown and not counted."""
    flow, *rest = dense_basicvsr(model, height, width).stages
    return Cost((*rest, dataclasses.replace(flow, is_excluded=True)))


def shapes(model: nn.Module) -> chex.ArrayTree:
    """The shapes of a network's variables, without computing them."""
    return {"params": pretrained.parameter_shapes(model)}


def _first_group(body: chex.ArrayTree, x: chex.Array) -> chex.Array:
    return cain.residual_group(body, 0, x)


def _spec(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _times(stage: Stage, times: float) -> Stage:
    return Stage(stage.name, stage.flops, stage.multiply_adds, times, stage.is_excluded)
