"""Runs a method over a benchmark: every image exactly once, on any number of processes."""

import math
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, distributed

from restore.callback.samples import first, panel
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.method import Method
from restore.image import to_unit
from restore.types import Batch, InputError

Row = dict[str, Any]
NUM_PICTURES = 8


@dataclass
class Report:
    """What one method did on one benchmark. rows: per image, by index; summary: metric -> mean."""

    method: Method
    benchmark: Benchmark
    rows: list[Row]
    summary: dict[str, float]
    pictures: Tensor  # [K, N + 2, C, H, W] in [-1, 1]: input | samples | target, first images
    seconds_per_image: float
    device: str


class Evaluation(LightningModule):
    """One pass of trainer.test over a benchmark's data; `report` is filled on every process."""

    def __init__(self, method: Method, benchmark: Benchmark) -> None:
        super().__init__()
        self.module = method.module  # a submodule, so that the trainer moves it
        self.method = method
        self.benchmark = benchmark
        self.rows: list[Row] = []
        self.pictures: Tensor | None = None
        self.seconds = 0.0
        self.report: Report | None = None

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        start = time.perf_counter()
        restored = self.method.restore(batch, self.benchmark.num_samples).float()
        if restored.is_cuda:
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - start
        _check_restored(self.method.name, restored, batch, self.benchmark.num_samples)
        self.rows.extend(self._measure(batch, restored))
        if batch_idx == 0:
            few = first(batch, NUM_PICTURES)
            self.pictures = panel(few, restored[:NUM_PICTURES].clamp(-1, 1)).cpu()

    def _measure(self, batch: Batch, restored: Tensor) -> list[Row]:
        target = to_unit(batch["target"])
        unit = to_unit(restored)
        columns: dict[str, list[float]] = {}
        for metric in self.benchmark.metrics:
            values = (
                metric(unit, target, batch)
                if metric.takes_samples
                else torch.stack(
                    [metric(unit[:, n], target, batch) for n in range(unit.shape[1])]
                ).mean(dim=0)
            )
            columns[metric.name] = values.tolist()
        buckets = [""] * len(target)
        if self.benchmark.bucket is not None:
            if "hole" not in batch:
                raise InputError(f"benchmark {self.benchmark.name}: bucket needs a hole")
            buckets = self.benchmark.bucket(batch["hole"])
        return [
            {"index": int(batch["index"][i]), "name": batch["name"][i], "bucket": buckets[i]}
            | {name: values[i] for name, values in columns.items()}
            for i in range(len(target))
        ]

    def on_test_epoch_end(self) -> None:
        parts: list[Any] = [(self.rows, self.seconds)]
        if distributed.is_available() and distributed.is_initialized():
            parts = [None] * distributed.get_world_size()
            distributed.all_gather_object(parts, (self.rows, self.seconds))
        rows = sorted((row for part, _ in parts for row in part), key=lambda row: row["index"])
        self._check_once([row["index"] for row in rows])
        assert self.pictures is not None or not self.trainer.is_global_zero
        self.report = Report(
            self.method,
            self.benchmark,
            rows,
            summarise(rows),
            self.pictures if self.pictures is not None else torch.empty(0),
            sum(seconds for _, seconds in parts) / len(rows),
            self.device.type,
        )

    def _check_once(self, indices: list[int]) -> None:
        """Every image exactly once, unless the trainer was told to stop early (debug=smoke)."""
        expected = len(self.benchmark.data.samples("test"))
        limit = self.trainer.limit_test_batches  # 1 is one batch, 1.0 is all of them
        whole = isinstance(limit, float) and limit == 1.0
        if len(set(indices)) != len(indices) or (whole and indices != list(range(expected))):
            raise RuntimeError(
                f"{self.benchmark.name}: {len(indices)} results, {len(set(indices))} of them "
                f"different, for {expected} images"
            )


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


def evaluate(trainer: Trainer, method: Method, benchmark: Benchmark) -> Report:
    """Runs `method` over the test split of `benchmark` on the devices of `trainer`."""
    evaluation = Evaluation(method, benchmark)
    trainer.test(evaluation, datamodule=benchmark.data, verbose=False)
    assert evaluation.report is not None
    return evaluation.report
