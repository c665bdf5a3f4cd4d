"""What every metric of an image is: a versioned definition, a guard on ranges, a number."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from restore.types import Batch, InputError, shape_of

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
    takes_levels: bool = False  # `measure` gets `levels` of both images, which metrics share

    def __call__(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        """Float64 [B] for restored [B, C, H, W] and target [B, C, H, W] in [0, 1].

        Raises InputError on a wrong dtype, shape or range, and on NaN or infinity.
        """
        _check_axes(restored, "restored", 5 if self.takes_samples else 4)
        samples = restored if self.takes_samples else restored[:, None]
        return measure_all([self], samples, target, batch)[self.name]

    def check(self, channels: int, height: int, width: int) -> None:  # noqa: B027
        """Raises InputError where it cannot measure images of that size; any will do here.

        Costs nothing, so that it can be asked of all images before work begins.
        """

    @abstractmethod
    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        """The metric itself, on checked tensors."""


def measure_all(
    metrics: Sequence[Metric], restored: Tensor, target: Tensor, batch: Batch
) -> dict[str, Tensor]:
    """Each metric's float64 [B] by its name, a mean over the samples where it takes one at a time.

    restored [B, N, C, H, W] and target [B, C, H, W] in [0, 1]. Images are checked and rounded to
    8 bits once for all. Raises InputError as a metric does, and for one that gives anything but a
    number for each image, or that changes the images, which all metrics share.
    """
    check_target(target)
    check_prediction(restored, 5)
    for metric in metrics:
        if restored[:, 0].shape != target.shape:
            raise InputError(
                f"metric {metric.name}: restored {list(restored[:, 0].shape)} does not fit "
                f"target {list(target.shape)}"
            )
        metric.check(*target.shape[1:])
    pairs = {False: (restored, target)}
    if any(metric.takes_levels for metric in metrics):
        pairs[True] = (levels(restored), levels(target))
    values = {}
    for metric in metrics:
        images, clean = pairs[metric.takes_levels]
        if metric.takes_samples:
            values[metric.name] = _measured(metric, images, clean, batch)
        else:
            each = [_measured(metric, one, clean, batch) for one in images.unbind(1)]
            values[metric.name] = torch.stack(each).mean(dim=0)
    return values


def _measured(metric: Metric, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
    """Float64 [B] of one metric."""
    shared = [one for one in (restored, target, *batch.values()) if isinstance(one, Tensor)]
    # In inference mode tensors count no changes. A benchmark measures its first image without it.
    counted = [one for one in shared if not one.is_inference()]
    before = [one._version for one in counted]
    values = metric.measure(restored, target, batch)
    if before != [one._version for one in counted]:
        raise InputError(
            f"metric {metric.name} changes its images in place, which the metrics after it "
            "measure, too: let it work on a copy, as (restored - target).square()"
        )
    shape = shape_of(values)
    if shape != str([len(target)]):
        raise InputError(
            f"metric {metric.name} gives {shape} for {len(target)} images: it must give a tensor "
            f"of shape [{len(target)}], a number for each, as error.mean(dim=(1, 2, 3))"
        )
    return values.double()


def check_prediction(image: Tensor, num_dims: int) -> None:
    """Refuses what no restored image in units of [0, 1] can be."""
    _check_tensor(image, "restored", num_dims)
    largest = max(abs(float(bound)) for bound in image.aminmax())
    if largest > _LARGEST_PREDICTION:
        raise InputError(
            f"restored reaches {largest:.4g}: metrics take images in [0, 1], "
            "divide 8-bit values by 255"
        )


def check_target(image: Tensor) -> None:
    """Refuses anything but finite floats [B, C, H, W] in [0, 1]."""
    _check_tensor(image, "target", 4)
    low, high = (float(bound) for bound in image.aminmax())
    if low < 0 or high > 1:
        raise InputError(
            f"target spans [{low:.4g}, {high:.4g}]: metrics take images in [0, 1], "
            "convert with restore.image.to_unit"
        )


def check_size(metric: str, height: int, width: int, least: int, hint: str) -> None:
    """Refuses images with a side of less than `least` pixels."""
    if min(height, width) < least:
        raise InputError(
            f"metric {metric} needs images of {least} px or more, got {height}x{width}: {hint}"
        )


def _check_tensor(image: Tensor, what: str, num_dims: int) -> None:
    if not image.is_floating_point():
        raise InputError(f"{what} is {image.dtype}: metrics take floats in [0, 1]")
    _check_axes(image, what, num_dims)
    if not math.isfinite(image.sum(dtype=torch.float64)):  # a third of isfinite's time
        raise InputError(f"{what} contains NaN or infinity: look for a diverged network")


def _check_axes(image: Tensor, what: str, num_dims: int) -> None:
    if image.ndim != num_dims or image.numel() == 0:
        raise InputError(f"{what} has shape {list(image.shape)}: metrics take {num_dims} axes")


def eight_bit(image: Tensor) -> Tensor:
    """Clamped to [0, 1] and rounded to multiples of 1/255, float64: what a PNG would keep."""
    return (image.double().clamp(0, 1) * 255).round() / 255


def levels(image: Tensor) -> Tensor:
    """`eight_bit` in whole grey levels 0..255, float64: differences and sums of them are exact."""
    return image.clamp(0, 1).double().mul_(255).round_()


def hole_of(batch: Batch, metric: str) -> Tensor:
    """The hole [B, 1, H, W] as bool."""
    if "hole" not in batch:
        raise InputError(f"metric {metric} needs a hole: use it with degradation=mask kinds only")
    return batch["hole"] > 0.5
