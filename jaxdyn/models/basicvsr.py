"""BasicVSR: video super-resolution x4 by recurrence in both directions (Chan et al. 2021).

Features travel backward through the clip, then forward; from frame to frame they are warped along optical flow. In
each direction a frame meets the features of its neighbour in a convolution and M residual blocks; both directions'
features of a frame are fused, enlarged twice by pixel shuffle, and added to the bilinearly enlarged frame.

The network is written as pure functions of parameters (`head`, `residual_block`, `upsample`), of which SkipVSR's
routed execution is built too, and as the Linen module `BasicVSR`, the published static network. Blocks are stacked
along a leading axis, so that a block can be chosen by a number that is known only at run time.

Axes: B clips, T frames, H and W sides of a small frame, F features, M blocks, K frames that are upscaled.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jaxdyn import motion as host_motion
from jaxdyn import routing
from jaxdyn.models.spynet import SpyNet
from jaxdyn.ops import conv, resample, shuffle
from jaxdyn.ops.warp import backward_warp

SCALE = 4
LEAK = 0.1
DIRECTIONS = ("backward", "forward")

Motion = tuple[chex.Array, chex.Array]


def head(params: chex.ArrayTree, image: chex.Array, features: chex.Array) -> chex.Array:
    """A frame meets its neighbour's features: [N, H, W, 3], [N, H, W, F] -> [N, H, W, F]."""
    x = jnp.concatenate([image, features], axis=-1)
    return nn.leaky_relu(conv.conv2d(x, params["kernel"], params["bias"]), LEAK)


def residual_block(body: chex.ArrayTree, index: int | chex.Array, x: chex.Array) -> chex.Array:
    """R_m (Eq. 3, SkipVSR): x + conv(relu(conv(x))), [N, H, W, F].

    Args:
      body: all blocks: `conv1`, `conv2` {kernel [M, 3, 3, F, F], bias [M, F]}.
      index: which block, 0 to M - 1; it may be known at run time only.
      x: [N, H, W, F].
    """
    block = block_at(body, index)
    y = nn.relu(conv.conv2d(x, block["conv1"]["kernel"], block["conv1"]["bias"]))
    return x + conv.conv2d(y, block["conv2"]["kernel"], block["conv2"]["bias"])


def block_at(body: chex.ArrayTree, index: int | chex.Array) -> chex.ArrayTree:
    """One block's parameters, copied out and nothing else."""
    return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, index, keepdims=False), body)


def upsample(params: chex.ArrayTree, image: chex.Array, backward: chex.Array, forward: chex.Array) -> chex.Array:
    """U of Figure 2, SkipVSR: both directions' features to a large frame.

    Args:
      params: `fusion`, `upconv1`, `upconv2`, `conv_hr`, `conv_last`, {kernel, bias} each.
      image: the small frame, [N, H, W, 3].
      backward, forward: [N, H, W, F].

    Returns:
      [N, 4 H, 4 W, 3], not clamped.
    """

    def layer(name, x):
        return conv.conv2d(x, params[name]["kernel"], params[name]["bias"])

    x = nn.leaky_relu(layer("fusion", jnp.concatenate([backward, forward], axis=-1)), LEAK)
    x = nn.leaky_relu(shuffle.pixel_shuffle(layer("upconv1", x), 2), LEAK)  # [N, 2 H, 2 W, F]
    x = nn.leaky_relu(shuffle.pixel_shuffle(layer("upconv2", x), 2), LEAK)  # [N, 4 H, 4 W, F_hr]
    x = layer("conv_last", nn.leaky_relu(layer("conv_hr", x), LEAK))
    size = (SCALE * image.shape[1], SCALE * image.shape[2])
    return x + resample.resize_bilinear(image, size)


STRIP_BYTES = 2**28
"""What one layer's features at the full size may take; larger frames are upsampled strip by strip."""

REACH = 3
"""Rows of the small frame above and below that a row of the large one depends on, or more."""


