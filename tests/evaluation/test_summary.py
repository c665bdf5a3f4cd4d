"""Means and times of an evaluation, computed by hand."""

import functools
import math

import pytest
from lightning.pytorch import Trainer

from restore.data.digits import Digits
from restore.data.framing import CenterSquare
from restore.data.module import DataModule
from restore.degradation.mask import Half, Mask
from restore.evaluation import cost, runner
from restore.evaluation.baseline import MeanFill
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.method import from_baseline
from restore.metric.psnr import PSNR


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


def test_seconds_are_those_of_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three batches of two seconds each, for five images; the first two images warm up."""
    data = DataModule(
        source=functools.partial(Digits),
        degradation=Mask(Half("right")),
        train_framing=CenterSquare(8),
        eval_framing=CenterSquare(8),
        batch_size=2,
        limit=5,
    )
    benchmark = Benchmark("digits", data, {"psnr": PSNR()}, "protocol", "digits")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", enable_checkpointing=False, **quiet)
    monkeypatch.setattr(cost, "time", Clock())
    report = runner.evaluate(trainer, from_baseline("mean_fill", MeanFill()), benchmark)
    assert report.cost.seconds == pytest.approx(2 * 2 / 3)
