"""Pixel losses, one number per sample."""

from typing import Literal

from torch import Tensor

from restore.types import InputError

_EPSILON = 1e-3  # of Charbonnier, Lai et al. 2017; in the range [-1, 1]


class ReconstructionLoss:
    """Distance [B] of output and target [B, C, H, W], weighted in and outside hole [B, 1, H, W].

    hole_weight times the mean over the hole plus known_weight times the mean over the rest, an
    empty part counting zero; the plain mean where there is no hole. charbonnier: sqrt(d^2 + 1e-6),
    an L1 that is smooth at zero.
    """

    def __init__(
        self,
        distance: Literal["l1", "l2", "charbonnier"] = "l1",
        hole_weight: float = 1.0,
        known_weight: float = 1.0,
    ) -> None:
        if distance not in ("l1", "l2", "charbonnier"):
            raise InputError(f"loss.distance={distance}: use l1, l2 or charbonnier")
        if min(hole_weight, known_weight) < 0 or hole_weight + known_weight == 0:
            raise InputError(
                f"loss.hole_weight={hole_weight}, known_weight={known_weight}: use 0 or more, "
                "and not 0 for both"
            )
        self.distance = distance
        self.hole_weight = hole_weight
        self.known_weight = known_weight

    def __call__(self, output: Tensor, target: Tensor, hole: Tensor | None = None) -> Tensor:
        error = self._error(output.float() - target.float())
        if hole is None:
            return error.flatten(1).mean(1)
        error = error.mean(1, keepdim=True)
        inside, outside = _mean_where(error, hole), _mean_where(error, 1 - hole)
        return self.hole_weight * inside + self.known_weight * outside

    def _error(self, difference: Tensor) -> Tensor:
        match self.distance:
            case "l1":
                return difference.abs()
            case "l2":
                return difference.square()
            case "charbonnier":
                return (difference.square() + _EPSILON**2).sqrt()


def _mean_where(error: Tensor, weight: Tensor) -> Tensor:
    """Mean [B] over the pixels of weight one, zero where there are none."""
    total = (error * weight).flatten(1).sum(1)
    return total / weight.flatten(1).sum(1).clamp(min=1)


def total_variation(image: Tensor) -> Tensor:
    """Mean absolute difference of vertical plus of horizontal neighbours, [B] of [B, C, H, W].

    Anisotropic; zero along a side of one pixel.
    """
    total = image.new_zeros(len(image))
    for dim in (2, 3):
        if image.shape[dim] > 1:
            total = total + image.diff(dim=dim).abs().flatten(1).mean(1)
    return total
