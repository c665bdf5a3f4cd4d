"""Colour removed."""

from torch import Tensor

from restore.degradation.contract import Degraded
from restore.degradation.operator import Lightness
from restore.types import InputError


class Gray:
    """The input is the CIE lightness of the RGB target, scaled to [-1, 1]."""

    operator = Lightness()

    def input_channels(self, image_channels: int) -> int:
        if image_channels != 3:
            raise InputError(
                f"degradation=gray takes the colour away from images of 3 channels, got "
                f"{image_channels}: use data.source.mode=rgb"
            )
        return 1

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        measured = self.operator.forward(target)
        return Degraded(target=target, input=measured, operator=self.operator)
