"""CAIN-SD, "Motion-Aware Dynamic Architecture for Efficient Frame Interpolation": each patch gets the scale and the
depth that its motion asks for.

    frames -> router's images -> motion -> SD-finder -> Route -> patches -> CAIN at 1 / s, to exit d -> CARN-M x s ->
    merge -> frame

The Route is a value: `find` makes it, `masked` or `packed` execution (see `jaxdyn.routing`) consumes it, and both
give the same picture.

Beyond the paper, all off by default and marked `Differs:`, are options that the shipped weights use:

- `is_aligned`: the motion that the router already paid for warps both frames to the middle first; CAIN then predicts
  how to blend what was warped and what to add (`jaxdyn.models.fusion`). That correction is what a reduced scale
  computes small and an interpolation brings back to size: the pictures themselves stay at full size, and no
  super-resolution network is needed.
- `has_exit0`: a patch may take no residual group at all; its output is the mean of its two (aligned) frames.
- `motion`: "pwcnet" is the paper's; "dis" takes motion that the host computed (`jaxdyn.motion.dis`); "difference" lets
  ScaleNet see the difference of the frames in place of motion, the paper's cheap alternative.
- `sees`: other inputs of the finders, those of Section 4.5.

Axes: B, H, W frames; h, w the router's images; n_h, n_w grid of patches, N = B n_h n_w; P_h, P_w sides of a patch.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxdyn import routing
from jaxdyn.models import cain, fusion
from jaxdyn.models.carn import CARNM
from jaxdyn.models.pwcnet import PWCNet
from jaxdyn.models.sdfinder import Finder, magnitude
from jaxdyn.ops import patches, resample
from jaxdyn.types import SCALES, Route

Execution = Literal["masked", "packed"]
Motion = tuple[chex.Array, chex.Array]

MAPS = ("motion", "difference", "frames")
"""What a finder may see: F_mag (Eq. 2), the difference of the router's images, and both images."""

ALIGNED_WINDOW = 16
"""Patches with aligned sources that are on their way at once: each keeps its candidates, 7 MB at 256 x 256."""


def biases_of(bias: float | tuple[float, float]) -> tuple[float, float]:
    """`CainSD.cost_bias` of ScaleNet and of DepthNet."""
    return bias if isinstance(bias, tuple) else (bias, bias)


