"""CARN-M: a light network that enlarges a picture 2, 3 or 4 times (Ahn et al. 2018, the mobile form).

Three cascading blocks; in each, one residual block is run three times with the same weights. Every block's output is
handed to all later ones through 1 x 1 convolutions. Only the last part, the upsampler, knows the scale.

    B batch, H and W the small picture's size, F = num_feat channels (64), G = groups (4).
"""

import chex
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxdyn.ops.conv import Conv, conv2d, uniform_fan_in
from jaxdyn.ops.shuffle import pixel_shuffle

SCALES = (2, 3, 4)
RGB_MEAN = np.array([0.4488, 0.4371, 0.4040], np.float32)  # of DIV2K; a constant of the published network


class CARNM(nn.Module):
    """CARN-M, multi-scale: `(image, scale) -> (image, aux)`.

    Attributes:
      num_feat: F, the feature width.
      groups: G, the groups of the 3 x 3 convolutions in blocks and upsampler.
    """

    num_feat: int = 64
    groups: int = 4

    def setup(self):
        if self.num_feat % self.groups:
            raise ValueError(f"num_feat (={self.num_feat}) must be divisible by groups (={self.groups})")
        self.entry = Conv(self.num_feat)
        self.blocks = [CascadingBlock(self.num_feat, self.groups, name=f"block{k}") for k in (1, 2, 3)]
        self.fusions = [Fusion(self.num_feat, name=f"fusion{k}") for k in (1, 2, 3)]
        grow = {"up2": 4, "up3": 9, "up4_first": 4, "up4_second": 4}  # by r^2 channels, for the shuffle
        self.up = {name: GroupedConv(by * self.num_feat, self.groups, name=name) for name, by in grow.items()}
        self.exit = Conv(3)

    def __call__(self, image: chex.Array, scale: int = 2) -> tuple[chex.Array, dict[str, chex.Array]]:
        """Enlarges an image.

        Args:
          image: [B, H, W, 3] float32 RGB in [0, 1].
          scale: 2, 3 or 4.

        Returns:
          [B, scale * H, scale * W, 3], not clamped, and aux: `entry` and `features`, both [B, H, W, F].

        Raises:
          ValueError: another scale, or an image of another shape.
        """
        if scale not in SCALES:
            raise ValueError(f"scale must be one of {SCALES}, got {scale}")
        if image.ndim != 4 or image.shape[-1] != 3:
            raise ValueError(f"image must be [B, H, W, 3], got shape {image.shape}")
        entry = self.entry(image - RGB_MEAN)  # [B, H, W, F]
        features = cascade(entry, self.blocks, self.fusions)  # [B, H, W, F]
        upsamplers = {2: (("up2", 2),), 3: (("up3", 3),), 4: (("up4_first", 2), ("up4_second", 2))}[scale]
        y = features
        for name, factor in upsamplers:
            grown = jnp.concatenate([nn.relu(part) for part in self.up[name](y)], axis=-1)  # [B, H, W, r^2 F]
            y = pixel_shuffle(grown, factor)  # [B, r H, r W, F]
        if self.is_initializing():  # one call makes the parameters of all scales
            for name, conv in self.up.items():
                if name not in dict(upsamplers):
                    conv(features)
        return self.exit(y) + RGB_MEAN, {"entry": entry, "features": features}


class CascadingBlock(nn.Module):
    """One residual block, run three times with the same weights, all outputs cascaded. [B, H, W, F] to the same."""

    num_feat: int
    groups: int

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        residual = ResidualBlock(self.num_feat, self.groups, name="residual")
        fusions = [Fusion(self.num_feat, name=f"fusion{k}") for k in (1, 2, 3)]
        return cascade(x, [residual] * 3, fusions)


class ResidualBlock(nn.Module):
    """Two grouped 3 x 3 convolutions and a 1 x 1: `relu(x + f(x))`. [B, H, W, F] to the same."""

    num_feat: int
    groups: int

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        parts = [nn.relu(part) for part in GroupedConv(self.num_feat, self.groups, name="conv1")(x)]
        parts = [nn.relu(part) for part in GroupedConv(self.num_feat, self.groups, name="conv2")(parts)]
        return nn.relu(x + Conv(self.num_feat, kernel_size=1, name="conv3")(jnp.concatenate(parts, axis=-1)))


class GroupedConv(nn.Module):
    """A 3 x 3 convolution in G groups: [B, H, W, C] or its G parts, to G parts [B, H, W, features / G].

    The parts stay apart, so that a second grouped convolution takes them as they are: no copy in between.
    """

    features: int
    groups: int

    @nn.compact
    def __call__(self, x: chex.Array | list[chex.Array]) -> list[chex.Array]:
        parts = x if isinstance(x, list) else jnp.split(x, self.groups, axis=-1)
        fan = parts[0].shape[-1]
        kernel = self.param("kernel", uniform_fan_in(9 * fan), (3, 3, fan, self.features))
        bias = self.param("bias", uniform_fan_in(9 * fan), (self.features,))
        kernels, biases = jnp.split(kernel, self.groups, axis=-1), jnp.split(bias, self.groups)
        return [conv2d(part, k, b) for part, k, b in zip(parts, kernels, biases, strict=True)]


class Fusion(nn.Module):
    """A 1 x 1 convolution over the channels of several inputs, and ReLU: K times [B, H, W, F] to [B, H, W, F].

    A product for each input and their sum: the inputs are never copied side by side, which costs a CPU more than the
    products.
    """

    num_feat: int

    @nn.compact
    def __call__(self, parts: list[chex.Array]) -> chex.Array:
        fan_in = sum(part.shape[-1] for part in parts)
        kernel = self.param("kernel", uniform_fan_in(fan_in), (1, 1, fan_in, self.num_feat))
        bias = self.param("bias", uniform_fan_in(fan_in), (self.num_feat,))
        ends = np.cumsum([part.shape[-1] for part in parts])[:-1]
        kernels = jnp.split(kernel, ends, axis=2)
        return nn.relu(sum(conv2d(part, k) for part, k in zip(parts, kernels, strict=True)) + bias)


def cascade(x: chex.Array, blocks: list, fusions: list) -> chex.Array:
    """`o_k = fusion_k(o_0, b_1, ..., b_k)` with `b_k = block_k(o_{k-1})` and `o_0 = x`; the last o (Fig. 4)."""
    cascaded, out = [x], x
    for block, fusion in zip(blocks, fusions, strict=True):
        cascaded.append(block(out))
        out = fusion(cascaded)
    return out
