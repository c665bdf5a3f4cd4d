"""A benchmark: data, frozen degradation, metrics and protocol under one name."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

from torch import Tensor

from restore.config.trust import foreign
from restore.data.module import DataModule
from restore.data.source import data_root
from restore.evaluation import measured_files
from restore.evaluation.header import TAKEN
from restore.evaluation.method import Method
from restore.image import to_unit
from restore.metric.base import Metric
from restore.metric.distribution import DistributionMetric
from restore.task.dry import check_sizes
from restore.task.restoration import RestorationTask
from restore.types import Batch, InputError, Observation

# Settings of its data that change how fast a benchmark runs or how a training on it goes, but not
# what it measures. Parts of the data may have their own of these names, as a degradation does.
_INCIDENTAL = {"batch_size", "num_workers", "cache_gb", "rotate", "brightness", "augment"}
_PLACE = "root"  # of files, of the data and of its parts
# Settings that came after the first recorded hashes, with the value that holds without them: it
# does not count, so that those hashes stay.
_WITHOUT = {"on_error": "error"}
SLOW = 500  # network calls an image
# What a class of metrics has to say, for whoever wrote one that does not.
_EXAMPLES = {
    "name": "'edge_error', its column",
    "definition": "'edge_error/v1', with a version",
    "higher_is_better": "True or False",
}
_PROBE = 32  # pixels of the side on which a method is tried out before work starts


class Benchmark:
    """The test split of `data`, restored num_samples times an image and measured by `metric`.

    bucket: names a group for every hole [B, 1, H, W]; metrics are averaged over all images and over
    each group. protocol, reference: hashes of the config, from `fingerprint`, of all of it and of
    what makes its targets. slow_limit: photos instead of data.limit for methods that cost more than
    SLOW network calls an image; `affordable` obeys it before this is made. task: hash of its data
    and degradation alone. by_files: which photos and which masks there are is a part of both
    hashes, as it must be for those of users.
    """

    def __init__(
        self,
        name: str,
        data: DataModule,
        metric: dict[str, Metric | DistributionMetric],
        protocol: str,
        reference: str,
        num_samples: int = 1,
        bucket: Callable[[Tensor], list[str]] | None = None,
        slow_limit: int | None = None,
        task: str = "",
        by_files: bool = False,
    ) -> None:
        if num_samples < 1:
            raise InputError(f"benchmark {name}: num_samples={num_samples} must be at least 1")
        self.name = name
        self.data = data
        self.metrics = _distinct(name, list(metric.values()))
        definitions = sorted(one.definition for one in self.metrics)
        self._protocol, self._task, self.by_files = digest([protocol, definitions]), task, by_files
        self._reference = digest([reference, str(data_root(data.root).resolve())])
        self.num_samples = num_samples
        self.bucket = bucket

    @property
    def protocol(self) -> str:
        return digest([self._protocol, *self._files]) if self.by_files else self._protocol

    @property
    def task(self) -> str:
        return digest([self._task, *self._files]) if self.by_files else self._task

    @property
    def reference(self) -> str:
        """A hash of the targets' config, and of files, which may be replaced."""
        return digest([self._reference, self._photos])

    @cached_property
    def _files(self) -> list[Any]:
        """The photos, and the masks where there are any: hashes of before masks counted stay."""
        masks = measured_files.masks(self.data.degradation)
        return [self._photos, masks] if masks else [self._photos]

    @cached_property
    def _photos(self) -> Sequence[Any]:
        samples = self.data.samples("test")
        if self.by_files:
            return measured_files.photos(samples)
        return measured_files.photo_files(samples)

    @property
    def image_metrics(self) -> list[Metric]:
        return [metric for metric in self.metrics if isinstance(metric, Metric)]

    @property
    def distribution_metrics(self) -> list[DistributionMetric]:
        return [metric for metric in self.metrics if isinstance(metric, DistributionMetric)]

    def check(self) -> None:
        """Raises InputError where files are missing or a metric does not fit the data."""
        batch = self.data.first("test")
        target = to_unit(batch["target"])
        samples = target[:, None].repeat_interleave(self.num_samples, dim=1)
        for metric in self.image_metrics:
            metric(samples if metric.takes_samples else target, target, batch)
        self._check_sizes()
        for distribution in self.distribution_metrics:
            if self.data.num_test < 2:
                raise InputError(
                    f"benchmark {self.name}: metric {distribution.name} needs 2 images or more, "
                    f"got {self.data.num_test}"
                )
            distribution.check(target)
        if self.bucket is not None and "hole" not in batch:
            raise InputError(f"benchmark {self.name}: bucket needs a degradation with holes")

    def _check_sizes(self) -> None:
        """Raises InputError for a photo that a metric cannot measure, as far as headers tell."""
        channels = self.data.first("test")["target"].shape[1]
        for name, height, width in self.data.sizes("test"):
            for metric in self.image_metrics:
                try:
                    metric.check(channels, height, width)
                except InputError as error:
                    raise InputError(f"benchmark {self.name}: {name}: {error}") from None

    def check_method(self, method: Method) -> None:
        """`check`, and whether the method serves the first image.

        A method that is no model is tried out on a corner of it; a model may cost minutes a call,
        and is tried where its network is somebody's own, which may not take the sizes.
        """
        self.check()
        batch = self.data.first("test")
        try:
            method.check(batch)
            if isinstance(method.module, RestorationTask):
                check_sizes(method.module, self.data)
        except InputError as error:
            label = method.checkpoint or method.name
            raise InputError(f"{label} on benchmark {self.name}: {error}") from None
        if method.kind not in ("model", "outputs", "function"):
            self._try_out(method, batch)

    def _try_out(self, method: Method, batch: Batch) -> None:
        corner: dict[str, Any] = {**batch}
        for key in corner.keys() & {"target", "input", "hole"}:
            corner[key] = corner[key][..., :_PROBE, :_PROBE]
        restored = method.restore(cast(Observation, corner), 1)[:, 0]
        wanted = corner["target"].shape
        if restored.shape != wanted:
            raise InputError(
                f"{method.name} on benchmark {self.name}: it returns images of "
                f"{restored.shape[1]} channels and the targets have {wanted[1]}; L wants "
                "baseline=grey or a colorizer"
            )


