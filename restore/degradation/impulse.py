"""Pixels replaced."""

import torch
from torch import Tensor

from restore.degradation.contract import Degraded
from restore.stream import Stream
from restore.types import InputError


class SaltPepper:
    """A pixel turns white or black, in all channels, with probability `density` / 2 each."""

    def __init__(self, density: float) -> None:
        if not 0 <= density <= 1:
            raise InputError(f"salt-and-pepper density must be in [0, 1], got {density}")
        self.density = density

    def input_channels(self, image_channels: int) -> int:
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        draw = Stream(seeds).uniform(1, *target.shape[2:])
        salted = torch.where(draw < self.density / 2, 1.0, target)
        peppered = torch.where(draw >= 1 - self.density / 2, -1.0, salted)
        return Degraded(target=target, input=peppered)
