"""Any image metric of torchmetrics as one of a benchmark, by the path of its class."""

import inspect
import json
import math
import warnings
from typing import Any

import torch
import torchmetrics
import torchmetrics.image
from torch import Tensor

from restore.metric.base import Metric
from restore.types import Batch, InputError

_HOME = "torchmetrics.image."
_REFUSALS = (ValueError, RuntimeError, TypeError, IndexError, AssertionError, ImportError)
_COMPARED = {"self", "preds", "target", "img", "img1", "img2"}  # arguments of `update`
_WANTED = (
    f"name a class of {_HOME.rstrip('.')} that compares images, as {_HOME}VisualInformationFidelity"
)


class TorchMetric(Metric):
    """`metric`, a class such as torchmetrics.image.UniversalImageQualityIndex, image by image.

    settings: its keyword arguments. low, high: the range in which it takes values, and by default
    its data range; images are rounded to 8 bits first. name: the column; by default the class's.
    higher_is_better: needed where the class does not say. What torchmetrics raises becomes one
    InputError: missing packages or weights when it is built, sizes it does not take when `check`
    is asked.
    """

    takes_levels = True

    def __init__(
        self,
        metric: str,
        settings: dict[str, Any] | None = None,
        name: str | None = None,
        low: float = 0.0,
        high: float = 1.0,
        higher_is_better: bool | None = None,
    ) -> None:
        if not -math.inf < low < high < math.inf:
            raise InputError(f"metric {metric}: low={low} must be below high={high}")
        self.metric, used = _build(metric, settings or {}, high - low)
        self.name = name or type(self.metric).__name__
        better = self.metric.higher_is_better if higher_is_better is None else higher_is_better
        if better is None:
            raise InputError(f"metric {metric} does not say what is better: set higher_is_better")
        self.higher_is_better = better
        self.low, self.high = low, high
        self._takes_target = len(inspect.signature(type(self.metric).update).parameters) > 2
        self._checked: set[tuple[int, int, int]] = set()
        arguments = json.dumps(used, sort_keys=True)
        version = f"torchmetrics-{torchmetrics.__version__}"
        self.definition = f"{metric}/{arguments}/uint8/[{low:g},{high:g}]/per-image/{version}/v1"

    def check(self, channels: int, height: int, width: int) -> None:
        size = (channels, height, width)
        if size in self._checked:
            return
        generator = torch.Generator().manual_seed(0)
        image = torch.rand(1, *size, generator=generator)
        self._value(image * (self.high - self.low) + self.low, image, size)
        self._checked.add(size)

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        scale = (self.high - self.low) / 255
        pairs = zip(torch.split(restored, 1), torch.split(target, 1), strict=True)
        values = [
            self._value(
                (one * scale + self.low).float(),
                (clean * scale + self.low).float(),
                tuple(one.shape[1:]),
            )
            for one, clean in pairs
        ]
        return torch.tensor(values, dtype=torch.float64, device=target.device)

    def _value(self, restored: Tensor, target: Tensor, size: tuple[int, ...]) -> float:
        metric = self.metric.to(restored.device)
        metric.reset()
        try:
            metric.update(restored, target) if self._takes_target else metric.update(restored)
            return float(metric.compute())
        except _REFUSALS as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"metric {self.name} of images {list(size)}: {reason}") from None


def _build(
    path: str, settings: dict[str, Any], data_range: float
) -> tuple[torchmetrics.Metric, dict[str, Any]]:
    """The metric at the path, and its settings; its processes do not mix, each value is of one
    image."""
    kind = _find(path)
    updates = inspect.signature(kind.update).parameters
    if not set(updates) <= _COMPARED:
        raise InputError(f"metric={path} is of sets or layers of images: {_WANTED}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the memory that it takes over many images
            if "data_range" in inspect.signature(kind.__init__).parameters:
                # SSIM would take that of each pair, and call an error in low contrast a large one.
                settings = {"data_range": data_range, **settings}
            return kind(**settings, sync_on_compute=False), settings
    except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"metric={path} with settings={settings}: {reason}") from None


def _find(path: str) -> type[torchmetrics.Metric]:
    name = path.removeprefix(_HOME)
    if name == path or not name.isidentifier() or name.startswith("_"):
        raise InputError(f"metric={path}: {_WANTED}")
    found = getattr(torchmetrics.image, name, None)
    if found is None:
        raise InputError(f"metric={path} does not exist, or needs a missing package: {_WANTED}")
    if not (inspect.isclass(found) and issubclass(found, torchmetrics.Metric)):
        raise InputError(f"metric={path} is no metric: {_WANTED}")
    return found
