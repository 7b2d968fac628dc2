"""PWC-Net: optical flow from a pyramid of features, coarse to fine (Sun et al. 2018).

At each level the second frame's features are warped by the flow so far, compared with the first frame's in a small
window (the cost volume), and a densely connected decoder reads the comparison and says the flow. A context network of
dilated convolutions refines the last level, which is a quarter of the frame's size.

    B batch; H, W the frame's size, H64, W64 the same brought up to multiples of 64; C channels.
    h, w a level's size, H64 / 2^level; r the search radius; K = (2 r + 1)^2 candidates.
    "Raw" flow is in units of 20 px of the full frame, as the network says it.
"""

import chex
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxdyn.models.cain import check_frames
from jaxdyn.ops import conv
from jaxdyn.ops.resample import resize_bilinear
from jaxdyn.ops.warp import pixel_grid, sample

FLOW_UNIT = 20.0  # px of the full frame for a raw value of 1
MULTIPLE = 64
LEVELS = (6, 5, 4, 3, 2)  # on which flow is estimated, in this order
DILATIONS = (1, 2, 4, 8, 16, 1)  # of the context network
LEAK = 0.1
MIN_COVER = 0.9999  # the share of a warped pixel's weight that must lie inside the frame
TILE = 8  # pixels of a row whose candidates are one matrix product in the cost volume


class PWCNet(nn.Module):
    """PWC-Net: `(frame0, frame1) -> (flow, aux)`. The defaults are the published network, 9,374,274 parameters.

    Frames are [B, H, W, 3] float RGB in [0, 1] of any size (the network itself works on BGR, at a multiple of 64).
    The flow is [B, H, W, 2] in pixels, channel 0 = x: `backward_warp(frame1, flow)` looks like frame0.

    Attributes:
      widths: features of the six pyramid levels, fine to coarse.
      decoder: widths of the five densely connected convolutions at each level.
      context: widths of the context network's convolutions; their dilations are 1, 2, 4, 8, 16, 1.
      radius: r, how far the cost volume looks, in pixels of a level.

    aux: `flow2`, the raw flow at a quarter of the size [B, H64 / 4, W64 / 4, 2], and the coarser raw flows `flow3` to
      `flow6`.
    """

    widths: tuple[int, ...] = (16, 32, 64, 96, 128, 196)
    decoder: tuple[int, ...] = (128, 128, 96, 64, 32)
    context: tuple[int, ...] = (128, 128, 128, 96, 64, 32)
    radius: int = 4

    def setup(self):
        """Check the fields and name the parts."""
        for field, length in (("widths", 6), ("decoder", 5), ("context", 6)):
            if len(getattr(self, field)) != length:
                raise ValueError(f"{field} (={getattr(self, field)}) must hold {length} widths")
        if self.radius < 1:
            raise ValueError(f"radius (={self.radius}) must be at least 1")
        self.pyramid = Pyramid(self.widths)
        self.decoders = [Decoder(self.decoder, has_up=level > 2, name=f"decoder{level}") for level in LEVELS]
        self.refiner = Context(self.context, name="context")

    def __call__(self, frame0: chex.Array, frame1: chex.Array) -> tuple[chex.Array, dict[str, chex.Array]]:
        """Flow from frame0 to frame1: [B, H, W, 3] x 2 -> [B, H, W, 2] px, aux.

        Raises:
          ValueError: frames that are not [B, H, W, 3] float, or differ in shape.
        """
        features = self._features(frame0, frame1)
        batch, height, width, _ = frame0.shape
        return self._match([f[:batch] for f in features], [f[batch:] for f in features], (height, width))

    def both_ways(
        self, frame0: chex.Array, frame1: chex.Array
    ) -> tuple[tuple[chex.Array, chex.Array], dict[str, chex.Array]]:
        """(flow01, flow10), each frame's features computed once: [B, H, W, 3] x 2 -> [B, H, W, 2] px x 2, aux of [2 B].

        Raises:
          ValueError: frames that are not [B, H, W, 3] float, or differ in shape.
        """
        features = self._features(frame0, frame1)
        batch, height, width, _ = frame0.shape
        flow, aux = self._match(features, [jnp.roll(f, batch, axis=0) for f in features], (height, width))
        return (flow[:batch], flow[batch:]), aux

    def _features(self, frame0: chex.Array, frame1: chex.Array) -> list[chex.Array]:
        """Features of both frames, [2 B, h, w, C] for level 1, 2, ..., 6."""
        check_frames(frame0, frame1)
        frames = jnp.concatenate([frame0, frame1])[..., ::-1]  # [2 B, H, W, 3], BGR
        return self.pyramid(resize_bilinear(frames, _enlarged(frames.shape[1:3])))

    def _match(
        self, features0: list[chex.Array], features1: list[chex.Array], size: tuple[int, int]
    ) -> tuple[chex.Array, dict[str, chex.Array]]:
        """Flow from features0 to features1, at `size`."""
        aux = {}
        up_flow = up_feat = None
        for level, decoder in zip(LEVELS, self.decoders, strict=True):
            f0, f1 = features0[level - 1], features1[level - 1]  # [B, h, w, C]
            if up_flow is not None:
                f1 = warp_masked(f1, up_flow * (FLOW_UNIT / 2**level))
            volume = nn.leaky_relu(cost_volume(f0, f1, self.radius), LEAK)  # [B, h, w, K]
            parts = [volume] if up_flow is None else [volume, f0, up_flow, up_feat]
            dense, flow, up_flow, up_feat = decoder(jnp.concatenate(parts, axis=-1))
            aux[f"flow{level}"] = flow  # [B, h, w, 2]
        flow = aux["flow2"] = flow + self.refiner(dense)

        height, width = size
        pixels = flow * FLOW_UNIT * jnp.array([width / (4 * flow.shape[2]), height / (4 * flow.shape[1])], flow.dtype)
        return resize_bilinear(pixels, size), aux


