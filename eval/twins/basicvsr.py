"""BasicVSR in PyTorch (see `jaxdyn.models.basicvsr`): modules named so that their tensors have the published names.

Axes: B clips, T frames, H and W sides of a small frame, F features.
"""

import torch
from torch import nn
from torch.nn import functional

from eval.twins.spynet import SpyNet, warp

SCALE, LEAK = 4, 0.1


class BasicVSR(nn.Module):
    """The published network: clips [B, T, 3, H, W] -> [B, T, 3, 4 H, 4 W]."""

    def __init__(self, num_feat: int = 64, num_block: int = 30, num_hr: int = 64):
        super().__init__()
        self.num_feat = num_feat
        self.spynet = SpyNet()
        self.backward_trunk = Trunk(num_feat, num_block)
        self.forward_trunk = Trunk(num_feat, num_block)
        self.fusion = nn.Conv2d(2 * num_feat, num_feat, 1)
        self.upconv1 = nn.Conv2d(num_feat, 4 * num_feat, 3, padding=1)
        self.upconv2 = nn.Conv2d(num_feat, 4 * num_hr, 3, padding=1)
        self.conv_hr = nn.Conv2d(num_hr, num_hr, 3, padding=1)
        self.conv_last = nn.Conv2d(num_hr, 3, 3, padding=1)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        """Flow of all neighbours at once; backward through the clip, then forward, each frame upsampled on the way."""
        num_frame = clip.shape[1]
        frames = [frame.contiguous(memory_format=torch.channels_last) for frame in clip.unbind(1)]
        to_next, to_previous = self.flows(clip)
        backward, features = [], None
        for index in reversed(range(num_frame)):
            features = self.travel(self.backward_trunk, frames[index], features, to_next, index)
            backward.insert(0, features)
        large, features = [], None
        for index in range(num_frame):
            features = self.travel(self.forward_trunk, frames[index], features, to_previous, index - 1)
            large.append(self.upsample(frames[index], backward[index], features))
        return torch.stack(large, dim=1)

    def flows(self, clip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Flow to the next frame and back, 2 x [B, T - 1, 2, H, W] px."""
        shape = (clip.shape[0], clip.shape[1] - 1, 2, *clip.shape[-2:])
        if clip.shape[1] == 1:
            return (clip.new_zeros(shape),) * 2
        first, second = (
            part.flatten(0, 1).contiguous(memory_format=torch.channels_last) for part in (clip[:, :-1], clip[:, 1:])
        )
        return self.spynet(first, second).view(shape), self.spynet(second, first).view(shape)

    def travel(
        self,
        trunk: "Trunk",
        frame: torch.Tensor,
        features: torch.Tensor | None,
        flows: torch.Tensor,
        index: int,
    ) -> torch.Tensor:
        """A frame meets the features of the frame visited before, if there is one, warped along the flow."""
        if features is None:
            batch, _, height, width = frame.shape
            features = frame.new_zeros(batch, self.num_feat, height, width)
        else:
            features = warp(features, flows[:, index])
        return trunk(torch.cat([frame, features], dim=1))

    def upsample(self, frame: torch.Tensor, backward: torch.Tensor, forward: torch.Tensor) -> torch.Tensor:
        """Both directions' features to a large frame: [B, 3, 4 H, 4 W]."""
        x = _leaky(self.fusion(torch.cat([backward, forward], dim=1)))
        x = _leaky(functional.pixel_shuffle(self.upconv1(x), 2))
        x = _leaky(functional.pixel_shuffle(self.upconv2(x), 2))
        x = self.conv_last(_leaky(self.conv_hr(x)))
        return x + functional.interpolate(frame, scale_factor=SCALE, mode="bilinear", align_corners=False)


class Trunk(nn.Module):
    """A convolution and the residual blocks: [B, 3 + F, H, W] -> [B, F, H, W]."""

    def __init__(self, num_feat: int, num_block: int):
        super().__init__()
        blocks = nn.Sequential(*[Block(num_feat) for _ in range(num_block)])
        self.main = nn.Sequential(nn.Conv2d(3 + num_feat, num_feat, 3, padding=1), nn.LeakyReLU(LEAK), blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x)


class Block(nn.Module):
    """x + conv(relu(conv(x))); what `torch.compile` is given, one program for all of them."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(functional.relu(self.conv1(x)))


def _leaky(x: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(x, LEAK)