def upsample_by_strips(
    params: chex.ArrayTree, image: chex.Array, backward: chex.Array, forward: chex.Array
) -> chex.Array:
    """`upsample` in memory that does not grow with the frame: strips of rows, each computed with what it depends on."""
    batch, height, width, _ = image.shape
    wanted = batch * height * width * SCALE**2 * params["conv_hr"]["kernel"].shape[-1] * image.dtype.itemsize
    num_row = math.ceil(height / math.ceil(wanted / STRIP_BYTES))
    num_seen = num_row + 2 * REACH
    if num_seen >= height:
        return upsample(params, image, backward, forward)

    def one_strip(turn, large):
        first = jnp.minimum(turn * num_row, height - num_row)
        top = jnp.clip(first - REACH, 0, height - num_seen)  # at the frame's borders nothing is missing
        seen = [lax.dynamic_slice_in_dim(x, top, num_seen, axis=1) for x in (image, backward, forward)]
        strip = lax.dynamic_slice_in_dim(upsample(params, *seen), SCALE * (first - top), SCALE * num_row, axis=1)
        return lax.dynamic_update_slice_in_dim(large, strip, SCALE * first, axis=1)

    large = jnp.zeros((batch, SCALE * height, SCALE * width, 3), image.dtype)
    return lax.fori_loop(0, math.ceil(height / num_row), one_strip, large)


class BasicVSR(nn.Module):
    """The published network: `(clip) -> (large, aux)`.

    Clips are [B, T, H, W, 3] float RGB in [0, 1] of any size, down to one pixel and one frame. The defaults have
    4,851,011 parameters, and 1,440,300 in SpyNet: `backward`, `forward` {`head`, `body`}, stacked over blocks;
    `fusion`, `upconv1`, `upconv2`, `conv_hr`, `conv_last`; `flow`.

    Attributes:
      num_feat: F.
      num_block: M, residual blocks of each direction.
      num_hr: features at the full size; 64 as published.
      motion: "spynet" is the paper's; "dis" takes OpenCV's DIS from the host. `Differs:` the latter needs no training.
      is_remat: recompute blocks and upsampling in the backward pass of training, which then keeps a layer's input
        only.

    aux: `motion`; `backward`, `forward`, the features of the kept frames [B, K, H, W, F].
    """

    num_feat: int = 64
    num_block: int = 30
    num_hr: int = 64
    motion: Literal["spynet", "dis"] = "spynet"
    is_remat: bool = False

    def setup(self):
        """Declare the parameters as trees, so that pure functions can take them."""
        if self.motion not in ("spynet", "dis"):
            raise ValueError(f"motion (={self.motion!r}) must be 'spynet' or 'dis'")
        if self.num_block < 1:
            raise ValueError(f"num_block (={self.num_block}) must be at least 1")
        f, hr = self.num_feat, self.num_hr
        for name in DIRECTIONS:
            setattr(self, name, self.param(name, _direction, f, self.num_block))
        layers = {"fusion": (1, 2 * f, f), "upconv1": (3, f, 4 * f), "upconv2": (3, f, 4 * hr)}
        layers |= {"conv_hr": (3, hr, hr), "conv_last": (3, hr, 3)}
        self.tail = {name: self.param(name, _layer, *shape) for name, shape in layers.items()}
        if self.motion == "spynet":
            self.flow = SpyNet()

    def __call__(
        self,
        clip: chex.Array,
        *,
        starts: chex.Array | None = None,
        motion: Motion | None = None,
        keep: tuple[int, int] | None = None,
        is_padding: chex.Array | None = None,
    ) -> tuple[chex.Array, dict]:
        """Upscale a clip: [B, T, H, W, 3] -> [B, K, 4 H, 4 W, 3].

        Args:
          clip: frames, float in [0, 1].
          starts: [B, T] bool, which frames begin a shot: nothing travels across. None: only the first one.
          motion: (to_next, to_previous), each [B, T - 1, H, W, 2] px, from frame t to t + 1 and back. None: the
            network's own.
          keep: (first, last), the frames first <= t < last are upscaled, the others only hand on their features. None:
            all.
          is_padding: [T] bool, frames that only fill the clip up, before and after the others: nothing is computed for
            them, and their pictures are zero. How many there are may be known at run time only, so no gradient passes.

        Raises:
          ValueError: a clip of the wrong shape or kind, starts, motion or keep that do not fit it.
        """
        keep = check_clip(clip, starts, motion, keep, is_padding)
        if self.is_initializing():
            return self._touch_all_parts(clip), {}
        motion = self.find_motion(clip, motion, is_padding)  # 2 x [B, T - 1, H, W, 2]
        fresh = first_frames(clip, starts)  # 2 x [T, B], where nothing arrives from

        def travel(name, is_fresh):
            params = getattr(self, name)

            def one_frame(arriving, frame):
                x = head(params["head"], frame["image"], arrive(arriving, frame))
                return run_blocks(params["body"], x, self.is_remat), None

            return propagate(name, clip, motion, is_fresh, keep, self.num_feat, one_frame, is_padding=is_padding)[0]

        backward, forward = map(travel, DIRECTIONS, fresh)  # [K, B, H, W, F]
        large = upsample_all(self.tail, clip, backward, forward, keep, self.is_remat, is_padding)
        return large, {
            "motion": motion,
            "backward": jnp.moveaxis(backward, 0, 1),
            "forward": jnp.moveaxis(forward, 0, 1),
        }

    def find_motion(self, clip: chex.Array, motion: Motion | None, is_padding: chex.Array | None = None) -> Motion:
        """Flow to the next frame and back: the one given, SpyNet's, or DIS': [B, T, H, W, 3] -> 2 x [B, T - 1, H, W,
        2]; SpyNet does not search from or to padding [T], where nothing moves."""
        if motion is not None:
            return tuple(jnp.asarray(flow, clip.dtype) for flow in motion)
        batch, time, height, width, _ = clip.shape
        if time == 1:
            return (jnp.zeros((batch, 0, height, width, 2), clip.dtype),) * 2
        if self.motion == "dis":
            shape = jax.ShapeDtypeStruct((batch, time - 1, height, width, 2), np.float32)
            return jax.pure_callback(host_motion.dis_of_clips, (shape, shape), clip)

        network, variables = self.flow.clone(parent=None), self.flow.variables

        def search(frames):
            first, second = frames  # [B, H, W, 3]
            both = jnp.concatenate([first, second]), jnp.concatenate([second, first])
            return network.apply(variables, *both)[0]  # [2 B, H, W, 2]

        def pair(given):  # one pair of frames at a time bounds the memory
            *frames, is_empty = given
            return routing.unless(is_empty, search, frames)

        frames = jnp.moveaxis(clip, 1, 0)
        is_empty = None if is_padding is None else is_padding[:-1] | is_padding[1:]
        flows = jnp.moveaxis(lax.map(pair, (frames[:-1], frames[1:], is_empty)), 0, 1)  # [2 B, T - 1, H, W, 2]
        return flows[:batch], flows[batch:]

    def _touch_all_parts(self, clip: chex.Array) -> chex.Array:
        """Create every part's parameters and run nothing else: initialisation compiles fast."""
        if self.motion == "spynet":
            image = jnp.zeros((1, 32, 32, 3), clip.dtype)
            self.flow(image, image)
        return clip