class Pyramid(nn.Module):
    """Three convolutions for each level, the first one of stride 2: [B, H64, W64, 3] -> six times [B, h, w, C]."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: chex.Array) -> list[chex.Array]:
        levels = []
        for level, width in enumerate(self.widths, start=1):
            for index in range(3):
                stride, name = 1 if index else 2, f"level{level}_conv{index}"
                layer = conv.Conv(width, stride=stride, initializer="kaiming", name=name)
                x = nn.leaky_relu(layer(x), LEAK)
            levels.append(x)
        return levels


class Decoder(nn.Module):
    """A level's flow: [B, h, w, C] -> dense features, raw flow, and both brought to two channels at double size.

    Densely connected: every convolution sees all that came before it, the newest first. Its sum over channels is made
    part by part: what is new is convolved once, for all that will see it. One convolution of 128 channels into 320 is
    faster than three that read up to 565 and make 128, 96 and 64 of them.
    """

    widths: tuple[int, ...]
    has_up: bool

    @nn.compact
    def __call__(self, x: chex.Array) -> tuple[chex.Array, chex.Array, chex.Array | None, chex.Array | None]:
        layers, new = self._layers(x.shape[-1]), x
        sums = [bias for _, bias in layers]
        for index in range(len(self.widths)):
            size, after = new.shape[-1], x.shape[-1] - new.shape[-1]  # channels of a kernel behind those of the part
            seen = [k[:, :, k.shape[2] - after - size : k.shape[2] - after] for k, _ in layers[index:]]
            ends = np.cumsum([k.shape[-1] for k in seen])[:-1]
            made = jnp.split(conv.conv2d(new, jnp.concatenate(seen, axis=-1)), ends, axis=-1)
            sums[index:] = [total + part for total, part in zip(sums[index:], made, strict=True)]
            new = nn.leaky_relu(sums[index], LEAK)
            x = jnp.concatenate([new, x], axis=-1)
        flow = ThinConv(name="flow")(x)  # [B, h, w, 2]
        if not self.has_up:
            return x, flow, None, None
        return x, flow, ThinUpConv(name="up_flow")(flow), ThinUpConv(name="up_feat")(x)  # the last two [B, 2 h, 2 w, 2]

    def _layers(self, num_in: int) -> list[tuple[chex.Array, chex.Array]]:
        """Kernel [3, 3, C, O] and bias [O] of every convolution, `conv0` to `conv4`."""
        fans = [num_in + sum(self.widths[:index]) for index in range(len(self.widths))]
        return [Layer(*pair, name=f"conv{index}")() for index, pair in enumerate(zip(fans, self.widths, strict=True))]


class Layer(nn.Module):
    """The parameters of a 3 x 3 convolution, `kernel` [3, 3, num_in, num_out] and `bias` [num_out]."""

    num_in: int
    num_out: int

    @nn.compact
    def __call__(self) -> tuple[chex.Array, chex.Array]:
        return _kaiming(self, 3, self.num_in, self.num_out)


class Context(nn.Module):
    """Dilated convolutions that see far: [B, h, w, C] -> a correction of the raw flow, [B, h, w, 2]."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        for index, (width, dilation) in enumerate(zip(self.widths, DILATIONS, strict=True)):
            layer = conv.Conv(width, dilation=dilation, initializer="kaiming", name=f"conv{index}")
            x = nn.leaky_relu(layer(x), LEAK)
        return ThinConv(name="flow")(x)


class ThinConv(nn.Module):
    """A 3 x 3 convolution from many channels to two: [B, h, w, C] -> [B, h, w, 2].

    As one matrix product that gives each pixel's share in its nine neighbours, and their sum: a convolution with two
    outputs leaves a CPU's vector units idle.
    """

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        kernel, bias = _kaiming(self, 3, x.shape[-1])
        shares = jnp.pad(_project(x, kernel), ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0), (0, 0)))
        height, width = x.shape[1:3]
        return bias + sum(shares[:, dy : dy + height, dx : dx + width, dy, dx] for dy in range(3) for dx in range(3))


