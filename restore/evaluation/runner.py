"""Runs a method over a benchmark: every image exactly once, on any number of processes."""

import math
import statistics
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, distributed

from restore.callback.meter import Meter
from restore.evaluation import memory
from restore.evaluation.benchmark import Benchmark, digest
from restore.evaluation.comparison import Interval, intervals
from restore.evaluation.cost import Cost, CostMeter, total
from restore.evaluation.method import Method
from restore.evaluation.pace import Pace
from restore.image import to_unit
from restore.metric.base import measure_all
from restore.metric.distribution import COMPARABLE, update_all
from restore.picture import Spread, panel, select
from restore.types import Batch, InputError

Row = dict[str, Any]
EXACT = "32-true"  # Lightning's word for float32 throughout
NUM_PICTURES = 8


@dataclass
class Report:
    """What one method did on one benchmark. rows: per image, by index; summary: metric -> value."""

    method: Method
    benchmark: Benchmark
    rows: list[Row]
    summary: dict[str, float]
    pictures: Tensor  # [K, 2 or 3 + N, C, H, W] in [-1, 1]: rows of `picture.panel`
    cost: Cost
    device: str
    precision: str = EXACT  # of the method; metrics are computed in float32 always
    notes: list[str] = field(default_factory=list)  # what a reader of the numbers must know
    num_calls: int = 0  # of the network for a sample, their mean where they vary
    whole: bool = True  # whether all images of the benchmark were measured

    @property
    def protocol(self) -> str:
        """Of the benchmark; of its first images another one, which no table puts beside it."""
        own = self.benchmark.protocol
        return own if self.whole else digest([own, len(self.rows)])

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Metric of an image -> its mean over all images with its 95 % bootstrap interval."""
        return intervals(self.rows)


class Evaluation(LightningModule):
    """One pass of trainer.test over a process's share of a benchmark's data."""

    def __init__(self, method: Method, benchmark: Benchmark) -> None:
        super().__init__()
        # A process gets no image where there are fewer of them than processes.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.module = method.module  # a submodule, so that the trainer moves it
        self.method = method
        self.benchmark = benchmark
        self.rows: list[Row] = []
        self.pictures: list[Tensor] = []
        self.costs = CostMeter(method)
        self._meter: Meter | None = None
        self._calls: Pace | None = None
        self._spread: Spread | None = None

    def on_test_start(self) -> None:
        if self.trainer.is_global_zero:
            title = f"{self.method.name} on {self.benchmark.name}: image"
            self._meter = Meter(title, num_images(self.trainer, self.benchmark))

    def on_test_end(self) -> None:
        self.close()

    def close(self) -> None:
        if self._meter is not None:
            self._meter.close()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        with self._pace():
            restored = self.costs.restore(batch, self.benchmark.num_samples)
        _check_restored(self.method.name, restored, batch, self.benchmark.num_samples)
        with torch.autocast(self.device.type, enabled=False):
            self.rows.extend(self._measure(batch, restored))
        self._keep_pictures(batch, restored)
        if self._meter is not None:
            self._meter.update(len(self.rows) * self.trainer.world_size)

    def _pace(self) -> AbstractContextManager[object]:
        """Shows calls/s where an image costs many."""
        network = getattr(self.method.module, "network", None)
        if self._meter is None or self.method.num_calls <= 1 or network is None:
            return nullcontext()
        if self._calls is None:
            self._calls = Pace(network, self._meter)
        return self._calls

    def _measure(self, batch: Batch, restored: Tensor) -> list[Row]:
        target = to_unit(batch["target"])
        unit = to_unit(restored)
        update_all(self.benchmark.distribution_metrics, unit, target, batch["index"])
        values = measure_all(self.benchmark.image_metrics, unit, target, batch)
        columns = {name: value.tolist() for name, value in values.items()}
        buckets = [""] * len(target)
        if self.benchmark.bucket is not None:
            buckets = self.benchmark.bucket(batch["hole"])
        return [
            {"index": int(batch["index"][i]), "name": batch["name"][i], "bucket": buckets[i]}
            | {name: column[i] for name, column in columns.items()}
            for i in range(len(target))
        ]

    def _keep_pictures(self, batch: Batch, restored: Tensor) -> None:
        """NUM_PICTURES images spread over all, of those that have the size of the very first."""
        if self._spread is None:
            self._spread = Spread(num_images(self.trainer, self.benchmark), NUM_PICTURES)
        size = self.pictures[0].shape[-2:] if self.pictures else restored.shape[-2:]
        places = self._spread.take(batch["index"]) if restored.shape[-2:] == size else []
        if places:
            few = panel(select(batch, places), restored[places].clamp(-1, 1)).cpu()
            self.pictures.extend(few)


def summarise(rows: list[Row]) -> dict[str, float]:
    """Means over all images as `metric`, and over every bucket as `metric[bucket]`."""
    metrics = [key for key in rows[0] if key not in ("index", "name", "bucket")]
    groups = {"": rows}
    for bucket in sorted({row["bucket"] for row in rows} - {""}):
        groups[f"[{bucket}]"] = [row for row in rows if row["bucket"] == bucket]
    return {
        f"{metric}{group}": _mean([row[metric] for row in members])
        for group, members in groups.items()
        for metric in metrics
    }


def _mean(values: list[float]) -> float:
    """Over the images for which the metric is defined; NaN where it is for none."""
    defined = [value for value in values if not math.isnan(value)]
    return statistics.fmean(defined) if defined else math.nan


def _check_restored(name: str, restored: Tensor, batch: Batch, num_samples: int) -> None:
    b, *size = batch["target"].shape
    if restored.shape != (b, num_samples, *size):
        raise InputError(
            f"{name} returned {tuple(restored.shape)} for {num_samples} samples of targets "
            f"{(b, *size)}: it does not serve this benchmark"
        )
    if not torch.isfinite(restored).all():
        raise InputError(f"{name} returned NaN or infinite pixels for {batch['name'][0]} ...")


def evaluate(
    trainer: Trainer, method: Method, benchmark: Benchmark, batch_size: int | None = None
) -> Report:
    """Runs `method` over the test split of `benchmark` on the devices of `trainer`.

    batch_size: images a batch; None takes as many as the benchmark's data wants and fit into the
    memory. No number depends on it by more than the rounding of float32 sums.
    The report is the same on every process, but for the pictures, which are of its own images.
    """
    whole = _is_whole(trainer)
    for metric in benchmark.distribution_metrics:
        metric.reset()
        if whole:
            metric.use_cache(benchmark.reference)
    device = trainer.strategy.root_device
    benchmark.data.batch_size = batch_size or memory.batch_size(benchmark, device)
    evaluation = Evaluation(method, benchmark)
    method.calls.clear()
    try:
        trainer.test(evaluation, datamodule=benchmark.data, verbose=False)
    finally:
        evaluation.close()
    states = [metric.state() for metric in benchmark.distribution_metrics]
    parts = _gather(
        (evaluation.rows, evaluation.costs.part, states, method.calls), trainer.world_size
    )
    rows = sorted((row for part in parts for row in part[0]), key=lambda row: int(row["index"]))
    _check_once(benchmark, [row["index"] for row in rows], whole)
    summary = summarise(rows)
    notes = []
    for k, metric in enumerate(benchmark.distribution_metrics):
        metric.reset()
        for part in parts:
            metric.merge(part[2][k])
        summary[metric.name] = metric.compute()
        if not metric.comparable:
            notes.append(f"{metric.name}: of less than {COMPARABLE} images, compare equal n only")
    return Report(
        method=method,
        benchmark=benchmark,
        rows=rows,
        summary=summary,
        pictures=torch.stack(evaluation.pictures) if evaluation.pictures else torch.empty(0),
        cost=total(method, [part[1] for part in parts]),
        device=trainer.strategy.root_device.type,
        precision=str(trainer.precision),
        notes=notes,
        num_calls=_mean_calls(method, [part[3] for part in parts]),
        whole=len(rows) == benchmark.data.num_test,
    )


def _mean_calls(method: Method, parts: list[list[int]]) -> int:
    """Of the network for a sample, by those of all processes."""
    made = [calls for part in parts for calls in part]
    return round(statistics.fmean(made)) if made else method.num_calls


def _gather(own: Any, world_size: int) -> list[Any]:
    """What every process gives, in the order of ranks.

    Not in a hook of the module: Lightning calls none where a process has no image, and the others
    would wait for it for ever.
    """
    parts = [own] * world_size
    if world_size > 1:
        distributed.all_gather_object(parts, own)
    return parts


def num_images(trainer: Trainer, benchmark: Benchmark) -> int:
    """Images that a pass takes: all, unless the trainer was told to stop early."""
    limit, total = trainer.limit_test_batches, benchmark.data.num_test
    batches = -(-total // benchmark.data.batch_size)
    taken = limit if isinstance(limit, int) else int((1.0 if limit is None else limit) * batches)
    return min(total, taken * benchmark.data.batch_size * trainer.world_size)


def _is_whole(trainer: Trainer) -> bool:
    """Whether the trainer was not told to stop early (debug=smoke): 1 is one batch, 1.0 is all."""
    limit = trainer.limit_test_batches
    return isinstance(limit, float) and limit == 1.0


def _check_once(benchmark: Benchmark, indices: list[int], whole: bool) -> None:
    """Every image exactly once."""
    expected = benchmark.data.num_test
    if len(set(indices)) != len(indices) or (whole and indices != list(range(expected))):
        raise RuntimeError(
            f"{benchmark.name}: {len(indices)} results, {len(set(indices))} of them "
            f"different, for {expected} images"
        )
