"""FFDNet: a plain network on sub-images and a noise map (Zhang et al. 2018, arXiv:1710.04026)."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.network.published_denoiser import PublishedDenoiser, plain_cnn, sigma_map


class FFDNet(PublishedDenoiser):
    """Predicts the clean image from its four half-size sub-images (section III.C).

    width, depth: 64 and 15 for grey, 96 and 12 for RGB.
    """

    factor: ClassVar[int] = 2

    def __init__(self, image_channels: int = 1, width: int = 64, depth: int = 15) -> None:
        super().__init__(image_channels)
        channels = image_channels * self.factor**2
        self.model = plain_cnn(channels + 1, channels, width, depth)

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        parts = F.pixel_unshuffle(image, self.factor)
        parts = self.model(torch.cat([parts, sigma_map(sigma, parts)], dim=1))
        return F.pixel_shuffle(parts, self.factor)
