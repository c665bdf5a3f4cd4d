"""Guidance: what is known of the image, worked into denoise; any sampler then uses it."""

import torch
from torch import Tensor

from restore.diffusion.parameterization import Denoise, Prediction


class Replacement:
    """Known pixels of every predicted x0 are the image's own.

    Samplers end in a predicted x0, so known pixels of the result are bit-equal to the image.
    """

    def guide(self, denoise: Denoise, *, image: Tensor, hole: Tensor) -> Denoise:
        """image [B, C, H, W]; hole [B, 1, H, W] in {0, 1}, 1 = to be filled."""

        def guided(x: Tensor, t: Tensor) -> Prediction:
            predicted = denoise(x, t)
            return predicted._replace(x0=torch.where(hole > 0, predicted.x0, image))

        return guided
