"""The UNet generator of the denoising GAN."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from restore.network.drunet import residual_blocks
from restore.network.initialization import near_zero
from restore.network.norm import Norm
from restore.network.size import cap_levels, pad_to_multiple
from restore.network.skip_unet import Activation, SkipUNet, UpBlock
from restore.types import InputError


class DenoisingUNet(nn.Module):
    """Noisy to clean images [B, C, H, W] in [-1, 1].

    Stride-2 encoders (7: 256 px to 2), a transposed bottleneck (2 to 4), up blocks with skips
    (6: 4 to 256) and a tanh layer on the input and the last of them. image_size: side of the
    training patches; keeps only as many levels as bring them down to two pixels. Any size:
    mirrored to multiples of 2^levels. Starts near the tanh of its input.
    Blind: whatever sigma is, it is not looked at. activation: of the encoders.

    Two switches for what this shape costs: a single layer sees full-size pixels, so that weak noise
    comes out stronger than it went in. residual: adds its output to the image, without tanh, and
    starts as the identity. num_blocks: residual blocks at full size, before the trunk and after it.
    """

    def __init__(
        self,
        image_channels: int,
        image_size: int | None = None,
        widths: Sequence[int] = (64, 128, 256, 512, 512, 512, 512),
        norm: Norm = "group",
        residual: bool = False,
        num_blocks: int = 0,
        activation: Activation = "leaky_relu",
    ) -> None:
        super().__init__()
        if num_blocks < 0:
            raise InputError(f"task.network.num_blocks={num_blocks} must be 0 or more")
        num_levels = cap_levels(len(widths), image_size, smallest=2)
        self.factor = 2**num_levels
        self.residual, full = residual, widths[0]
        self.before = full_size(image_channels, full, num_blocks) if num_blocks else None
        channels = full if num_blocks else image_channels
        self.trunk = SkipUNet(channels, widths[:num_levels], norm, activation)
        self.last = UpBlock(self.trunk.out_channels, full, norm)
        self.after = full_size(2 * full, full, num_blocks) if num_blocks else None
        self.head = nn.Conv2d(image_channels + full, image_channels, 3, padding=1)
        near_zero(self.head)
        if not residual:
            with torch.no_grad():  # the image comes first in its input
                self.head.weight += nn.init.dirac_(torch.empty_like(self.head.weight))

    def forward(self, image: Tensor, sigma: Tensor | None = None) -> Tensor:
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, self.factor)
        x = image if self.before is None else self.before(image)
        decoded = self.last(self.trunk(x))
        if self.after is not None:
            decoded = self.after(torch.cat([x, decoded], dim=1))
        output = self.head(torch.cat([image, decoded], dim=1))
        clean = image + output if self.residual else torch.tanh(output)
        return clean[..., :height, :width]


def full_size(in_channels: int, width: int, num_blocks: int) -> nn.Sequential:
    """[B, in_channels, H, W] to [B, width, H, W]: a convolution and residual blocks."""
    blocks = residual_blocks(width, num_blocks)
    return nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), *blocks)