class ThinUpConv(nn.Module):
    """A 4 x 4 transposed convolution of stride 2 from many channels to two: [B, h, w, C] -> [B, 2 h, 2 w, 2].

    `y[2 i - 1 + d] += x[i] kernel[d]` in both directions (PyTorch's `ConvTranspose2d(C, 2, 4, 2, 1)`): the shares as in
    `ThinConv`; each output is the sum of four of them.
    """

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        kernel, bias = _kaiming(self, 4, x.shape[-1])
        shares = _project(x, kernel)  # [B, h, w, 4, 4, 2]
        rows = _interleave(shares, axis=1, taps=3)  # [B, 2 h, w, 4, 2]
        return bias + _interleave(rows, axis=2, taps=3)  # [B, 2 h, 2 w, 2]


def _kaiming(module: nn.Module, side: int, num_in: int, num_out: int = 2) -> tuple[chex.Array, chex.Array]:
    """The parameters `kernel` [side, side, C, O] and `bias` [O], by Kaiming's rule over the fan-in."""
    init = nn.initializers.normal(np.sqrt(2 / (side * side * num_in)))
    kernel = module.param("kernel", init, (side, side, num_in, num_out))
    return kernel, module.param("bias", nn.initializers.zeros, (num_out,))


def _project(x: chex.Array, kernel: chex.Array) -> chex.Array:
    """Every pixel times every tap: [B, h, w, C] x [k, k, C, 2] -> [B, h, w, k, k, 2]."""
    side, _, num_in, num_out = kernel.shape
    product = x @ kernel.transpose(2, 0, 1, 3).reshape(num_in, -1)
    return product.reshape(*x.shape[:3], side, side, num_out)


def _interleave(shares: chex.Array, axis: int, taps: int) -> chex.Array:
    """Sums one direction's four taps to double size: y[2 m] = d1[m] + d3[m - 1], y[2 m + 1] = d2[m] + d0[m + 1]."""
    size = shares.shape[axis]
    d0, d1, d2, d3 = (jnp.take(shares, d, axis=taps) for d in range(4))
    widths = [(0, 0)] * d0.ndim
    widths[axis] = (1, 0)
    before = jnp.pad(d3, widths).take(np.arange(size), axis=axis)
    widths[axis] = (0, 1)
    after = jnp.pad(d0, widths).take(np.arange(1, size + 1), axis=axis)
    both = jnp.stack([d1 + before, d2 + after], axis=axis + 1)
    return both.reshape(*d0.shape[:axis], 2 * size, *d0.shape[axis + 1 :])


def cost_volume(features0: chex.Array, features1: chex.Array, radius: int) -> chex.Array:
    """Likeness of each pixel to its candidates: `out[p, k] = mean_c f0[p, c] f1[p + d_k, c]` (Eq. 2, PWC-Net).

    Candidate k = (dy + r) (2 r + 1) + dx + r; zero outside. On a CPU a product, for each shift, of whole images is
    memory-bound. Here a tile of 8 pixels of a row meets the 8 + 2 r pixels around it in one small matrix product, and
    the band of the product that lies inside the radius is kept: 20 times faster, for 1.8 times the multiply-adds.

    Args:
      features0, features1: [B, h, w, C].
      radius: r, in pixels.

    Returns:
      [B, h, w, (2 r + 1)^2].
    """
    batch, height, width, channels = features0.shape
    side = 2 * radius + 1
    tile = min(TILE, width)
    num_tile = -(-width // tile)
    spare = num_tile * tile - width
    reach = tile + 2 * radius
    f0 = jnp.pad(features0, ((0, 0), (0, 0), (0, spare), (0, 0))).reshape(batch, height, num_tile, tile, channels)
    f1 = jnp.pad(features1, ((0, 0), (radius, radius), (radius, radius + spare), (0, 0)))
    windows = [f1[:, :, t * tile : t * tile + reach] for t in range(num_tile)]
    f1 = jnp.stack(windows, axis=2)  # [B, h + 2 r, T, reach, C]
    rows = []
    for dy in range(side):
        product = jnp.einsum("bhtpc,bhtqc->bhtpq", f0, f1[:, dy : dy + height])  # [B, h, T, tile, reach]
        # Pixel p needs columns p to p + 2 r. With rows one longer than they are, row p begins at column p.
        product = product.reshape(batch, height, num_tile, tile * reach)
        product = jnp.pad(product, ((0, 0), (0, 0), (0, 0), (0, tile)))
        band = product.reshape(batch, height, num_tile, tile, reach + 1)[..., :side]
        rows.append(band.reshape(batch, height, num_tile * tile, side)[:, :, :width])
    return jnp.concatenate(rows, axis=-1) / channels


def warp_masked(image: chex.Array, flow: chex.Array) -> chex.Array:
    """Backward warp, zero wherever the source lies even partly outside: [B, h, w, C] by [B, h, w, 2] px."""
    height, width = image.shape[1:3]
    coords = pixel_grid(height, width) + flow
    beyond = jnp.maximum(0, jnp.maximum(-coords, coords - jnp.array([width - 1, height - 1], coords.dtype)))
    cover = jnp.prod(jnp.maximum(0, 1 - beyond), axis=-1, keepdims=True)  # what a warped image of ones would hold
    return jnp.where(cover >= MIN_COVER, sample(image, coords), 0)


def _enlarged(size: tuple[int, int]) -> tuple[int, int]:
    height, width = size
    return -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE
