"""Motion-aligned fusion: what the shipped networks predict in place of an image. `Differs:` beyond the paper, off by
default.

The motion that the router already paid for brings both frames to the middle, in more than one way, because half of a
flow is read at the wrong place wherever the motion changes. With F_01, F_10 the flows and u, v the same flows carried
to the middle's own pixels (`project`), the candidates for the middle frame are

    A0 = f0(x + F_10 / 2)   B1 = f1(x + F_01 / 2)      read where the flow stands; their mean is exit 0
    C0 = f0(x + u / 2)      C1 = f1(x - u / 2)         a pair that follows F_10
    D0 = f0(x - v / 2)      D1 = f1(x + v / 2)         a pair that follows F_01
    f0, f1                                             where nothing moves
    b1, b2                                             exit 0, blurred a little and a little more

and CAIN says how much of each to take: `exit0 + sum_k w_k (candidate_k - exit0) + r`. The weights w are predicted for
every second pixel, the rest r for every pixel. Both start at zero. At a reduced scale only w and r are computed small.

What enters or leaves the picture is in one frame only: where one of a pair is read outside of its frame and the other
inside, the other stands for both (`completed`).

Axes: N patches, P sides, K candidates with a weight.
"""

import chex
import jax.numpy as jnp
from jax import lax

from jaxdyn.ops import resample, shuffle, warp
from jaxdyn.ops.stored import stored

NAMES = ("A0", "B1", "C0", "C1", "D0", "D1", "f0", "f1")
"""The pictures of `sources`, three channels each."""

NUM_SOURCE = 3 * len(NAMES) + 4
"""Channels of `sources`: the pictures, then u and v in pixels."""

WEIGHTED = ("A0", "C0", "C1", "D0", "D1", "f0", "f1", "b1", "b2")
"""Candidates that have a weight (B1 = 2 exit0 - A0 needs none)."""

CELL = 8
"""Side of the cell that one feature vector describes: CAIN's shuffle."""

WEIGHT_STEP = 2
"""One weight for each square of this side, interpolated between."""

