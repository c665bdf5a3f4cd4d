"""Other photos out of the same photo, in training."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from restore.data.kornia import KorniaAugmentation
from restore.stream import SampleStream, Stream, fold
from restore.types import InputError

_FLIP, _ROTATE, _BRIGHTNESS = -4, -5, -6


class Augmentation:
    """flip: mirrored left to right, or not; rotate: none to three quarter turns.

    Both together are the 8 symmetries of the square, equally likely. brightness: values in [0, 1]
    times a factor uniform in [1 - brightness, 1 + brightness], clipped and rounded to 8 bits.
    steps: augmentations of kornia, which come last (see KorniaAugmentation).
    """

    def __init__(
        self,
        flip: bool,
        rotate: bool,
        brightness: float,
        steps: Sequence[str | Mapping[str, Any]] = (),
    ) -> None:
        if not 0 <= brightness <= 1:
            raise InputError(f"data.brightness must be in [0, 1], got {brightness}")
        self.flip, self.rotate, self.brightness = flip, rotate, brightness
        self.kornia = KorniaAugmentation(steps)

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """uint8 [C, H, W] in and out."""
        if self.flip and SampleStream(seed, _FLIP).integer(0, 2):
            image = image.flip(-1)
        if self.rotate:
            image = image.rot90(SampleStream(seed, _ROTATE).integer(0, 4), (-2, -1))
        if self.brightness > 0:
            low, high = 1 - self.brightness, 1 + self.brightness
            factor = Stream(fold(torch.tensor([seed]), _BRIGHTNESS)).uniform(low=low, high=high)
            image = (image * factor).clamp(max=255).round().to(torch.uint8)
        return self.kornia(image, seed)
