"""The UNet of image-to-image translation (Isola et al. 2017, section 6.1.1).

Without its dropout, whose noise gives "only minor stochasticity" (section 3.1 there).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from restore.network.norm import Norm, normalize
from restore.types import InputError

Activation = Literal["leaky_relu", "relu"]


class DownBlock(nn.Sequential):
    """Halves: 4x4 convolution, norm, LeakyReLU(0.2) or ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, norm: Norm, activation: Activation
    ) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1),
            normalize(norm, out_channels),
            nn.ReLU() if activation == "relu" else nn.LeakyReLU(0.2),
        )


class UpBlock(nn.Sequential):
    """Doubles: 4x4 transposed convolution (stride divides kernel: even overlap), norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        super().__init__(
            nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1),
            normalize(norm, out_channels),
            nn.ReLU(),
        )


class SkipUNet(nn.Module):
    """[B, in_channels, H, W] to features [B, out_channels, H / 2, W / 2]: all but the last layer.

    H and W divisible by 2^len(widths). len(widths) encoders and one decoder fewer: the first takes
    the bottom, each later one its predecessor and the encoder of equal size; so must the layer
    that follows. The first and the bottom encoder have no norm. activation: of the encoders.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        norm: Norm,
        activation: Activation = "leaky_relu",
    ) -> None:
        super().__init__()
        if activation not in ("leaky_relu", "relu"):
            raise InputError(f"task.network.activation={activation}: use leaky_relu or relu")
        if not widths or min(in_channels, *widths) < 1:
            raise InputError(f"task.network: widths must be positive, got {list(widths)}")
        last = len(widths) - 1
        self.encoders = nn.ModuleList(
            DownBlock(channels, width, "none" if depth in (0, last) else norm, activation)
            for depth, (channels, width) in enumerate(
                zip([in_channels, *widths[:-1]], widths, strict=True)
            )
        )
        self.decoders = nn.ModuleList()
        channels = widths[-1]
        for width in reversed(widths[:-1]):
            self.decoders.append(UpBlock(channels, width, norm))
            channels = 2 * width
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for encoder in self.encoders:
            x = encoder(x)
            skips.append(x)
        skips.pop()
        for decoder in self.decoders:
            x = torch.cat([decoder(x), skips.pop()], dim=1)
        return x
