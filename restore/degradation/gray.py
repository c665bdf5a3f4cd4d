"""Colour removed."""

import torch
from torch import Tensor

from restore.degradation.contract import Degraded
from restore.degradation.operator import Operator, Ridge
from restore.image import lab_from_rgb, rgb_from_lab
from restore.types import InputError


class Lightness(Operator):
    """CIE L of an sRGB image, as `degradation=gray` measures it: not linear, but known as well.

    The nearest image is meant in LAB, where A is linear: L is the measured one, a and b stay.
    """

    def channels(self, image_channels: int) -> int:
        if image_channels != 3:
            raise InputError(f"lightness takes images of 3 channels, got {image_channels}")
        return 1

    def forward(self, x: Tensor) -> Tensor:
        return lab_from_rgb(x)[:, :1]

    def nearest(self, x: Tensor, y: Tensor, ridge: Ridge = 0.0) -> Tensor:
        lab = lab_from_rgb(x)
        lightness = lab[:, :1] + (y - lab[:, :1]) / (1 + ridge)
        return rgb_from_lab(torch.cat([lightness, lab[:, 1:]], dim=1)).to(x.dtype)


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
