"""Photon noise."""

import torch
from torch import Tensor

from restore.degradation.contract import Degraded
from restore.image import from_unit, to_unit
from restore.stream import Stream
from restore.types import InputError

_MOST = 1e6  # photons; far above it neighbouring counts are no longer told apart
_FEW = 4.0  # photons; above it the expansion's bound on its error holds
_OUTER = 9.0  # the square of a normal number above which the bound does not hold
_PASSES = 4
_LAST = 60  # a count that no rate below _FEW gives: its chance is below 1e-45


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
        stream = Stream(seeds)
        normal = stream.normal(*target.shape[1:])
        place = stream.uniform(1, 1, 1).double()
        peak = (self.low * (self.high / self.low) ** place).float()
        count = quantile(to_unit(target.float()).clamp(min=0) * peak, normal)
        return Degraded(target=target, input=from_unit(count / peak).to(target.dtype))


def quantile(rate: Tensor, normal: Tensor) -> Tensor:
    """The smallest k with P(Poisson(rate) <= k) >= Phi(normal), float32 of equal shapes.

    A standard normal number thus becomes a Poisson number. From a rate of 4 on by the expansion of
    Giles (2016, "Algorithm 955": third order, and a bound on what it leaves out), which is certain
    of its whole number for all but a few percent; those are settled by the distribution function,
    as are the outermost draws. Below 4 the probabilities are summed up from 0.
    """
    few = (rate < _FEW).nonzero(as_tuple=True)
    count = _expanded(rate.clamp(min=_FEW).flatten(), normal.flatten()).view_as(rate)
    count[few] = _summed(rate[few].double(), normal[few])
    return count


def _expanded(mean: Tensor, level: Tensor) -> Tensor:
    """`quantile` of rates [N] of at least 4."""
    root, square = mean.sqrt(), level.square()
    guess = (square / 6 + 1 / 3).add_(mean).addcmul_(root, level)
    guess -= (square / 72).add_(1 / 36).mul_(level).div_(root)
    guess += (square / 270).add_(7 / 810).mul_(square).sub_(8 / 405).div_(mean)
    error = (square / 160).add_(1 / 80).mul_(square).add_(1 / 40).div_(mean).add_(4e-6)
    count = guess.floor().clamp_(min=0)
    unsure = ((guess - count - 0.5).abs_() + error + 4e-7 * mean > 0.5).logical_or_(square > _OUTER)
    some = unsure.nonzero()[:, 0]
    count[some] = _searched(mean[some].double(), level[some].double(), count[some].double()).float()
    return count


def _summed(mean: Tensor, level: Tensor) -> Tensor:
    """The quantile for small rates, float32: as many passes as the largest number drawn."""
    share = torch.special.ndtr(level.double())
    count = torch.zeros_like(level)
    place, chance = torch.arange(len(mean), device=mean.device), (-mean).exp()
    below, number, found = chance.clone(), 0, torch.zeros_like(mean)
    while len(place) and number < _LAST:
        for _ in range(_PASSES):  # between looks at which are still to be found
            number += 1
            found += below < share
            below += chance.mul_(mean).div_(number)
        count[place] = found.float()
        left = (found == number).nonzero()[:, 0]
        place, mean, share = place[left], mean[left], share[left]
        chance, below, found = chance[left], below[left], found[left]
    return count


def _searched(mean: Tensor, level: Tensor, count: Tensor) -> Tensor:
    """The quantile by steps from `count`, float64, on the side of the distribution that is small.

    P(X <= k) = Q(k + 1, mean), the regularised incomplete gamma function, to about 1e-9.
    """
    upper = level > 0
    tail = torch.special.ndtr(-level.abs())  # beyond the level, on its own side

    def reached(at: Tensor, where: Tensor) -> Tensor:
        """Whether P(X <= at) >= Phi(level)."""
        rest, rate, up, after = tail[where], mean[where], upper[where], at.clamp(min=0) + 1
        reached = torch.empty_like(up)
        reached[up] = torch.special.gammainc(after[up], rate[up]) <= rest[up]
        up = ~up
        reached[up] = torch.special.gammaincc(after[up], rate[up]) >= rest[up]
        return reached & (at >= 0)

    count = count.clone()
    low = torch.arange(len(count), device=count.device)
    while len(low):
        low = low[~reached(count[low], low)]
        count[low] += 1
    high = torch.arange(len(count), device=count.device)
    while len(high):
        high = high[reached(count[high] - 1, high)]
        count[high] -= 1
    return count