# Recurrence, shared with SkipVSR


def propagate(
    direction: Literal["backward", "forward"],
    clip: chex.Array,
    motion: Motion,
    is_fresh: chex.Array,
    keep: tuple[int, int],
    num_feat: int,
    one_frame: Callable,
    extras: chex.ArrayTree = None,
    carried: chex.ArrayTree = None,
    is_padding: chex.Array | None = None,
) -> tuple[chex.Array, chex.ArrayTree]:
    """h_i = F(x_i, x_i+-1, h_i+-1) (Eq. 1, SkipVSR), frame after frame, as far as `keep` needs.

    Args:
      direction: "backward" visits the last frame first, and stops at the first frame that is kept; "forward" visits
        the first frame first and stops at the last one that is kept.
      clip: [B, T, H, W, 3].
      motion: (to_next, to_previous), [B, T - 1, H, W, 2].
      is_fresh: [T, B] bool, where no features arrive, by frame.
      keep: (first, last).
      num_feat: F.
      one_frame: ((features [B, H, W, F], carried), frame) -> (features, or (features, carried) if anything is carried;
        output). `frame` holds `image`, `flow`, `is_fresh` and `extra`.
      extras: tree of [T, ...] for `one_frame`, by frame.
      carried: what else goes from frame to frame.
      is_padding: [T] bool, frames that are not visited; None: none.

    Returns:
      Features of the kept frames [K, B, H, W, F], and outputs of the frames visited [T', ...], both by frame, T' from
      `keep`; both are zero for padding. Features of the other frames are handed on and forgotten, which bounds the
      memory of long overlaps.
    """
    first, last = keep
    is_backward = direction == "backward"
    visited = np.s_[first:] if is_backward else np.s_[:last]
    none = jnp.zeros((clip.shape[0], 1, *clip.shape[2:4], 2), clip.dtype)  # where there is no neighbour
    flow = jnp.concatenate([motion[0], none] if is_backward else [none, motion[1]], axis=1)  # to where features are
    # Frames that are not kept write to the place of the nearest one that is, which is visited after them.
    places = np.clip(np.arange(clip.shape[1]) - first, 0, last - first - 1)
    frames = {
        "image": jnp.moveaxis(clip, 1, 0)[visited],
        "flow": jnp.moveaxis(flow, 1, 0)[visited],
        "is_fresh": is_fresh[visited],
        "extra": jax.tree.map(lambda leaf: leaf[visited], extras),
    }
    features = jnp.zeros((*clip.shape[:1], *clip.shape[2:4], num_feat), clip.dtype)
    kept = jnp.zeros((last - first, *features.shape), clip.dtype)

    def turn(state, given):
        (kept, features, carried), (frame, place) = state, given
        after, output = one_frame(features if carried is None else (features, carried), frame)
        after = after if carried is not None else (after, None)
        return (lax.dynamic_update_index_in_dim(kept, after[0], place, 0), *after), output

    given = (frames, jnp.asarray(places[visited], jnp.int32))
    scan = lax.scan if is_padding is None else functools.partial(scan_some, is_padding[visited])
    (kept, *_), outputs = scan(turn, (kept, features, carried), given, reverse=is_backward)
    return kept, outputs


