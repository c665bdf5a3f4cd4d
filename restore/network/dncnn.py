"""DnCNN: one noise level or blind, by its weights (Zhang et al. 2017, arXiv:1608.03981)."""

from typing import ClassVar

from torch import Tensor

from restore.network.published_denoiser import PublishedDenoiser, plain_cnn


class DnCNN(PublishedDenoiser):
    """Predicts the noise and subtracts it (section III.B), batch norm merged as in the release.

    depth: 17 for one noise level, 20 for blind.
    """

    takes_sigma: ClassVar[bool] = False

    def __init__(self, image_channels: int = 1, width: int = 64, depth: int = 17) -> None:
        super().__init__(image_channels)
        self.model = plain_cnn(image_channels, image_channels, width, depth)

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        noise: Tensor = self.model(image)
        return image - noise