NUM_EXTRA = 6 * (CELL // 2) ** 2 + 6
"""Channels that stand beside the two pictures at CAIN's head."""

NUM_TAIL = len(WEIGHTED) * (CELL // WEIGHT_STEP) ** 2 + 3 * CELL**2
"""Channels of CAIN's tail: weights, then the rest."""

REST_GAIN = 0.25  # of the network's output that becomes r: the weights learn first
MAP_GAIN = 4.0  # differences of pictures are small numbers
FLOW_GAIN = 1.0 / 16.0  # px -> about 1
FLOW_GAP_GAIN = 1.0 / 4.0
NUM_PROJECTION = 2
LUMINANCE = (0.299, 0.587, 0.114)


def project(flow: chex.Array) -> chex.Array:
    """Carry a flow to the middle's pixels: the u with u(x) = flow(x - u(x) / 2), by two fixed-point steps from u =
    flow.

    The flow of frame a towards b, read at a's pixel y, passes the middle at y + flow(y) / 2.

    Args:
      flow: [B, h, w, 2], in pixels of its grid.

    Returns:
      [B, h, w, 2].
    """
    carried = flow
    for _ in range(NUM_PROJECTION):
        carried = stored(warp.backward_warp(flow, -carried / 2, "border"))
    return carried


def displacements(motion: tuple[chex.Array, chex.Array], size: tuple[int, int]) -> chex.Array:
    """How far to look for each kind of candidate: F_10 / 2, F_01 / 2, u / 2, v / 2.

    Args:
      motion: (flow01, flow10), each [B, h, w, 2] in pixels of their own grid.
      size: (H, W) of the frames.

    Returns:
      [B, h, w, 8] on the motion's grid, in pixels of the frames. It is read between its samples where it is used
      (`_read`), so that no field of the frames' size is ever stored.
    """
    flow01, flow10 = motion
    field = jnp.concatenate([flow10, flow01, project(flow10), project(flow01)], axis=-1)
    ratio = jnp.asarray([size[1] / flow01.shape[2], size[0] / flow01.shape[1]] * 4, field.dtype)
    return field * (ratio / 2)


def aligned_pair(frame0: chex.Array, frame1: chex.Array, moved: chex.Array) -> tuple[chex.Array, chex.Array]:
    """A0 and B1, whose mean is exit 0: [B, H, W, 3] x 2, displacements [B, h, w, 8] -> [B, H, W, 3] x 2."""
    size = frame0.shape[1:3]
    look = stored(resample.resize_bilinear(moved[..., :4], size))  # [B, H, W, 4]
    grid = warp.pixel_grid(*size).astype(look.dtype)
    at0, at1 = grid + look[..., :2], grid + look[..., 2:]
    seen = [warp.sample(frame, at, "border") for frame, at in ((frame0, at0), (frame1, at1))]
    return completed(*jnp.split(stored(jnp.concatenate(seen, axis=-1)), 2, axis=-1), at0, at1, size)


def completed(
    first: chex.Array, second: chex.Array, at0: chex.Array, at1: chex.Array, size: tuple[int, int]
) -> tuple[chex.Array, chex.Array]:
    """A pair of candidates [..., 3] x 2, read at [..., 2] x 2 of frames of (H, W); of pixels where one of them lies
    outside of its frame and the other inside, both are the one inside."""
    is_in0, is_in1 = warp.is_inside(at0, size), warp.is_inside(at1, size)  # [..., 1]
    return jnp.where(is_in1 & ~is_in0, second, first), jnp.where(is_in0 & ~is_in1, first, second)


def sources(frame0: chex.Array, frame1: chex.Array, moved: chex.Array) -> chex.Array:
    """Everything that a patch needs, for whole frames: [B, H, W, 3] x 2, displacements [B, h, w, 8] -> [B, H, W,
    28]."""
    batch, height, width, _ = frame0.shape
    place = jnp.zeros(2, jnp.int32)
    parts = [
        sources_at(frame0[b : b + 1], frame1[b : b + 1], moved[b : b + 1], place[None], (height, width))
        for b in range(batch)
    ]
    return jnp.concatenate(parts)


def sources_at(
    frame0: chex.Array, frame1: chex.Array, moved: chex.Array, places: chex.Array, size: tuple[int, int]
) -> chex.Array:
    """The sources of some patches of one frame pair; nothing outside of them is computed.

    Args:
      frame0, frame1: [1, H, W, 3] in [0, 1].
      moved: [1, h, w, 8], `displacements`.
      places: [N, 2] int32, row and column of each patch's first pixel.
      size: (P_h, P_w).

    Returns:
      [N, P_h, P_w, 28]: the pictures of `NAMES`, then u and v.
    """
    grid = warp.pixel_grid(*size) + places[:, None, None, ::-1].astype(moved.dtype)  # [N, P_h, P_w, 2], channel 0 = x
    cut = stored(_read(moved, grid, frame0.shape[1:3]))  # [N, P_h, P_w, 8]
    f10, f01, u, v = jnp.split(cut, 4, axis=-1)
    n, (height, width) = places.shape[0], size

    def look(frame, at):  # [N, P_h, P_w, 3]
        return warp.sample(frame, at.reshape(1, -1, width, 2), "border").reshape(n, height, width, 3)

    at = [grid + move for move in (f10, f01, u, -u, -v, v)]  # in frame 0 and in frame 1, pair by pair
    seen = [look(frame, place) for frame, place in zip((frame0, frame1) * 3, at, strict=True)]
    seen = jnp.split(stored(jnp.concatenate(seen, axis=-1)), 6, axis=-1)
    pictures = []
    for k in (0, 2, 4):
        pictures += completed(*seen[k : k + 2], *at[k : k + 2], frame0.shape[1:3])
    pictures += [take(frame0, places, size), take(frame1, places, size)]
    return jnp.concatenate([*pictures, 2 * u, 2 * v], axis=-1)


def _read(field: chex.Array, grid: chex.Array, size: tuple[int, int]) -> chex.Array:
    """A field [1, h, w, C] that spans a frame of `size`, read at pixels [N, P_h, P_w, 2] of that frame: what
    `resize_bilinear` gives there."""
    ratio = jnp.asarray([field.shape[2] / size[1], field.shape[1] / size[0]], grid.dtype)
    n, height, width, _ = grid.shape
    coords = ((grid + 0.5) * ratio - 0.5).reshape(1, n * height, width, 2)
    return warp.sample(field, coords, "border").reshape(n, height, width, -1)


def take(frame: chex.Array, places: chex.Array, size: tuple[int, int]) -> chex.Array:
    """Cut patches out at places known at run time only: [1, H, W, C], [N, 2] -> [N, *size, C]."""
    cuts = [lax.dynamic_slice(frame, (0, y, x, 0), (1, *size, frame.shape[-1])) for y, x in places]
    return jnp.concatenate(cuts)


def exit0(stack: chex.Array) -> chex.Array:
    """The mean of the aligned pair: [N, P, P, 28] -> [N, P, P, 3]."""
    return (stack[..., 0:3] + stack[..., 3:6]) / 2


def inputs(stack: chex.Array, scale: int) -> tuple[chex.Array, chex.Array, chex.Array]:
    """What CAIN sees: A0 and B1 without the mean of exit 0, and maps of where candidates disagree.

    Args:
      stack: [N, P, P, 28], sides multiples of 8, reduced.
      scale: by which the patch was reduced; flows count in reduced pixels.

    Returns:
      A0, B1 [N, P, P, 3] and maps [N, P / 8, P / 8, 102].
    """
    picture = dict(zip(NAMES, jnp.split(stack[..., :-4], len(NAMES), axis=-1), strict=True))
    middle = exit0(stack)
    mean = middle.mean(axis=(1, 2), keepdims=True)

    def light(image):
        return image @ jnp.asarray(LUMINANCE, image.dtype)

    gaps = [
        jnp.abs(light(picture[a] - picture[b])) for a, b in (("A0", "B1"), ("C0", "C1"), ("D0", "D1"), ("f0", "f1"))
    ]
    lean = [light((picture[a] + picture[b]) / 2 - middle) for a, b in (("C0", "C1"), ("D0", "D1"))]
    maps = shuffle.pixel_unshuffle(pool(jnp.stack([*gaps, *lean], axis=-1), 2), CELL // 2) * MAP_GAIN
    flow = pool(stack[..., -4:], CELL) / scale  # [N, h, w, 4]
    gap = flow[..., :2] + flow[..., 2:]  # u = -v where motion is consistent
    extra = jnp.concatenate([maps, flow * FLOW_GAIN, gap * FLOW_GAP_GAIN], axis=-1)
    return picture["A0"] - mean, picture["B1"] - mean, extra


def fuse(stack: chex.Array, tail: chex.Array, scale: int) -> chex.Array:
    """exit0 + sum_k w_k (candidate_k - exit0) + r, w and r brought to the size of the pictures.

    Args:
      stack: [N, P_h, P_w, 28], at full size.
      tail: [N, h, w, NUM_TAIL], CAIN's tail before its shuffle, for patches reduced by `scale` and padded.
      scale: 1, 2 or 4.

    Returns:
      [N, P_h, P_w, 3].
    """
    _, height, width, _ = stack.shape
    num_weight = len(WEIGHTED) * (CELL // WEIGHT_STEP) ** 2
    weights = shuffle.pixel_shuffle(tail[..., :num_weight], CELL // WEIGHT_STEP)  # [N, P / 2, P / 2, K]
    rest = shuffle.pixel_shuffle(tail[..., num_weight:], CELL) * REST_GAIN  # [N, P, P, 3]
    large = (rest.shape[1] * scale, rest.shape[2] * scale)
    weights = stored(resample.resize_bilinear(weights, large)[:, :height, :width])
    if scale > 1:
        rest = resample.resize_bilinear(rest, large)
    middle = stored(exit0(stack))
    picture = dict(zip(NAMES, jnp.split(stack[..., :-4], len(NAMES), axis=-1), strict=True))
    picture["b1"] = _blur(middle, 1)
    picture["b2"] = _blur(picture["b1"], 2)
    fused = middle + rest[:, :height, :width]
    for k, name in enumerate(WEIGHTED):
        fused = fused + weights[..., k : k + 1] * (picture[name] - middle)
    return fused


def pool(x: chex.Array, side: int) -> chex.Array:
    """Mean of squares: [N, H, W, C] -> [N, H / side, W / side, C]."""
    n, h, w, c = x.shape
    return x.reshape(n, h // side, side, w // side, side, c).mean(axis=(2, 4))


def _blur(x: chex.Array, reach: int) -> chex.Array:
    """Weights 1/4, 1/2, 1/4 at -reach, 0, reach along H and W; edges are repeated.

    Rows are taken with their channels as one axis, whose neighbours lie beside each other in memory.
    """
    n, height, width, channels = x.shape
    for axis, length, step in ((1, height, 1), (2, width * channels, channels)):
        widths = [(0, 0)] * x.ndim
        widths[axis] = (reach, reach)
        padded = jnp.pad(x, widths, mode="edge")
        padded = padded.reshape(n, padded.shape[1], -1)  # [N, H, W C]
        before, here, after = (
            lax.slice_in_dim(padded, start, start + length, axis=axis) for start in (0, reach * step, 2 * reach * step)
        )
        x = (before / 4 + here / 2 + after / 4).reshape(n, height, width, channels)
    return x