def scan_some(
    is_left_out: chex.Array, turn: Callable, state: chex.ArrayTree, given: chex.ArrayTree, reverse: bool = False
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """`lax.scan` over [T, ...] that leaves out turns [T] bool, known at run time only: they take no time, and their
    outputs are zero. No gradient passes."""
    num, num_taken = len(is_left_out), (~is_left_out).sum()
    order = jnp.argsort(is_left_out, stable=True)  # those that are taken come first

    @functools.partial(jax.jit, inline=True)  # so that it is traced once, for its shapes and for the loop
    def take(state, index):
        return turn(state, jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, index, keepdims=False), given))

    def put(outputs, output, index):
        update = functools.partial(lax.dynamic_update_index_in_dim, index=index, axis=0)
        return jax.tree.map(update, outputs, output)

    def one(number, both):
        index = order[num_taken - 1 - number if reverse else number]
        state, output = take(both[0], index)
        return state, put(both[1], output, index)

    _, like = jax.eval_shape(take, state, order[0])
    nothing = jax.tree.map(lambda leaf: jnp.zeros((num, *leaf.shape), leaf.dtype), like)
    return lax.fori_loop(0, num_taken, one, (state, nothing))


def arrive(features: chex.Array, frame: dict) -> chex.Array:
    """A neighbour's features at this frame's places, warped along the flow; nothing where a shot begins. [B, H, W,
    F]."""
    warped = backward_warp(features, frame["flow"])
    return jnp.where(frame["is_fresh"][:, None, None, None], 0.0, warped)


def run_blocks(body: chex.ArrayTree, x: chex.Array, is_remat: bool = False) -> chex.Array:
    """All residual blocks: [N, H, W, F] -> the same."""
    if conv.is_analysed():  # a loop's body is counted once
        for index in range(body["conv1"]["bias"].shape[0]):
            x = residual_block(body, index, x)
        return x

    def one(x, block):
        return residual_block(jax.tree.map(lambda leaf: leaf[None], block), 0, x), None

    return lax.scan(jax.checkpoint(one) if is_remat else one, x, body)[0]


