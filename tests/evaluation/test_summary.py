"""Means and times of an evaluation, computed by hand."""

import functools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from restore.data.digits import Digits
from restore.data.framing import CenterSquare
from restore.data.module import DataModule
from restore.degradation.mask import Half, Mask
from restore.evaluation import cost, runner
from restore.evaluation.baseline import MeanFill
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.loop import num_images
from restore.evaluation.method import Method, from_baseline
from restore.metric.base import Metric
from restore.metric.psnr import PSNR
from restore.types import Batch


def test_images_without_a_value_do_not_count() -> None:
    """A metric of holes is not defined for an image that has none."""
    values = [10.0, math.nan, 40.0, math.nan]
    buckets = ["a", "a", "b", "c"]
    rows = [
        {"index": i, "name": str(i), "bucket": bucket, "hole": value}
        for i, (bucket, value) in enumerate(zip(buckets, values, strict=True))
    ]
    summary = runner.summarise(rows)
    assert summary["hole"] == 25.0
    assert summary["hole[a]"] == 10.0 and summary["hole[b]"] == 40.0
    assert math.isnan(summary["hole[c]"])


class Clock:
    """Two seconds pass whenever it is looked at."""

    now = 0.0

    def perf_counter(self) -> float:
        self.now += 2.0
        return self.now


def of_five_digits(metric: Metric, method: Method, **trained: Any) -> runner.Report:
    """In batches of 2."""
    data = DataModule(
        source=functools.partial(Digits),
        degradation=Mask(Half("right")),
        train_framing=CenterSquare(8),
        eval_framing=CenterSquare(8),
        batch_size=2,
        limit=5,
    )
    benchmark = Benchmark("digits", data, {"metric": metric}, "protocol", "digits")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", enable_checkpointing=False, **quiet, **trained)
    return runner.evaluate(trainer, method, benchmark)


def test_seconds_are_those_of_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three batches of two seconds each, for five images; the first two images warm up."""
    monkeypatch.setattr(cost, "time", Clock())
    report = of_five_digits(PSNR(), from_baseline("mean_fill", MeanFill()))
    assert report.cost.seconds == pytest.approx(2 * 2 / 3)


class Precise(Metric):
    """1 where a product of what it is given is one of float32."""

    name, definition, higher_is_better = "precise", "precise/v1", True

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        product = target.flatten(2) @ target.flatten(2).mT
        return torch.full((len(target),), float(product.dtype == torch.float32))


def test_metrics_are_computed_in_float32_whatever_the_method_is_measured_in() -> None:
    seen = []

    def fill(observation: Any) -> Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return torch.as_tensor(MeanFill()(observation))

    report = of_five_digits(Precise(), from_baseline("mine", fill), precision="bf16-mixed")
    assert report.summary == {"precise": 1.0} and all(seen)


def test_calls_of_a_sampler_that_ends_by_itself_are_the_mean_over_all_samples() -> None:
    """However many of them each process has drawn; as planned where nothing was counted."""
    method = from_baseline("mean_fill", MeanFill())
    method.num_calls = 500
    assert runner._mean_calls(method, [[10, 20], [60], []]) == 30
    assert runner._mean_calls(method, [[], []]) == 500


def test_an_image_that_is_lost_or_measured_twice_ends_an_evaluation() -> None:
    benchmark: Any = SimpleNamespace(name="bench", data=SimpleNamespace(num_test=4))
    runner._check_once(benchmark, [0, 1, 2, 3], whole=True)
    runner._check_once(benchmark, [0, 2], whole=False)
    for found, whole in (
        ([0, 1, 2], True),
        ([0, 1, 3], True),
        ([0, 1, 2, 2], True),
        ([1, 1], False),
    ):
        with pytest.raises(RuntimeError, match="for 4 images"):
            runner._check_once(benchmark, found, whole)


def test_a_pass_that_is_cut_short_counts_the_batches_of_all_processes() -> None:
    """Two batches of 5 on each of 3 processes, but never more images than there are."""
    for limit, total, expected in ((2, 100, 30), (2, 17, 17), (1.0, 17, 17), (0.5, 100, 100)):
        trainer: Any = SimpleNamespace(limit_test_batches=limit, world_size=3)
        data = SimpleNamespace(num_test=total, batch_size=5)
        benchmark: Any = SimpleNamespace(data=data)
        assert num_images(trainer, benchmark) == expected
