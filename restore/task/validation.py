"""What validation says of restored images, by the metrics of the benchmarks."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from restore.image import to_unit
from restore.metric.base import Metric, measure_all
from restore.metric.colorfulness import Colorfulness
from restore.metric.psnr import PSNR, HolePSNR
from restore.metric.ssim import SSIM
from restore.picture import select
from restore.types import Batch, Observation

CALLS = 2000  # of the network on one image, in a validation: 40 batches of 16 cost as much
_SMALLEST = 11  # pixels of a side: the window of SSIM


NAMES = frozenset(one.name for one in (PSNR(), SSIM(), HolePSNR(), Colorfulness()))


def metrics_for(batch: Batch) -> list[Metric]:
    """PSNR; SSIM where it is defined; of holes where there are any; of colours that are new."""
    target, shown = batch["target"], batch["input"]
    metrics: list[Metric] = [PSNR()]
    if min(target.shape[-2:]) >= _SMALLEST:
        metrics.append(SSIM())
    if "hole" in batch:
        metrics.append(HolePSNR())
    if target.shape[1] == 3 and shown.shape[1] == 1:
        metrics.append(Colorfulness())
    return metrics


def places(index: Tensor, num_calls: int, images: int) -> list[int] | None:
    """Which samples of a batch validation restores, by their numbers [B] in the split.

    All where one restored image costs one call of the network, else the first `images` of the
    split, or as many of them as CALLS calls restore: the same ones however many processes share
    the split. None where no batch has any.
    """
    if num_calls == 1:
        return [*range(len(index))]
    most = min(images, CALLS // num_calls)
    return [i for i, number in enumerate(index.tolist()) if number < most] if most > 0 else None


def measure(
    restore: Callable[[Observation], Tensor], batch: Batch, chosen: list[int]
) -> dict[str, tuple[Tensor, int]]:
    """Mean and number of the chosen images that a metric is defined for, by its name."""
    if not chosen:  # another process has some, and waits for equal names
        nothing = torch.zeros((), device=batch["target"].device), 0
        return {metric.name: nothing for metric in metrics_for(batch)}
    some = batch if len(chosen) == len(batch["index"]) else select(batch, chosen)
    return compare(restore(some)[:, 0], some)


def compare(restored: Tensor, batch: Batch) -> dict[str, tuple[Tensor, int]]:
    """Mean and number of the images [B, C, H, W] that a metric is defined for, by its name.

    restored may be anything that a network says: pixels are clamped to the range of images, and
    NaN gives NaN, so that a young network does not end its own training.
    """
    unit, target = to_unit(restored.float()).clamp(0, 1), to_unit(batch["target"])
    metrics = metrics_for(batch)
    if not torch.isfinite(unit).all():
        nan = torch.full((), math.nan, device=unit.device)
        return {metric.name: (nan, len(unit)) for metric in metrics}
    found = {}
    for name, values in measure_all(metrics, unit[:, None], target, batch).items():
        defined = values[~values.isnan()]
        mean = defined.mean() if len(defined) else torch.zeros((), device=unit.device)
        found[name] = mean, len(defined)
    return found
