"""A residual denoiser without biases: the network of the PSNR tables."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.denoiser import sigma_map
from restore.network.drunet import ResidualBlock
from restore.network.size import cap_levels, pad_to_multiple
from restore.types import InputError


class BiasFreeUNet(nn.Module):
    """Noisy [B, C, H, W] and noise levels sigma [B], in units of the image, to clean [B, C, H, W].

    Predicts the noise, and works at half size on 2x2 pixels as channels (Zhang et al. 2018,
    FFDNet), with residual blocks and added skips (Zhang et al. 2021, DRUNet). No biases, hence
    f(a image, a sigma) = a f(image, sigma) for a >= 0, which generalises to levels never trained
    on (Mohan et al. 2020); no normalisation, so channels_last costs no conversions. Any size:
    mirrored to multiples of 2^levels. noise_map: False for a blind network that needs no sigma.
    image_size: side of the training patches, caps the levels. 1.7 million parameters.
    """

    def __init__(
        self,
        image_channels: int,
        image_size: int | None = None,
        widths: Sequence[int] = (64, 96, 128),
        num_blocks: int = 2,
        noise_map: bool = True,
    ) -> None:
        super().__init__()
        widths = widths[: cap_levels(len(widths), image_size)]
        if min(image_channels, num_blocks, *widths) < 1:
            raise InputError(
                f"task.network: widths={list(widths)}, num_blocks={num_blocks} and image_channels="
                f"{image_channels} must be positive"
            )
        self.factor = 2 ** len(widths)
        self.noise_map = noise_map
        conv_in = nn.Conv2d(4 * image_channels + noise_map, widths[0], 3, padding=1, bias=False)
        self.down = nn.ModuleList([nn.Sequential(conv_in, *_blocks(widths[0], num_blocks))])
        self.doubling, self.up = nn.ModuleList(), nn.ModuleList()
        for fine, coarse in pairwise(widths):
            halving = nn.Conv2d(fine, coarse, 2, stride=2, bias=False)
            self.down.append(nn.Sequential(halving, *_blocks(coarse, num_blocks)))
        for coarse, fine in pairwise(reversed(widths)):
            self.doubling.append(nn.ConvTranspose2d(coarse, fine, 2, stride=2, bias=False))
            self.up.append(nn.Sequential(*_blocks(fine, num_blocks)))
        self.conv_out = nn.Conv2d(widths[0], 4 * image_channels, 3, padding=1, bias=False)

    def forward(self, image: Tensor, sigma: Tensor | None = None) -> Tensor:
        height, width = image.shape[-2:]
        x = F.pixel_unshuffle(pad_to_multiple(image, self.factor), 2)
        if self.noise_map:
            if sigma is None:
                raise InputError(
                    "task.network needs noise levels, and the degradation states none: "
                    "task.network.noise_map=false"
                )
            x = torch.cat([x, sigma_map(sigma, x)], dim=1)
        skips: list[Tensor] = []
        for level in self.down:
            x = level(x)
            skips.append(x)
        skips.pop()
        for double, blocks in zip(self.doubling, self.up, strict=True):
            x = blocks(double(x) + skips.pop())
        noise = F.pixel_shuffle(self.conv_out(x), 2)
        return image - noise[..., :height, :width]


def _blocks(channels: int, num_blocks: int) -> list[nn.Module]:
    return [ResidualBlock(channels) for _ in range(num_blocks)]
