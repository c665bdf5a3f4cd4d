"""Two networks that fill holes and one that denoises, by the arguments that tasks give."""

from itertools import pairwise

import torch
from torch import Tensor, nn


class PartialConv(nn.Module):
    """Partial convolutions of Liu et al. 2018, eq. 1 and 2: an average over known pixels alone.

    Masked images [B, C, H, W] in [-1, 1] and hole [B, 1, H, W] to the one stage [B, C, H, W].
    """

    def __init__(self, image_channels: int, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        channels = [image_channels, *[width] * depth]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(channels)
        )
        self.out = nn.Conv2d(width, image_channels, 1)

    def forward(self, masked: Tensor, hole: Tensor) -> tuple[Tensor]:
        features, known = masked, 1 - hole
        for layer in self.layers:
            features, known = self.partial(layer, features, known)
            features = features.relu()
        return (self.out(features).tanh(),)

    @staticmethod
    def partial(layer: nn.Module, features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """One partial convolution 3x3 and the mask of what it reached."""
        window = known.new_ones(1, 1, 3, 3)
        count = nn.functional.conv2d(known, window, padding=1)
        share = torch.where(count > 0, 9 / count.clamp(min=1), 0)
        bias = layer.bias[:, None, None]
        return (layer(features * known) - bias) * share + bias, (count > 0).to(known)


class Dilated(nn.Module):
    """Convolutions of growing dilation over image and hole; arguments as those of PartialConv."""

    def __init__(self, image_channels: int, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        channels = [image_channels + 1, *[width] * depth]
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(channels)):
            step = 2**number
            layers += [nn.Conv2d(before, after, 3, padding=step, dilation=step), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, image_channels, 1), nn.Tanh())

    def forward(self, masked: Tensor, hole: Tensor) -> tuple[Tensor]:
        return (self.body(torch.cat([masked, hole], dim=1)),)


class Plain(nn.Module):
    """Noisy to clean [B, C, H, W]; the noise level is not looked at."""

    def __init__(
        self, image_channels: int, image_size: int | None, width: int = 16, depth: int = 3
    ) -> None:
        super().__init__()
        channels = [image_channels, *[width] * depth]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, image_channels, 1))

    def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
        return self.body(noisy)
