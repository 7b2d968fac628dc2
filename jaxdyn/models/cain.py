"""CAIN, "Channel Attention Is All You Need for Video Frame Interpolation" (AAAI 2020), with an exit after every
residual group.

The network is written twice over the same parameters: as pure functions of parameters (`head`, `residual_group`,
`tail`), of which routed execution is built, and as the Linen module `CAIN`, the published static network. Groups and
blocks are stacked along leading axes, so that a group can be chosen by a number that is known only at run time.

Axes: N images or patches, h, w sides of the feature map (1/8 of the image's), F features, G groups, R blocks of a
group.
"""

import math

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxdyn.ops import conv, patches, shuffle

SHUFFLE = 8
"""Side of the square of pixels that becomes channels."""

PAD = 128
"""The published network pads its input to multiples of this."""

LEAK = 0.2


def head(params: chex.ArrayTree, image0: chex.Array, image1: chex.Array, extra: chex.Array | None = None) -> chex.Array:
    """Two images to features: [N, 8h, 8w, 3] x 2 -> [N, h, w, F].

    Args:
      params: `kernel` [3, 3, 2 * 3 * 64 (+ E), F], `bias` [F].
      image0, image1: images without their means.
      extra: maps that stand beside the pixels, [N, h, w, E], or None.
    """
    maps = [shuffle.pixel_unshuffle(image0, SHUFFLE), shuffle.pixel_unshuffle(image1, SHUFFLE)]
    if extra is not None:
        maps.append(extra)
    return conv.conv2d(jnp.concatenate(maps, axis=-1), params["kernel"], params["bias"])


def residual_group(body: chex.ArrayTree, index: int | chex.Array, x: chex.Array) -> chex.Array:
    """R residual channel attention blocks, a convolution, and the way around: x -> x + conv(blocks(x)), [N, h, w, F].

    Args:
      body: all groups: the blocks' `conv1`, `conv2`, `squeeze`, `excite` [G, R, ...], and `conv` [G, ...].
      index: which group, 0 to G - 1; it may be known at run time only.
      x: [N, h, w, F].
    """
    blocks = {name: body[name] for name in ("conv1", "conv2", "squeeze", "excite")}
    num_block = body["conv1"]["bias"].shape[1]
    y = x
    if conv.is_analysed():  # a loop's body is counted once
        for r in range(num_block):
            y = attention_block(jax.tree.map(lambda leaf, r=r: leaf[index, r], blocks), y)
    elif isinstance(index, int):  # a scan over slices, whose gradient is one slice a block
        y, _ = lax.scan(
            lambda y, block: (attention_block(block, y), None), y, jax.tree.map(lambda leaf: leaf[index], blocks)
        )
    else:  # one block is copied out at a time: a whole group is 34 MB

        def one_block(r, y):
            return attention_block(jax.tree.map(lambda leaf: _at(leaf, index, r), blocks), y)

        y = lax.fori_loop(0, num_block, one_block, y)
    last = jax.tree.map(lambda leaf: leaf[index] if isinstance(index, int) else _at(leaf, index), body["conv"])
    return x + conv.conv2d(y, last["kernel"], last["bias"], padding="reflect")


def attention_block(params: chex.ArrayTree, x: chex.Array) -> chex.Array:
    """RCAB: x + a(y) y with y = conv(leaky(conv(x))), a = sigmoid(W2 relu(W1 mean(y))). [N, h, w, F]; the mean is of
    each image."""
    y = conv.conv2d(x, params["conv1"]["kernel"], params["conv1"]["bias"], padding="reflect")
    y = nn.leaky_relu(y, LEAK)
    y = conv.conv2d(y, params["conv2"]["kernel"], params["conv2"]["bias"], padding="reflect")
    pooled = y.mean(axis=(1, 2))  # [N, F]
    squeezed = nn.relu(pooled @ params["squeeze"]["kernel"] + params["squeeze"]["bias"])
    attention = nn.sigmoid(squeezed @ params["excite"]["kernel"] + params["excite"]["bias"])
    return x + y * attention[:, None, None, :]


def tail(params: chex.ArrayTree, features: chex.Array) -> chex.Array:
    """Features to what the output is made of: [N, h, w, F] -> [N, h, w, T]."""
    return conv.conv2d(features, params["kernel"], params["bias"])


def to_image(cells: chex.Array) -> chex.Array:
    """The tail's channels to pixels: [N, h, w, 192] -> [N, 8h, 8w, 3]."""
    return shuffle.pixel_shuffle(cells, SHUFFLE)


def _at(leaf: chex.Array, *indices: int | chex.Array) -> chex.Array:
    """leaf[indices], copying nothing else."""
    size = (*[1] * len(indices), *leaf.shape[len(indices) :])
    start = (*indices, *[0] * (leaf.ndim - len(indices)))
    return lax.dynamic_slice(leaf, start, size).reshape(leaf.shape[len(indices) :])


