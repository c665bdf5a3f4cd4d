"""Editing by strength: an image is drawn anew from where noise of that strength hides it."""

import torch
from torch import Tensor

from restore.diffusion.parameterization import Denoise, Prediction
from restore.types import InputError


def keep_below(denoise: Denoise, image: Tensor, strength: Tensor) -> Denoise:
    """denoise for a soft edit: each pixel stays image [B, C, H, W] while t is above its strength.

    strength [B, 1, H, W] in [0, 1]. Levin & Fried 2023 (Differential diffusion): a pixel joins when
    the noise has fallen to its strength, and looks until then like the noised image. Here it is the
    predicted x0 that is kept, so that any sampler brings that about. Where the strength is 0, the
    result is bit-equal to the image.
    """

    def kept(x: Tensor, t: Tensor) -> Prediction:
        predicted = denoise(x, t)
        still = strength < t.view(-1, 1, 1, 1)
        shift = predicted.shift
        return predicted._replace(
            x0=torch.where(still, image.to(predicted.x0), predicted.x0),
            shift=None if shift is None else shift.masked_fill(still, 0),
        )

    return kept


def check_strength(strength_map: Tensor, image: Tensor) -> None:
    """Raises InputError unless it is one channel in [0, 1] of the image's size [B, C, H, W]."""
    wanted = [len(image), 1, *image.shape[-2:]]
    if list(strength_map.shape) != wanted:
        raise InputError(f"strength_map has shape {list(strength_map.shape)}, it must be {wanted}")
    low, high = strength_map.aminmax()
    if not (low >= 0 and high <= 1):
        raise InputError(f"strength_map spans [{low:.4g}, {high:.4g}], it must lie in [0, 1]")
