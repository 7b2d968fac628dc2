"""SpyNet in PyTorch, in BasicVSR's form (see `jaxdyn.models.spynet`): six levels whatever the size.

Axes: B pairs, H and W sides of an image, h and w those of a level.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional

NUM_LEVEL, MULTIPLE = 6, 32
WIDTHS = (8, 32, 64, 32, 16, 2)


class SpyNet(nn.Module):
    """(ref, supp), [B, 3, H, W] each -> flow from ref to supp, [B, 2, H, W] px, channel 0 = x."""

    def __init__(self):
        super().__init__()
        self.basic_module = nn.ModuleList([Level() for _ in range(NUM_LEVEL)])
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1))

    def forward(self, ref: torch.Tensor, supp: torch.Tensor) -> torch.Tensor:
        """From coarse to fine: enlarge the flow, warp by it, add what the level says is missing."""
        height, width = ref.shape[-2:]
        size = tuple(-(-side // MULTIPLE) * MULTIPLE for side in (height, width))
        pyramids = [self._pyramid(_resize(image, size)) for image in (ref, supp)]
        flow = ref.new_zeros(ref.shape[0], 2, size[0] // MULTIPLE, size[1] // MULTIPLE)
        for index, level in enumerate(self.basic_module):
            at_ref, at_supp = (pyramid[NUM_LEVEL - 1 - index] for pyramid in pyramids)
            if index:
                flow = _resize(flow, at_ref.shape[-2:], align_corners=True) * 2
            flow = flow + level(torch.cat([at_ref, warp(at_supp, flow, "border"), flow], dim=1))
        ratio = flow.new_tensor([width / size[1], height / size[0]]).reshape(1, 2, 1, 1)
        return _resize(flow, (height, width)) * ratio

    def _pyramid(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The normalised image and its halves, fine to coarse."""
        images = [(image - self.mean) / self.std]
        for _ in range(NUM_LEVEL - 1):
            images.append(functional.avg_pool2d(images[-1], 2))
        return images


class Level(nn.Module):
    """Five 7 x 7 convolutions, ReLU between them: [B, 8, h, w] -> [B, 2, h, w]."""

    def __init__(self):
        super().__init__()
        layers = []
        for num_in, num_out in itertools.pairwise(WIDTHS):
            layers += [nn.Conv2d(num_in, num_out, 7, padding=3), nn.ReLU()]
        self.basic_module = nn.Sequential(*layers[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.basic_module(x)


def warp(image: torch.Tensor, flow: torch.Tensor, padding: str = "zeros") -> torch.Tensor:
    """The image at p + flow(p), bilinear: [B, C, h, w], flow [B, 2, h, w] px -> [B, C, h, w].

    Args:
      image: what is sampled.
      flow: in pixels, channel 0 = x.
      padding: what lies outside, "zeros" or the nearest pixel of the "border".
    """
    height, width = image.shape[-2:]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device) + flow[:, 0]
    y = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None] + flow[:, 1]
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode=padding, align_corners=True)


def _resize(image: torch.Tensor, size: tuple[int, int], align_corners: bool = False) -> torch.Tensor:
    return functional.interpolate(image, size=size, mode="bilinear", align_corners=align_corners)