def _distinct(
    name: str, metrics: list[Metric | DistributionMetric]
) -> list[Metric | DistributionMetric]:
    """The metrics, of which each says what tables need to know of it."""
    for metric in metrics:
        _check_told(name, metric)
    columns = [metric.name for metric in metrics]
    for column in columns:
        if columns.count(column) > 1:
            raise InputError(f"benchmark {name}: two of its metrics are named {column}")
    if not metrics:
        raise InputError(f"benchmark {name} has no metric: give it one, as metric/psnr")
    return metrics


def _check_told(benchmark: str, metric: object) -> None:
    """Raises InputError for a metric that tables cannot show, before anything is measured."""
    kind = f"benchmark {benchmark}: metric {type(metric).__name__}"
    if not isinstance(metric, Metric | DistributionMetric):
        raise InputError(f"{kind} is no restore.metric.base.Metric: make it a subclass of it")
    for key, wanted in (("name", str), ("definition", str), ("higher_is_better", bool)):
        value = getattr(metric, key, None)
        if not isinstance(value, wanted) or value == "":
            said = f"says no {key}" if value is None else f"has {key}={value!r}"
            raise InputError(f"{kind} {said}: give the class {key} = {_EXAMPLES[key]}")
    if metric.name in TAKEN:
        raise InputError(f"{kind} is named {metric.name}, as a column of every table is: rename it")


def affordable(config: dict[str, Any], num_calls: int) -> dict[str, Any]:
    """The benchmark's config with fewer photos where the method needs many network calls."""
    limit = config.get("slow_limit")
    if limit is None or num_calls <= SLOW:
        return config
    own = config["data"].get("limit")
    return {**config, "data": {**config["data"], "limit": min(limit, own or limit)}}


def fingerprint(config: Mapping[str, Any], *without: str) -> str:
    """Twelve hex digits that identify data, degradation, metrics and protocol of a benchmark.

    config: that of a benchmark, or of its data. Where its files lie, and batch_size, num_workers,
    cache_gb, rotate, brightness and augment of the data do not count, nor the top-level keys
    `without`. The code of classes that are not restore's counts.
    """

    def counts(key: str, value: Any) -> bool:
        return key not in _INCIDENTAL and not (key in _WITHOUT and value == _WITHOUT[key])

    def essential(node: Any, is_part: bool = False) -> Any:
        if isinstance(node, Mapping):
            return {
                key: essential(value, is_part or key != "data")
                for key, value in node.items()
                if key != _PLACE and (is_part or counts(key, value))
            }
        return [essential(one, is_part) for one in node] if isinstance(node, list) else node

    counted = essential({k: v for k, v in config.items() if k not in without})
    own = foreign(counted)
    return digest([counted, own] if own else counted)  # hashes of before code counted stay


def digest(node: Any) -> str:
    return hashlib.sha256(json.dumps(node, sort_keys=True).encode()).hexdigest()[:12]
