"""Photon noise."""

import torch
from torch import Tensor

from restore.degradation.contract import Degraded
from restore.image import from_unit, to_unit
from restore.stream import Stream
from restore.types import InputError

_MOST = 1e6  # photons; far above it neighbouring counts are no longer told apart


class Poisson:
    """A value x in [0, 1] becomes k / `peak`, k a Poisson number of mean x `peak`.

    A list [low, high] draws each sample's peak log-uniformly between the two. The input is neither
    clipped nor quantised further, and there is no one `sigma`: the variance is x / peak.
    """

    def __init__(self, peak: float | list[float]) -> None:
        bounds = list(peak) if isinstance(peak, (list, tuple)) else [peak, peak]
        if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1] <= _MOST:
            raise InputError(f"Poisson peak must be in (0, 10^6] or [low, high], got {peak}")
        self.low, self.high = bounds

    def input_channels(self, image_channels: int) -> int:
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        stream, shape = Stream(seeds), target.shape[1:]
        fine, coarse = stream.uniform(*shape).double(), stream.uniform(*shape).double()
        share = coarse + (fine + 2.0**-25) * 2.0**-24  # 48 bits, never 0 or 1
        place = stream.uniform().double()[:, None, None, None]
        peak = self.low * (self.high / self.low) ** place
        count = quantile(to_unit(target.double()).clamp(min=0) * peak, share)
        return Degraded(target=target, input=from_unit(count / peak).to(target.dtype))


def quantile(rate: Tensor, share: Tensor) -> Tensor:
    """The smallest k with P(Poisson(rate) <= k) >= share in (0, 1), float64 of equal shapes.

    The distribution function is the regularised incomplete gamma function Q(k + 1, rate), to about
    1e-9. The search starts at the expansion of Cornish and Fisher (1938).
    """
    mean, level = rate.flatten(), share.flatten()
    normal: Tensor = torch.special.ndtri(level)
    guess = mean + mean.sqrt() * normal + (normal**2 - 1) / 6
    count = (guess + 0.5).floor().clamp(min=0)
    low = torch.arange(len(count), device=count.device)
    while len(low):
        low = low[_below(count[low] + 1, mean[low]) < level[low]]
        count[low] += 1
    high = count.nonzero()[:, 0]
    while len(high):
        high = high[(count[high] > 0) & (_below(count[high], mean[high]) >= level[high])]
        count[high] -= 1
    return count.view_as(rate)


def _below(count: Tensor, rate: Tensor) -> Tensor:
    """P(Poisson(rate) < count) for counts of at least 1."""
    below: Tensor = torch.special.gammaincc(count.clamp(min=1), rate)
    return below
