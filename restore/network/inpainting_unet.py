"""One stage that corrects a fill: what wins where training is short."""

from collections.abc import Sequence

import torch
from torch import Tensor

from restore.network.initialization import near_zero
from restore.network.push_pull import push_pull
from restore.network.residual_unet import ResidualUNet


class InpaintingUNet(ResidualUNet):
    """Masked images [B, C, H, W] in [-1, 1] and hole [B, 1, H, W] to the one stage [B, C, H, W].

    Adds to a push-pull fill what the fill and the hole say, so that it starts as that fill; not
    composited, and not bounded. Its arguments are those of ResidualUNet; at half size and with wide
    layers it does twice the images a second of the two-stage generator of width 16.
    """

    def __init__(
        self,
        image_channels: int,
        widths: Sequence[int] = (64, 96, 128),
        num_blocks: int = 1,
    ) -> None:
        super().__init__(image_channels + 1, image_channels, None, widths, num_blocks)
        near_zero(self.conv_out)

    def forward(self, masked: Tensor, hole: Tensor) -> tuple[Tensor]:
        start = push_pull(masked, hole)
        height, width = masked.shape[-2:]
        seen = self.halved(torch.cat([start, hole], dim=1))
        return (start + self.features(seen, height, width),)