class CainSD(nn.Module):
    """The dynamic network: `(frame0, frame1, motion=None, route=None, execution=...) -> (frame, aux)`.

    Attributes:
      num_feat, num_group, num_block, reduction: CAIN's, see there. There are num_group exits.
      patch, stride: side and distance of patches, in pixels of the frame.
      router_edge: short side of the images that the router sees, in pixels; they are never enlarged.
      motion: "pwcnet", "difference" or "dis", where the motion comes from.
      is_aligned, has_exit0: the options above.
      sees: what ScaleNet and DepthNet see, each a sum of "motion" (F_mag), "difference" and "frames", such as
        "motion+difference"; the paper's choice by default.
      fixed_scale: index into `SCALES` that every patch gets (CAIN-D has no ScaleNet), or None: ScaleNet decides.
      fixed_depth: exit that every patch takes (CAIN-S has no DepthNet), or None: DepthNet decides.
      cost_bias: how much the finders' logits are lowered for each choice, times its cost: a share of the pixels
        at a scale, of the groups at a depth. Two numbers: of ScaleNet's, of DepthNet's. `Differs:` 0 is the paper's;
        above it the network is cheaper.
      chunks: how many patches of each scale run side by side in packed execution; what is left over runs in fewer.
    """

    num_feat: int = 192
    num_group: int = 5
    num_block: int = 12
    reduction: int = 16
    patch: int = 256
    stride: int = 240
    router_edge: int = 192
    motion: Literal["pwcnet", "difference", "dis"] = "pwcnet"
    is_aligned: bool = False
    has_exit0: bool = False
    sees: tuple[str, str] = ("motion", "difference")
    fixed_scale: int | None = None
    fixed_depth: int | None = None
    cost_bias: float | tuple[float, float] = 0.0
    chunks: tuple[int, int, int] = (6, 6, 6)

    def setup(self):
        """Declare the parts: `cain`, `carn_m`, `flow`, `scale_net`, `depth_net`, as far as the options need them."""
        if self.motion not in ("pwcnet", "difference", "dis"):
            raise ValueError(f"motion (={self.motion!r}) must be 'pwcnet', 'difference' or 'dis'")
        if self.is_aligned and self.motion == "difference":
            raise ValueError(
                "is_aligned=True needs motion to align by; motion='difference' has none, choose 'pwcnet' or 'dis'"
            )
        if len(self.sees) != 2 or not {part for maps in self.sees for part in maps.split("+")} <= set(MAPS):
            raise ValueError(
                f"sees (={self.sees!r}) must say what ScaleNet and DepthNet see, each a sum of {', '.join(MAPS)}, as "
                "in ('motion+difference', 'difference')"
            )
        self.cain = cain.CAIN(
            self.num_feat,
            self.num_group,
            self.num_block,
            self.reduction,
            **(
                {"num_extra": fusion.NUM_EXTRA, "num_tail": fusion.NUM_TAIL, "is_zero_tail": True}
                if self.is_aligned
                else {}
            ),
        )
        if not self.is_aligned:
            self.carn_m = CARNM()
        if self.motion == "pwcnet":
            self.flow = PWCNet()
        if self.fixed_scale is None:
            self.scale_net = Finder(len(SCALES))
        if self.fixed_depth is None:
            self.depth_net = Finder(self.num_exit)

    @property
    def depths(self) -> range:
        """The depths that a patch can choose from: 1 to num_group, with `has_exit0` from 0."""
        return range(0 if self.has_exit0 else 1, self.num_group + 1)

    @property
    def num_exit(self) -> int:
        """K_d: how many depths there are."""
        return len(self.depths)

    @property
    def first_exit(self) -> int:
        """The least depth."""
        return self.depths[0]

    @property
    def fixed_choices(self) -> tuple[int | None, int | None]:
        """`fixed_scale` and `fixed_depth` as numbers among the choices, 0 to K - 1; None where a finder chooses."""
        return self.fixed_scale, None if self.fixed_depth is None else self.fixed_depth - self.first_exit

    @property
    def choice_costs(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What `cost_bias` weighs: the share of the pixels at each scale, and of the groups at each exit."""
        shares = tuple(depth / self.num_group for depth in self.depths)
        return tuple(1 / scale**2 for scale in SCALES), shares

    def grid(self, height: int, width: int) -> patches.Grid:
        """Where the patches of a frame lie."""
        return patches.grid(height, width, self.patch, self.stride)

    def __call__(
        self,
        frame0: chex.Array,
        frame1: chex.Array,
        motion: Motion | None = None,
        route: Route | None = None,
        execution: Execution = "masked",
    ) -> tuple[chex.Array, dict]:
        """Interpolate the middle frame: [B, H, W, 3] x 2 -> [B, H, W, 3], neither clipped nor rounded.

        Args:
          frame0, frame1: [B, H, W, 3] in [0, 1].
          motion: (flow01, flow10), each [B, h, w, 2] in pixels of their own grid, usually the router's; other sizes are
            resized to each use. None: the network's own PWC-Net.
          route: executed as given. None: the finders decide. With `rngs={"route": key}` they draw (Eq. 6 and 7),
            without they choose.
          execution: "masked" (differentiable) or "packed" (only what the Route selects).

        Returns:
          The frame, and aux: `route`; `scale_logits` [B, n_h, n_w, 3] and `depth_logits` [B, n_h, n_w, K_d] (None if
            fixed);
          `scale_mask`, `depth_mask`, one-hot with a straight-through gradient; `motion`, `magnitude` [B, h, w, 1] (None
          without motion); `exit0` [B, H, W, 3], the mean of the (aligned) frames.

        Raises:
          ValueError: frames that are no pair, a Route that does not fit them, motion that is missing or too much.
        """
        cain.check_frames(frame0, frame1)
        if execution not in ("masked", "packed"):
            raise ValueError(f"execution (={execution!r}) must be 'masked' or 'packed'")
        batch, height, width, _ = frame0.shape
        grid = self.grid(height, width)
        if self.is_initializing():
            return self._touch_all_parts(frame0, frame1, grid), {}

        small0, small1 = (self.router_image(frame) for frame in (frame0, frame1))  # [B, h, w, 3]
        motion = self.find_motion(small0, small1, motion)  # 2 x [B, h, w, 2], None for "difference"
        found = self.find(small0, small1, motion, grid)  # logits [B, n_h, n_w, K]
        decision = self.decide(found, route, (batch, *grid.shape))  # a Route, and masks that say the same

        moved = self.displace(motion, (height, width))  # [B, h, w, 8], None unless aligned
        computed = self.execute(frame0, frame1, moved, decision, execution)  # [N, P_h, P_w, 3]
        frame = patches.merge(computed.reshape(batch, *grid.shape, *computed.shape[1:]), grid)  # [B, H, W, 3]
        return frame, {**found, **decision, "motion": motion, "exit0": self.exit0(frame0, frame1, moved)}

    # The router

    def router_image(self, frame: chex.Array) -> chex.Array:
        """A frame at the router's size: the short side at most `router_edge`, by bicubic interpolation (Section 3.1).
        [B, H, W, 3] -> [B, h, w, 3]."""
        return resample.resize_bicubic(frame, router_size(*frame.shape[1:3], self.router_edge))

    def find_motion(self, small0: chex.Array, small1: chex.Array, motion: Motion | None) -> Motion | None:
        """F_01 and F_10 (Eq. 1): the ones given, or PWC-Net's. [B, h, w, 3] x 2 -> 2 x [B, h, w, 2]."""
        if motion is not None:
            if self.motion == "difference":
                raise ValueError("motion was given, but motion='difference' takes none; leave it out")
            for name, flow in zip(("flow01", "flow10"), motion, strict=True):
                if flow.ndim != 4 or flow.shape[0] != small0.shape[0] or flow.shape[-1] != 2:
                    raise ValueError(f"motion's {name} has shape {flow.shape}, expected [{small0.shape[0]}, h, w, 2]")
            return tuple(motion)
        if self.motion == "dis":
            raise ValueError(
                "motion is None, but motion='dis' is computed on the host: "
                "pass motion=jaxdyn.motion.dis(frame0, frame1)"
            )
        if self.motion == "difference":
            return None
        return self.flow.both_ways(small0, small1)[0]

    def find(self, small0: chex.Array, small1: chex.Array, motion: Motion | None, grid: patches.Grid) -> dict:
        """The finders' scores of each choice (Eq. 2 and 3): ScaleNet sees F_mag, DepthNet the difference of the
        images, unless `sees` says otherwise."""
        difference = small0 - small1
        if motion is None:
            size, moved = None, jnp.abs(difference).mean(-1, keepdims=True)
        else:
            size = moved = magnitude(*(resize_flow(flow, small0.shape[1:3]) for flow in motion))  # [B, h, w, 1]
        maps = {"motion": moved, "difference": difference, "frames": jnp.concatenate([small0, small1], axis=-1)}
        seen = [jnp.concatenate([maps[part] for part in parts.split("+")], axis=-1) for parts in self.sees]
        scale_logits = None if self.fixed_scale is not None else self.scale_net(seen[0], grid)[0]
        depth_logits = None if self.fixed_depth is not None else self.depth_net(seen[1], grid)[0]
        return {"scale_logits": scale_logits, "depth_logits": depth_logits, "magnitude": size}

    def decide(self, found: dict, route: Route | None, shape: tuple[int, int, int]) -> dict:
        """From scores to a Route and to one-hot masks [B, n_h, n_w, K] that say the same and carry the gradient."""
        if route is not None:
            route = Route.of(route)
            route.check(shape, self.num_group, self.has_exit0)
            scale_mask = jax.nn.one_hot(route.scale, len(SCALES))
            depth_mask = jax.nn.one_hot(route.depth - self.first_exit, self.num_exit)
            return {"route": route, "scale_mask": scale_mask, "depth_mask": depth_mask}

        def choose(logits, fixed, costs, bias):
            num_choice = len(costs)
            if fixed is not None:
                return jnp.broadcast_to(jax.nn.one_hot(fixed, num_choice), (*shape, num_choice))
            key = self.make_rng("route") if self.has_rng("route") else None
            return routing.sample(logits - bias * jnp.asarray(costs, logits.dtype), key)

        logits = found["scale_logits"], found["depth_logits"]
        scale_mask, depth_mask = map(choose, logits, self.fixed_choices, self.choice_costs, biases_of(self.cost_bias))
        scale, depth = (mask.argmax(-1).astype(jnp.int32) for mask in (scale_mask, depth_mask))
        route = Route(scale, depth + self.first_exit)
        return {"route": route, "scale_mask": scale_mask, "depth_mask": depth_mask}

    # The pictures

    def displace(self, motion: Motion | None, size: tuple[int, int]) -> chex.Array | None:
        """`Differs:` with `is_aligned`, how far the candidates of `fusion` look: [B, h, w, 8]; else None."""
        return fusion.displacements(motion, size) if self.is_aligned else None

    def exit0(self, frame0: chex.Array, frame1: chex.Array, moved: chex.Array | None) -> chex.Array:
        """The mean of the frames, of the aligned ones with `is_aligned`: [B, H, W, 3] x 2 -> [B, H, W, 3]."""
        if moved is not None:
            frame0, frame1 = fusion.aligned_pair(frame0, frame1, moved)
        return (frame0 + frame1) / 2

    def sources(self, frame0: chex.Array, frame1: chex.Array, moved: chex.Array | None) -> chex.Array:
        """What patches are cut from: both frames [B, H, W, 6], or with `is_aligned` the candidates [B, H, W, 28]."""
        if moved is None:
            return jnp.concatenate([frame0, frame1], axis=-1)
        return fusion.sources(frame0, frame1, moved)

    def exits(self, stack: chex.Array) -> list[chex.Array]:
        """Patches as every exit would give them, at scale 1: [N, P_h, P_w, 6 or 28] -> (num_group + 1) x [N, P_h,
        P_w, 3], exit 0 first.

        What the first stage of the curriculum trains: the trunk runs once for all exits.
        """
        params = self.cain.parameters()
        prepared = _prepare(stack, 1, self.is_aligned)
        first = features = cain.head(params["head"], *prepared.inputs)
        outputs = [fusion.exit0(stack)]  # the mean of the first two pictures in both layouts
        for turn in range(self.num_group):
            features = cain.residual_group(params["body"], turn, features)
            outputs.append(_finish(params, stack, prepared, first + features, 1, self._upscale()))
        return outputs

    def execute(
        self,
        frame0: chex.Array,
        frame1: chex.Array,
        moved: chex.Array | None,
        decision: dict,
        execution: Execution,
    ) -> chex.Array:
        """Eq. 10: every patch at its scale, to its exit, back to its size. Frames [B, H, W, 3] -> patches [N, P_h,
        P_w, 3].

        Patches of exit 0 keep `exit0`. Packed execution cuts out, aligns and computes the others only, and exit 0 where
        a patch takes it.
        """
        params = self.cain.parameters()
        batch, height, width, _ = frame0.shape
        grid = self.grid(height, width)
        upscale = self._upscale()
        compute = functools.partial(compute_patches, params, upscale)

        def step(turn, x):
            return cain.residual_group(params["body"], turn, x)

        def untouched(given):
            return _flat(patches.split(self.exit0(*given), grid))  # [N, P_h, P_w, 3]

        if execution == "masked":
            stack = _flat(patches.split(self.sources(frame0, frame1, moved), grid))  # [N, P_h, P_w, S]
            depth_mask = decision["depth_mask"].reshape(-1, self.num_exit)
            if not self.has_exit0:
                depth_mask = jnp.pad(depth_mask, ((0, 0), (1, 0)))  # masks of levels 0 to G
            scale_mask = decision["scale_mask"].reshape(-1, len(SCALES))
            paths = [compute(stack, scale, lambda first: routing.masked(step, first, depth_mask)) for scale in SCALES]
            computed = sum(mask[:, None, None, None] * path for mask, path in zip(scale_mask.T, paths, strict=True))
            skips = depth_mask[:, 0, None, None, None]
            return skips * untouched((frame0, frame1, moved)) + (1 - skips) * computed

        places = jnp.asarray(
            [(b, y, x) for b in range(batch) for y in grid.rows for x in grid.columns], jnp.int32
        )  # [N, 3]
        route = decision["route"]
        scale, depth = route.scale.reshape(-1), route.depth.reshape(-1)
        output = routing.unless((depth > 0).all(), untouched, (frame0, frame1, moved))
        window = min(routing.WINDOW, max(ALIGNED_WINDOW, *self.chunks)) if self.is_aligned else routing.WINDOW
        for index, factor in enumerate(SCALES):

            def begin(chunk, factor=factor):
                stack = self._sources_at(frame0, frame1, moved, chunk, grid.patch)  # [c, P_h, P_w, S]
                prepared = _prepare(stack, factor, self.is_aligned)
                first = cain.head(params["head"], *prepared.inputs)  # [c, h, w, F]
                return (first, prepared.mean, stack if self.is_aligned else None), first

            def end(chunk, kept, features, factor=factor):
                first, mean, stack = kept
                if stack is None:  # two plain cuts; candidates are dearer to align again than to keep
                    stack = self._sources_at(frame0, frame1, moved, chunk, grid.patch)
                prepared = _prepare(stack, factor, self.is_aligned)._replace(mean=mean)
                return _finish(params, stack, prepared, first + features, factor, upscale)

            levels = jnp.where(scale == index, depth, 0)
            path = routing.Path(begin, step, end)
            output = routing.packed(path, places, levels, output, self.chunks[index], window)
        return output

    def _sources_at(self, frame0, frame1, moved, places, size) -> chex.Array:
        """`sources` of some patches [c, 3] (frame, row, column) and of nothing else: [c, P_h, P_w, S]."""
        if frame0.shape[0] == 1:
            return self._cut(frame0, frame1, moved, places[:, 1:], size)
        stacks = []
        for place in places:
            one = [None if a is None else lax.dynamic_index_in_dim(a, place[0]) for a in (frame0, frame1, moved)]
            stacks.append(self._cut(*one, place[None, 1:], size))
        return jnp.concatenate(stacks)

    def _cut(self, frame0, frame1, moved, places, size) -> chex.Array:
        """The same of one frame pair [1, H, W, 3], places [c, 2] (row, column)."""
        if moved is None:
            return jnp.concatenate([fusion.take(frame, places, size) for frame in (frame0, frame1)], axis=-1)
        return fusion.sources_at(frame0, frame1, moved, places, size)

    def _upscale(self) -> Callable[[chex.Array, int], chex.Array] | None:
        """CARN-M as a pure function, or None where only a correction is brought back to size."""
        if self.is_aligned:
            return None
        network, variables = self.carn_m.clone(parent=None), self.carn_m.variables
        return lambda image, scale: network.apply(variables, image, scale)[0]

    def _touch_all_parts(self, frame0: chex.Array, frame1: chex.Array, grid: patches.Grid) -> chex.Array:
        """Create every part's parameters, whatever the arguments would use, and run nothing else: initialisation
        compiles fast."""
        self.cain.parameters()
        if not self.is_aligned:
            self.carn_m(frame0[:, :8, :8], 2)
        if self.motion == "pwcnet":
            self.flow(frame0[:, :64, :64], frame1[:, :64, :64])
        small0, small1 = self.router_image(frame0), self.router_image(frame1)
        self.find(small0, small1, None, grid)
        return (frame0 + frame1) / 2


def compute_patches(params, upscale, stack, scale, to_depth):
    """H of Eq. 5: patches down to 1 / scale, through CAIN as far as `to_depth` goes, and back to their size.

    Args:
      params: CAIN's `head`, `body`, `tail`.
      upscale: (image, scale) -> image, CARN-M; None for aligned sources, where a correction is brought back and no
        image.
      stack: [N, P_h, P_w, S], as `CainSD.sources` gives it.
      scale: 1, 2 or 4.
      to_depth: features [N, h, w, F] -> features, the residual groups.

    Returns:
      [N, P_h, P_w, 3].
    """
    prepared = _prepare(stack, scale, upscale is None)
    first = cain.head(params["head"], *prepared.inputs)  # [N, h, w, F]
    return _finish(params, stack, prepared, first + to_depth(first), scale, upscale)


class _Prepared(NamedTuple):
    """CAIN's inputs and what its output needs to become a picture."""

    inputs: tuple  # two pictures [N, 8h, 8w, 3], and maps [N, h, w, E] or None
    mean: chex.Array | None = None  # [N, 1, 1, 3], to be added
    size: tuple[int, int] | None = None  # of the reduced patch, before padding


def _prepare(stack: chex.Array, scale: int, is_aligned: bool) -> _Prepared:
    """Reduce and pad to multiples of 8; of the paper's pictures, subtract the mean first.

    `Differs:` aligned sources are reduced by averaging squares, an eighth of the cost of bicubic interpolation: only
    the network sees them.
    """
    if is_aligned:
        padded, _ = patches.pad_to(stack, cain.SHUFFLE * scale)
        return _Prepared(fusion.inputs(fusion.pool(padded, scale), scale))
    small = resample.imresize(stack, 1 / scale) if scale > 1 else stack
    (image0, mean0), (image1, mean1) = map(cain.subtract_mean, jnp.split(small, 2, axis=-1))
    images = [patches.pad_to(image, cain.SHUFFLE)[0] for image in (image0, image1)]
    return _Prepared((*images, None), (mean0 + mean1) / 2, small.shape[1:3])


def _finish(params, stack, prepared: _Prepared, features, scale, upscale) -> chex.Array:
    """Features to pictures at full size: [N, h, w, F] -> [N, P_h, P_w, 3]."""
    cells = cain.tail(params["tail"], features)
    if prepared.mean is None:
        return fusion.fuse(stack, cells, scale)
    (height, width), (small_height, small_width) = stack.shape[1:3], prepared.size
    image = cain.to_image(cells)[:, :small_height, :small_width] + prepared.mean
    return image if scale == 1 else upscale(image, scale)[:, :height, :width]


def router_size(height: int, width: int, edge: int) -> tuple[int, int]:
    """Size of the router's image: short side `edge`, never enlarged. 1080 x 2048 at 192 -> (192, 364)."""
    factor = min(1.0, edge / min(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def resize_flow(flow: chex.Array, size: tuple[int, int]) -> chex.Array:
    """Flow on another grid, in that grid's pixels: [B, h, w, 2] -> [B, *size, 2]."""
    if flow.shape[1:3] == tuple(size):
        return flow
    ratio = jnp.asarray([size[1] / flow.shape[2], size[0] / flow.shape[1]], flow.dtype)
    return resample.resize_bilinear(flow, size) * ratio


def _flat(pieces: chex.Array) -> chex.Array:
    """[B, n_h, n_w, ...] -> [N, ...]."""
    return pieces.reshape(-1, *pieces.shape[3:])
