"""What every metric of an image is: a versioned definition, a guard on ranges, a number."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from restore.types import Batch, InputError

# An overshooting network or unclipped noise stays far below, an image in 0..255 far above.
_LARGEST_PREDICTION = 50.0


class Metric(ABC):
    """A number per image. `restored` may overshoot [0, 1]; the definition says what is done to it.

    A value is NaN where the metric is not defined for an image; a mean leaves such images out.
    """

    name: str  # the column in tables
    definition: str  # the protocol with its version; a change of any number is a new version
    higher_is_better: bool
    takes_samples: ClassVar[bool] = False  # restored is [B, N, C, H, W]: N samples of each image

    def __call__(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        """Float64 [B] for restored [B, C, H, W] and target [B, C, H, W] in [0, 1].

        Raises InputError on a wrong dtype, shape or range, and on NaN or infinity.
        """
        check_unit(target, "target", 4)
        check_prediction(restored, 5 if self.takes_samples else 4)
        per_sample = restored[:, 0] if self.takes_samples else restored
        if per_sample.shape != target.shape:
            raise InputError(
                f"metric {self.name}: restored {list(restored.shape)} does not fit "
                f"target {list(target.shape)}"
            )
        return self.measure(restored, target, batch)

    @abstractmethod
    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        """The metric itself, on checked tensors."""


def check_prediction(image: Tensor, num_dims: int = 4) -> None:
    """Refuses what no restored image in units of [0, 1] can be."""
    _check_tensor(image, "restored", num_dims)
    if image.abs().max() > _LARGEST_PREDICTION:
        raise InputError(
            f"restored reaches {image.abs().max():.4g}: metrics take images in [0, 1], "
            "divide 8-bit values by 255"
        )


def check_unit(image: Tensor, what: str, num_dims: int = 4) -> None:
    """Refuses anything but finite floats in [0, 1]."""
    _check_tensor(image, what, num_dims)
    low, high = image.min().item(), image.max().item()
    if low < 0 or high > 1:
        raise InputError(
            f"{what} spans [{low:.4g}, {high:.4g}]: metrics take images in [0, 1], "
            "convert with restore.image.to_unit"
        )


def _check_tensor(image: Tensor, what: str, num_dims: int) -> None:
    if not image.is_floating_point():
        raise InputError(f"{what} is {image.dtype}: metrics take floats in [0, 1]")
    if image.ndim != num_dims or image.numel() == 0:
        raise InputError(f"{what} has shape {list(image.shape)}: metrics take {num_dims} axes")
    if not torch.isfinite(image).all():
        raise InputError(f"{what} contains NaN or infinity: look for a diverged network")


def eight_bit(image: Tensor) -> Tensor:
    """Clamped to [0, 1] and rounded to multiples of 1/255, float64: what a PNG would keep."""
    return (image.double().clamp(0, 1) * 255).round() / 255


def hole_of(batch: Batch, metric: str) -> Tensor:
    """The hole [B, 1, H, W] as bool."""
    if "hole" not in batch:
        raise InputError(f"metric {metric} needs a hole: use it with degradation=mask kinds only")
    return batch["hole"] > 0.5
