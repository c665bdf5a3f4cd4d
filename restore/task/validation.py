"""What validation says of restored images, by the metrics of the benchmarks."""

import math

import torch
from torch import Tensor

from restore.image import to_unit
from restore.metric.base import Metric, measure_all
from restore.metric.colorfulness import Colorfulness
from restore.metric.psnr import PSNR, HolePSNR
from restore.metric.ssim import SSIM
from restore.types import Batch

_SMALLEST = 11  # pixels of a side: the window of SSIM


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


def measure(restored: Tensor, batch: Batch) -> dict[str, tuple[Tensor, int]]:
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
