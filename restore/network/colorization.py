"""The LAB UNet: lightness in, colour out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.image import rgb_from_lab
from restore.network.color_bins import ColorBins
from restore.network.initialization import near_zero
from restore.network.norm import Norm
from restore.network.size import cap_levels, pad_to_multiple
from restore.network.skip_unet import SkipUNet


class ColorizationUNet(nn.Module):
    """Lightness [B, 1, H, W] to ab [B, 2, H, W], both in [-1, 1], scaled as in restore.image.

    One encoder for each of `widths`, one decoder fewer, and a last layer that doubles (Isola et
    al. 2017). Starts near grey. image_size: side of the training patches; keeps only as many
    levels as bring them down to one pixel, 8 at 256 px. Any size: mirrored to multiples of
    2^levels.
    """

    def __init__(
        self,
        image_size: int | None = None,
        widths: Sequence[int] = (64, 128, 256, 512, 512, 512, 512, 512),
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        num_levels = cap_levels(len(widths), image_size)
        self.factor = 2**num_levels
        self.trunk = SkipUNet(1, widths[:num_levels], norm)
        self.head = nn.ConvTranspose2d(self.trunk.out_channels, 2, 4, stride=2, padding=1)
        near_zero(self.head)  # PyTorch's weights would saturate the tanh

    def forward(self, lightness: Tensor) -> Tensor:
        height, width = lightness.shape[-2:]
        ab = torch.tanh(self.head(self.trunk(pad_to_multiple(lightness, self.factor))))
        return ab[..., :height, :width]


class ColorClassUNet(nn.Module):
    """Lightness [B, 1, H, W] to (logits [B, Q, H / 2, W / 2], ab [B, 2, H, W]), all of one trunk.

    Speaks of bins of colour (Zhang et al. 2016) at half size, where the eye resolves enough; ab in
    [-1, 1] is their annealed mean, interpolated. The trunk is that of ColorizationUNet, whose
    arguments these are; step and temperature are ColorBins'.
    """

    def __init__(
        self,
        image_size: int | None = None,
        widths: Sequence[int] = (64, 128, 256, 512, 512, 512, 512, 512),
        norm: Norm = "group",
        step: float = 10.0,
        temperature: float = 0.38,
    ) -> None:
        super().__init__()
        num_levels = cap_levels(len(widths), image_size)
        self.factor = 2**num_levels
        self.trunk = SkipUNet(1, widths[:num_levels], norm)
        self.bins = ColorBins(step, temperature)
        self.head = nn.Conv2d(self.trunk.out_channels, len(self.bins), 3, padding=1)
        near_zero(self.head)

    def forward(self, lightness: Tensor) -> tuple[Tensor, Tensor]:
        height, width = lightness.shape[-2:]
        logits = self.head(self.trunk(pad_to_multiple(lightness, self.factor)))
        ab = F.interpolate(
            self.bins.decode(logits), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        small = logits[..., : (height + 1) // 2, : (width + 1) // 2]
        return small, ab[..., :height, :width]


def recombine(lightness: Tensor, ab: Tensor) -> Tensor:
    """RGB [B, 3, H, W] in [-1, 1] of full-size lightness [B, 1, H, W] and any-size ab [B, 2, h, w].

    Colour may be predicted small: the eye resolves it less than lightness.
    """
    if ab.shape[-2:] != lightness.shape[-2:]:
        ab = F.interpolate(ab, lightness.shape[-2:], mode="bicubic", align_corners=False)
    return rgb_from_lab(torch.cat([lightness, ab.clamp(-1, 1)], dim=1))
