"""SpyNet: optical flow from a pyramid of images, coarse to fine (Ranjan and Black 2017), in BasicVSR's form.

At each level the second image is warped by the flow so far, and a small network reads both images and that flow and
says what is missing. Six levels always, whatever the size: the coarsest is 1/32 of the image.

    B batch; H, W the image's size, H32, W32 the same brought up to multiples of 32; L levels; h, w a level's size.
"""

import chex
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxdyn.models.cain import check_frames
from jaxdyn.ops import conv
from jaxdyn.ops.resample import resize_bilinear
from jaxdyn.ops.warp import backward_warp

RGB_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet, constants of the published network
RGB_STD = np.array([0.229, 0.224, 0.225], np.float32)


class SpyNet(nn.Module):
    """SpyNet: `(ref, supp) -> (flow, aux)`. The defaults are the published network, 1,440,300 parameters.

    Images are [B, H, W, 3] float RGB in [0, 1] of any size. The flow is [B, H, W, 2] in pixels, channel 0 = x:
    `backward_warp(supp, flow)` looks like ref.

    Attributes:
      num_level: L; the images are brought to a multiple of 2^(L - 1).
      widths: features between the five 7 x 7 convolutions of a level.

    aux: `flows`, each level's flow [B, h, w, 2] in pixels of its own grid, coarse to fine.
    """

    num_level: int = 6
    widths: tuple[int, ...] = (32, 64, 32, 16)

    def setup(self):
        """Name the levels, coarse to fine."""
        if self.num_level < 1:
            raise ValueError(f"num_level (={self.num_level}) must be at least 1")
        self.levels = [Level(self.widths, name=f"level{index}") for index in range(self.num_level)]

    def __call__(self, ref: chex.Array, supp: chex.Array) -> tuple[chex.Array, dict]:
        """Flow from ref to supp: [B, H, W, 3] x 2 -> [B, H, W, 2] px, aux.

        Raises:
          ValueError: images that are not [B, H, W, 3] float, or differ in shape.
        """
        check_frames(ref, supp)
        batch, height, width, _ = ref.shape
        multiple = 2 ** (self.num_level - 1)
        size = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)  # (H32, W32)
        pyramids = [self._pyramid(resize_bilinear(image, size)) for image in (ref, supp)]

        flows, flow = [], jnp.zeros((batch, size[0] // multiple, size[1] // multiple, 2), ref.dtype)
        for index, level in enumerate(self.levels):
            at_ref, at_supp = (pyramid[self.num_level - 1 - index] for pyramid in pyramids)  # [B, h, w, 3]
            if index:
                flow = resize_bilinear(flow, at_ref.shape[1:3], align_corners=True) * 2
            warped = backward_warp(at_supp, flow, padding="border")
            flow = flow + level(jnp.concatenate([at_ref, warped, flow], axis=-1))
            flows.append(flow)
        ratio = jnp.array([width / size[1], height / size[0]], flow.dtype)
        return resize_bilinear(flow, (height, width)) * ratio, {"flows": flows}

    def _pyramid(self, image: chex.Array) -> list[chex.Array]:
        """The normalised image and its halves, fine to coarse: [B, H32, W32, 3] -> L x [B, h, w, 3]."""
        images = [(image - RGB_MEAN) / RGB_STD]
        for _ in range(self.num_level - 1):
            b, h, w, c = images[-1].shape
            images.append(images[-1].reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4)))
        return images


class Level(nn.Module):
    """What is missing of the flow at one level: [B, h, w, 3 + 3 + 2] -> [B, h, w, 2]."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        for index, width in enumerate(self.widths):
            x = nn.relu(conv.Conv(width, kernel_size=7, name=f"conv{index}")(x))
        return conv.Conv(2, kernel_size=7, name=f"conv{len(self.widths)}")(x)
