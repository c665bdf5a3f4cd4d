"""The loop over a benchmark's batches: restore, measure, keep a few pictures."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from restore.callback.meter import Meter
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.cost import CostMeter
from restore.evaluation.method import Method
from restore.evaluation.pace import Pace
from restore.fellows import gather
from restore.image import to_unit
from restore.metric.base import measure_all
from restore.metric.distribution import update_all
from restore.picture import Spread, panel, select
from restore.types import Batch, InputError

Row = dict[str, Any]
NUM_PICTURES = 8


class Evaluation(LightningModule):
    """One pass of trainer.test over a process's share of a benchmark's data."""

    def __init__(self, method: Method, benchmark: Benchmark, shared: int | None = None) -> None:
        super().__init__()
        # A process gets no image where there are fewer of them than processes.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.module = method.module  # a submodule, so that the trainer moves it
        self.method = method
        self.benchmark = benchmark
        self.shared = shared  # pictures are of the first so many images; None: of all
        self.rows: list[Row] = []
        self.pictures: list[Tensor] = []
        self.costs = CostMeter(method)
        self._meter: Meter | None = None
        self._calls: Pace | None = None
        self._spread: Spread | None = None

    def setup(self, stage: str) -> None:
        """Measures the targets where not every process has found the same statistics of them.

        Each looks into a cache of its own machine, and what was kept is of all targets.
        """
        metrics = self.benchmark.distribution_metrics
        found = gather([metric.kept for metric in metrics], self.trainer.world_size)
        for metric, kept in zip(metrics, zip(*found, strict=True), strict=True):
            if len({*kept}) > 1:
                metric.forget_kept()

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
        """Keeps NUM_PICTURES images, spread over those shown that have the size of the first."""
        if self._spread is None:
            total = num_images(self.trainer, self.benchmark)
            self._spread = Spread(min(total, self.shared or total), NUM_PICTURES)
        size = self.pictures[0].shape[-2:] if self.pictures else restored.shape[-2:]
        places = self._spread.take(batch["index"]) if restored.shape[-2:] == size else []
        if places:
            few = panel(select(batch, places), restored[places].clamp(-1, 1)).cpu()
            self.pictures.extend(few)


def _check_restored(name: str, restored: Tensor, batch: Batch, num_samples: int) -> None:
    b, *size = batch["target"].shape
    if restored.shape != (b, num_samples, *size):
        raise InputError(
            f"{name} returned {tuple(restored.shape)} for {num_samples} samples of targets "
            f"{(b, *size)}: it does not serve this benchmark"
        )
    if not torch.isfinite(restored).all():
        raise InputError(f"{name} returned NaN or infinite pixels for {batch['name'][0]} ...")


def num_images(trainer: Trainer, benchmark: Benchmark) -> int:
    """The number of images in a pass: all, unless the trainer was told to stop early."""
    limit, total = trainer.limit_test_batches, benchmark.data.num_test
    batches = -(-total // benchmark.data.batch_size)
    taken = limit if isinstance(limit, int) else int((1.0 if limit is None else limit) * batches)
    return min(total, taken * benchmark.data.batch_size * trainer.world_size)
