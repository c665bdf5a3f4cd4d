"""A residual denoiser without biases: the network of the PSNR tables."""

from collections.abc import Sequence

import torch
from torch import Tensor

from restore.network.published_denoiser import sigma_map
from restore.network.residual_unet import ResidualUNet
from restore.types import InputError


class BiasFreeUNet(ResidualUNet):
    """Noisy [B, C, H, W] and noise levels sigma [B], in units of the image, to clean [B, C, H, W].

    Predicts the noise. No biases, hence f(a image, a sigma) = a f(image, sigma) for a >= 0, which
    generalises to levels never trained on (Mohan et al. 2020). noise_map: False for a blind network
    that needs no sigma. The other arguments are those of ResidualUNet. 1.7 million parameters.
    """

    def __init__(
        self,
        image_channels: int,
        image_size: int | None = None,
        widths: Sequence[int] = (64, 96, 128),
        num_blocks: int = 2,
        noise_map: bool = True,
    ) -> None:
        shape = image_size, widths, num_blocks
        super().__init__(image_channels, image_channels, *shape, in_maps=int(noise_map))
        self.noise_map = self.takes_sigma = noise_map

    def forward(self, image: Tensor, sigma: Tensor | None = None) -> Tensor:
        x = self.halved(image)
        if self.noise_map:
            if sigma is None:
                raise InputError(
                    "task.network needs noise levels, and the degradation states none: "
                    "task.network.noise_map=false"
                )
            x = torch.cat([x, sigma_map(sigma, x)], dim=1)
        height, width = image.shape[-2:]
        return image - self.features(x, height, width)