def upsample_all(
    params: chex.ArrayTree,
    clip: chex.Array,
    backward: chex.Array,
    forward: chex.Array,
    keep: tuple[int, int],
    is_remat: bool = False,
    is_padding: chex.Array | None = None,
) -> chex.Array:
    """The kept frames, one at a time: clip [B, T, H, W, 3], features [K, B, H, W, F] -> [B, K, 4 H, 4 W, 3]."""
    first, last = keep
    run = functools.partial(upsample_by_strips, params)
    run = jax.checkpoint(run) if is_remat else run
    frames = (jnp.moveaxis(clip, 1, 0)[first:last], backward, forward)
    is_padding = None if is_padding is None else jnp.asarray(is_padding)[first:last]

    def one(frame_and_padding):
        frame, is_empty = frame_and_padding
        return routing.unless(is_empty, lambda frame: run(*frame), frame)

    return jnp.moveaxis(lax.map(one, (frames, is_padding)), 0, 1)


def first_frames(clip: chex.Array, starts: chex.Array | None) -> tuple[chex.Array, chex.Array]:
    """Where no features arrive, in each direction: starts [B, T] -> 2 x [T, B] bool.

    Forward it is where a shot begins, backward where it ends.
    """
    batch, time = clip.shape[:2]
    begins = jnp.zeros((batch, time), bool) if starts is None else jnp.asarray(starts, bool)
    begins = begins.at[:, 0].set(True)
    ends = jnp.roll(begins, -1, axis=1)  # the last frame ends what the first one begins
    return ends.T, begins.T


def check_clip(
    clip: chex.Array,
    starts: chex.Array | None,
    motion: Motion | None,
    keep: tuple[int, int] | None,
    is_padding: chex.Array | None = None,
) -> tuple[int, int]:
    """Refuse what does not fit together; gives `keep`, or all frames."""
    if clip.ndim != 5 or clip.shape[-1] != 3 or 0 in clip.shape:
        raise ValueError(f"clip has shape {clip.shape}, expected [B, T, H, W, 3] with at least one frame and one pixel")
    if not jnp.issubdtype(clip.dtype, jnp.floating):
        raise ValueError(f"clip has dtype {clip.dtype}, expected float in [0, 1]; divide 8-bit images by 255")
    batch, time, height, width, _ = clip.shape
    if starts is not None and tuple(starts.shape) != (batch, time):
        raise ValueError(f"starts has shape {tuple(starts.shape)}, expected {(batch, time)}: one value for each frame")
    if is_padding is not None and tuple(is_padding.shape) != (time,):
        raise ValueError(
            f"is_padding has shape {tuple(is_padding.shape)}, expected {(time,)}: one value for each frame"
        )
    if motion is not None:
        wanted = (batch, time - 1, height, width, 2)
        for name, flow in zip(("to_next", "to_previous"), motion, strict=True):
            if tuple(flow.shape) != wanted:
                raise ValueError(
                    f"motion's {name} has shape {tuple(flow.shape)}, expected {wanted}, in pixels of the clip"
                )
    first, last = (0, time) if keep is None else keep
    if not 0 <= first < last <= time:
        raise ValueError(
            f"keep (={keep}) must be (first, last) with 0 <= first < last <= {time}, the frames of the clip"
        )
    return first, last


# Parameters


def _layer(key: chex.PRNGKey, side: int, num_in: int, num_out: int) -> dict:
    """Kernel and bias by PyTorch's default rule."""
    init = conv.uniform_fan_in(side * side * num_in)
    kernel_key, bias_key = jax.random.split(key)
    return {"kernel": init(kernel_key, (side, side, num_in, num_out)), "bias": init(bias_key, (num_out,))}


def _direction(key: chex.PRNGKey, f: int, num_block: int) -> dict:
    """One direction: the blocks start small, a tenth of Kaiming's rule, biases at zero."""
    head_key, key1, key2 = jax.random.split(key, 3)

    def stack(key):
        kernel = 0.1 * np.sqrt(2 / (9 * f)) * jax.random.normal(key, (num_block, 3, 3, f, f))
        return {"kernel": kernel, "bias": jnp.zeros((num_block, f))}

    return {"head": _layer(head_key, 3, f + 3, f), "body": {"conv1": stack(key1), "conv2": stack(key2)}}
