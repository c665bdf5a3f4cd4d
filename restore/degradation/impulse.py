"""Pixels replaced."""

import torch
from torch import Tensor

from restore.degradation.choice import draw, parse_bounds
from restore.degradation.contract import Degraded
from restore.stream import Stream


class SaltPepper:
    """A pixel turns white or black, in all channels, with probability `density` / 2 each.

    density: in [0, 1]; a list [low, high] draws each sample's density uniformly between the two.
    """

    def __init__(self, density: float | list[float]) -> None:
        self.density = parse_bounds(density, "salt-and-pepper density", 1)

    def input_channels(self, image_channels: int) -> int:
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        stream = Stream(seeds)
        place = stream.uniform(1, *target.shape[2:])
        half = draw(stream, self.density) / 2
        salted = torch.where(place < half.float(), 1.0, target)
        peppered = torch.where(place >= (1 - half).float(), -1.0, salted)
        return Degraded(target=target, input=peppered)
