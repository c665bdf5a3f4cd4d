"""Degradations by a known linear operator."""

import math

from torch import Tensor

from restore.degradation.contract import Degraded
from restore.degradation.operator import LinearOperator
from restore.stream import Stream
from restore.types import InputError


class Linear:
    """y = A x + n, with white Gaussian noise n of standard deviation `sigma` in grey levels of 255.

    The input is y, or A+ y where y is smaller than the image: it has the image's size then, so that
    every network takes it, and A of it is y again. It is neither clipped nor quantised. blind: the
    batch states neither the operator nor the level.
    """

    def __init__(self, operator: LinearOperator, sigma: float = 0.0, blind: bool = False) -> None:
        if not 0 <= sigma < math.inf:
            raise InputError(f"noise sigma must be a level >= 0, got {sigma}")
        self.operator, self.sigma, self.blind = operator, sigma, blind

    def input_channels(self, image_channels: int) -> int:
        return self.operator.shown_channels(image_channels)

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        measured = self.operator.forward(target)
        sigma = self.sigma / 127.5
        if sigma:
            measured = measured + sigma * Stream(seeds).normal(*measured.shape[1:])
        shown = self.operator.shown(measured, *target.shape[-2:]).to(target.dtype)
        made = Degraded(target=target, input=shown)
        if self.blind:
            return made
        level = target.new_full((len(target),), sigma)
        return Degraded(**made, operator=self.operator, sigma=level)
