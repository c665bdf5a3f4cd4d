"""Colour removed."""

from torch import Tensor

from restore.degradation.contract import Degraded
from restore.image import to_unit
from restore.types import InputError


class Gray:
    """The input is the CIE lightness of the RGB target, L / 50 - 1 in [-1, 1]."""

    def input_channels(self, image_channels: int) -> int:
        if image_channels != 3:
            raise InputError(f"gray needs images of 3 channels, got {image_channels}")
        return 1

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        from kornia.color import rgb_to_lab

        return Degraded(target=target, input=rgb_to_lab(to_unit(target))[:, :1] / 50 - 1)
