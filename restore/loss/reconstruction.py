"""Pixel losses, one number per sample."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from restore.types import InputError

_EPSILON = 1e-3  # of Charbonnier, Lai et al. 2017; in the range [-1, 1]


class ReconstructionLoss:
    """Distance [B] of output and target [B, C, H, W], weighted in and outside hole [B, 1, H, W].

    hole_weight times the sum over the hole plus known_weight times the sum over the rest, an empty
    part counting zero; the plain mean where there is no hole. Each sum is divided by the number of
    pixels that `over` names: of the region, so that a small hole counts as much as a large one, or
    of the image (Liu et al. 2018, eq. 1: L_hole and L_valid), so that a pixel of the hole weighs
    hole_weight / known_weight times a known one. charbonnier: sqrt(d^2 + 1e-6), an L1 that is
    smooth at zero.
    """

    def __init__(
        self,
        distance: Literal["l1", "l2", "charbonnier"] = "l1",
        hole_weight: float = 1.0,
        known_weight: float = 1.0,
        over: Literal["region", "image"] = "region",
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
        self.over = over

    def __call__(self, output: Tensor, target: Tensor, hole: Tensor | None = None) -> Tensor:
        error = self._error(output.float() - target.float())
        if hole is None:
            return error.flatten(1).mean(1)
        error = error.mean(1, keepdim=True)
        if self.over == "image":
            weights = self.hole_weight * hole + self.known_weight * (1 - hole)
            return (weights * error).flatten(1).mean(1)
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


def total_variation(image: Tensor, hole: Tensor | None = None) -> Tensor:
    """Absolute differences of vertical and of horizontal neighbours, summed, a pixel: [B].

    image [B, C, H, W]; hole [B, 1, H, W]: counts neighbours alone that both lie in the hole,
    dilated by one pixel, and still divides by all C H W (Liu et al. 2018, eq. 6). Anisotropic.
    """
    region = None if hole is None else F.max_pool2d(hole, 3, stride=1, padding=1)
    image = image.float()  # a sum over a large image is more than float16 has
    total = image.new_zeros(len(image))
    for dim in (2, 3):
        difference = image.diff(dim=dim).abs()
        if region is not None:
            count = region.shape[dim] - 1
            difference = difference * region.narrow(dim, 0, count) * region.narrow(dim, 1, count)
        total = total + difference.flatten(1).sum(1)
    return total / image[0].numel()
