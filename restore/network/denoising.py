"""The UNet generator of the denoising GAN."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from restore.network.norm import Norm
from restore.network.size import cap_levels, pad_to_multiple
from restore.network.skip_unet import SkipUNet, UpBlock


class DenoisingUNet(nn.Module):
    """Noisy to clean images [B, C, H, W] in [-1, 1].

    Stride-2 encoders (7: 256 px to 2), a transposed bottleneck (2 to 4), up blocks with skips
    (6: 4 to 256) and a tanh layer on the input and the last of them. image_size: side of the
    training patches; keeps only as many levels as bring them down to two pixels. Any size:
    mirrored to multiples of 2^levels. Starts near the tanh of its input.
    Blind: whatever sigma is, it is not looked at.
    """

    def __init__(
        self,
        image_channels: int,
        image_size: int | None = None,
        widths: Sequence[int] = (64, 128, 256, 512, 512, 512, 512),
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        num_levels = cap_levels(len(widths), image_size, smallest=2)
        self.factor = 2**num_levels
        self.trunk = SkipUNet(image_channels, widths[:num_levels], norm)
        self.last = UpBlock(self.trunk.out_channels, widths[0], norm)
        self.head = nn.Conv2d(image_channels + widths[0], image_channels, 3, padding=1)
        nn.init.normal_(self.head.weight, std=1e-3)
        with torch.no_grad():  # the image comes first in its input
            self.head.weight += nn.init.dirac_(torch.empty_like(self.head.weight))

    def forward(self, image: Tensor, sigma: Tensor | None = None) -> Tensor:
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, self.factor)
        decoded = self.last(self.trunk(image))
        clean = torch.tanh(self.head(torch.cat([image, decoded], dim=1)))
        return clean[..., :height, :width]
