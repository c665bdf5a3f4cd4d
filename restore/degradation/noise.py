"""Additive noise."""

import math

from torch import Tensor

from restore.degradation.contract import Degraded
from restore.stream import Stream
from restore.types import InputError


class Gaussian:
    """White Gaussian noise of standard deviation `sigma` in grey levels of 255.

    A list [low, high] draws each sample's sigma uniformly between the two. The input is neither
    clipped nor quantised.
    """

    def __init__(self, sigma: float | list[float]) -> None:
        bounds = list(sigma) if isinstance(sigma, (list, tuple)) else [sigma, sigma]
        if len(bounds) != 2 or not 0 <= bounds[0] <= bounds[1] < math.inf:
            raise InputError(f"noise sigma must be a level >= 0 or [low, high], got {sigma}")
        self.low, self.high = bounds

    def input_channels(self, image_channels: int) -> int:
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        stream = Stream(seeds)
        noise = stream.normal(*target.shape[1:])
        sigma = stream.uniform(low=self.low, high=self.high) / 127.5
        degraded = target + sigma[:, None, None, None] * noise
        return Degraded(target=target, input=degraded.to(target.dtype), sigma=sigma)
