"""CAIN in PyTorch (see `jaxdyn.models.cain`): modules nested so that their tensors have the published names.

Axes: B pairs, H and W sides of a frame, h and w of the feature map, F features.
"""

import torch
from torch import nn
from torch.nn import functional

SHUFFLE, PAD, LEAK = 8, 128, 0.2


class CAIN(nn.Module):
    """The published network: (frame0, frame1), [B, 3, H, W] each -> the frame in the middle, [B, 3, H, W]."""

    def __init__(self, num_feat: int = 192, num_group: int = 5, num_block: int = 12, reduction: int = 16):
        super().__init__()
        self.encoder = nn.ModuleDict({"interpolate": Trunk(num_feat, num_group, num_block, reduction)})

    def forward(self, frame0: torch.Tensor, frame1: torch.Tensor) -> torch.Tensor:
        """Means off, pad by reflection to multiples of 128, fold squares of 8 into channels, and back."""
        height, width = frame0.shape[-2:]
        means = [frame.mean(dim=(2, 3), keepdim=True) for frame in (frame0, frame1)]
        (top, bottom), (left, right) = (_margins(side) for side in (height, width))
        margins = (left, right, top, bottom)
        padded = [
            functional.pad(frame - mean, margins, mode="reflect")
            for frame, mean in zip((frame0, frame1), means, strict=True)
        ]
        cells = torch.cat([functional.pixel_unshuffle(image, SHUFFLE) for image in padded], dim=1)  # [B, 384, h, w]
        cells = self.encoder["interpolate"](cells.contiguous(memory_format=torch.channels_last))  # [B, 192, h, w]
        image = functional.pixel_shuffle(cells, SHUFFLE)
        return image[:, :, top : top + height, left : left + width] + (means[0] + means[1]) / 2


class Trunk(nn.Module):
    """Head, residual groups, the way around them, tail: [B, 384, h, w] -> [B, 192, h, w]."""

    def __init__(self, num_feat: int, num_group: int, num_block: int, reduction: int):
        super().__init__()
        cells = 3 * SHUFFLE**2
        self.headConv = nn.Conv2d(2 * cells, num_feat, 3, padding=1)
        self.body = nn.ModuleList([Group(num_feat, num_block, reduction) for _ in range(num_group)])
        self.tailConv = nn.Conv2d(num_feat, cells, 3, padding=1)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        first = features = self.headConv(cells)
        for group in self.body:
            features = group(features)
        return self.tailConv(first + features)


class Group(nn.Module):
    """x + conv(blocks(x))."""

    def __init__(self, num_feat: int, num_block: int, reduction: int):
        super().__init__()
        blocks = [Block(num_feat, reduction) for _ in range(num_block)]
        self.body = nn.Sequential(*blocks, Reflected(num_feat))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class Block(nn.Module):
    """RCAB: x + attention(conv(leaky(conv(x)))); what `torch.compile` is given, one program for all of them."""

    def __init__(self, num_feat: int, reduction: int):
        super().__init__()
        layers = [Reflected(num_feat), nn.LeakyReLU(LEAK), Reflected(num_feat), Attention(num_feat, reduction)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class Reflected(nn.Module):
    """A 3 x 3 convolution behind one pixel of reflection."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.conv = nn.Conv2d(num_feat, num_feat, 3, padding=1, padding_mode="reflect")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Attention(nn.Module):
    """y times a weight for each channel, found from the channels' means."""

    def __init__(self, num_feat: int, reduction: int):
        super().__init__()
        squeeze, excite = nn.Conv2d(num_feat, num_feat // reduction, 1), nn.Conv2d(num_feat // reduction, num_feat, 1)
        self.conv_du = nn.Sequential(squeeze, nn.ReLU(), excite, nn.Sigmoid())

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return y * self.conv_du(y.mean(dim=(2, 3), keepdim=True))


def _margins(side: int) -> tuple[int, int]:
    """What is missing to a multiple of 128, half before and the rest after."""
    missing = -side % PAD
    return missing // 2, missing - missing // 2