class CAIN(nn.Module):
    """The published network: `(frame0, frame1) -> (frame, aux)`.

    Frames are [B, H, W, 3] in [0, 1]; each frame's mean is subtracted, both are padded by reflection to multiples of
    128, and the mean of the two means is added to the output, which is not clamped.

    Parameters (42,780,432 by default): `head`, `tail` {kernel, bias}, and `body`, stacked over groups: `conv1`, `conv2`
    [G, R, ...], `squeeze`, `excite` [G, R, ...], `conv` [G, ...].

    Attributes:
      num_feat: F.
      num_group: G, also the number of exits.
      num_block: R.
      reduction: channel attention works on F / reduction channels.
      num_extra: channels that stand beside the pixels at the head, for `fusion`.
      num_tail: T, channels of the tail, likewise; 3 x 64 make an image.
      is_zero_tail: start with an output of zero, likewise.

    aux: `groups`, the output of each residual group [B, h, w, F]; `exits`, the frame as each exit would give it.
    """

    num_feat: int = 192
    num_group: int = 5
    num_block: int = 12
    reduction: int = 16
    num_extra: int = 0
    num_tail: int = 3 * SHUFFLE**2
    is_zero_tail: bool = False

    def setup(self):
        """Declare the parameters as trees, so that pure functions can take them."""
        f, cells = self.num_feat, SHUFFLE * SHUFFLE
        if f % self.reduction:
            raise ValueError(f"num_feat (={f}) must be divisible by reduction (={self.reduction})")
        stack, squeezed = (self.num_group, self.num_block), f // self.reduction
        self.head = self.param("head", _layer, (3, 3), 6 * cells + self.num_extra, f)
        self.body = self.param("body", _body, stack, f, squeezed)
        tail_init = _zero_layer if self.is_zero_tail else _layer
        self.tail = self.param("tail", tail_init, (3, 3), f, self.num_tail)

    def __call__(self, frame0: chex.Array, frame1: chex.Array) -> tuple[chex.Array, dict]:
        """Interpolate the middle frame: [B, H, W, 3] x 2 -> [B, H, W, 3], as published."""
        check_frames(frame0, frame1)
        _, height, width, _ = frame0.shape
        (image0, mean0), (image1, mean1) = subtract_mean(frame0), subtract_mean(frame1)
        image0, (top, left) = patches.pad_to(image0, PAD, is_centred=True)
        image1, _ = patches.pad_to(image1, PAD, is_centred=True)

        first = features = head(self.head, image0, image1)  # [B, h, w, F]
        groups, exits = [], []
        for g in range(self.num_group):
            features = residual_group(self.body, g, features)
            groups.append(features)
            image = to_image(tail(self.tail, first + features))  # [B, H', W', 3]
            exits.append(image[:, top : top + height, left : left + width] + (mean0 + mean1) / 2)
        return exits[-1], {"groups": groups, "exits": exits}

    def parameters(self) -> dict[str, chex.ArrayTree]:
        """The parameters as the pure functions take them: `head`, `body`, `tail`."""
        return {"head": self.head, "body": self.body, "tail": self.tail}


def subtract_mean(frame: chex.Array) -> tuple[chex.Array, chex.Array]:
    """An image without its mean over H and W, and that mean: [N, H, W, C] -> [N, H, W, C], [N, 1, 1, C]."""
    mean = frame.mean(axis=(1, 2), keepdims=True)
    return frame - mean, mean


def check_frames(frame0: chex.Array, frame1: chex.Array) -> None:
    """Refuse what is not a pair of equally large float RGB images."""
    for name, frame in (("frame0", frame0), ("frame1", frame1)):
        if frame.ndim != 4 or frame.shape[-1] != 3:
            raise ValueError(f"{name} has shape {frame.shape}, expected [B, H, W, 3]; add a batch axis or drop alpha")
        if not jnp.issubdtype(frame.dtype, jnp.floating):
            raise ValueError(f"{name} has dtype {frame.dtype}, expected float in [0, 1]; divide 8-bit images by 255")
    if frame0.shape != frame1.shape:
        raise ValueError(f"frame0 has shape {frame0.shape} and frame1 {frame1.shape}; resize them to one size")


def _layer(key: chex.PRNGKey, window: tuple[int, ...], num_in: int, num_out: int, stack: tuple[int, ...] = ()) -> dict:
    """Kernel and bias by PyTorch's default rule, `stack` of them."""
    init = conv.uniform_fan_in(math.prod(window) * num_in)
    kernel_key, bias_key = jax.random.split(key)
    return {"kernel": init(kernel_key, (*stack, *window, num_in, num_out)), "bias": init(bias_key, (*stack, num_out))}


def _zero_layer(key: chex.PRNGKey, window: tuple[int, ...], num_in: int, num_out: int) -> dict:
    return {"kernel": jnp.zeros((*window, num_in, num_out)), "bias": jnp.zeros(num_out)}


def _body(key: chex.PRNGKey, stack: tuple[int, int], f: int, squeezed: int) -> dict:
    keys = jax.random.split(key, 5)
    return {
        "conv1": _layer(keys[0], (3, 3), f, f, stack),
        "conv2": _layer(keys[1], (3, 3), f, f, stack),
        "squeeze": _layer(keys[2], (), f, squeezed, stack),
        "excite": _layer(keys[3], (), squeezed, f, stack),
        "conv": _layer(keys[4], (3, 3), f, f, stack[:1]),
    }
