"""The angle between the colours of two images (Yuhas et al. 1992): blind to brightness."""

import torch
from torch import Tensor

from restore.metric.base import Metric, eight_bit
from restore.types import Batch, InputError


def spectral_angle(first: Tensor, second: Tensor) -> Tensor:
    """Angles [B, H, W] in radians, 0 to pi/2, between the colours of [B, C, H, W] in [0, 1].

    Black has no direction: two black pixels agree, and one differs from a colour by pi/2, the most
    that colours can.
    """
    first, second = first.double(), second.double()
    lengths = [one.norm(dim=1, keepdim=True) for one in (first, second)]
    one, other = (
        image / length.where(length > 0, 1.0)
        for image, length in zip((first, second), lengths, strict=True)
    )
    # Kahan's formula gives what is said of black, too; the arc cosine of a product loses half of
    # the digits near 0.
    return 2 * torch.atan2((one - other).norm(dim=1), (one + other).norm(dim=1))


class SpectralAngle(Metric):
    """The mean angle over the pixels of an image, in radians."""

    name = "sam"
    definition = "sam/uint8/radians/black-is-pi-half/per-image/v1"
    higher_is_better = False

    def check(self, channels: int, height: int, width: int) -> None:
        if channels < 2:
            raise InputError("metric sam compares colours: images of 1 channel have none")

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        return spectral_angle(eight_bit(restored), eight_bit(target)).mean(dim=(1, 2))
