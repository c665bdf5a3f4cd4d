"""Guidance: what is known of the image, worked into denoise; any sampler then uses it."""

import torch
from torch import Tensor

from restore.diffusion.parameterization import Denoise, denoise_with_variance


class _Replaced:
    def __init__(self, denoise: Denoise, image: Tensor, hole: Tensor) -> None:
        self.denoise = denoise
        self.image = image
        self.hole = hole > 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.where(self.hole, self.denoise(x, t), self.image)

    def with_variance(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x_0, fraction = denoise_with_variance(self.denoise, x, t)
        return torch.where(self.hole, x_0, self.image), fraction


class Replacement:
    """Known pixels of every predicted x0 are the image's own.

    Samplers end in a predicted x0, so known pixels of the result are bit-equal to the image.
    """

    def guide(self, denoise: Denoise, *, image: Tensor, hole: Tensor) -> Denoise:
        """image [B, C, H, W]; hole [B, 1, H, W] in {0, 1}, 1 = to be filled."""
        return _Replaced(denoise, image, hole)
