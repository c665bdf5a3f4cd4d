"""Runs a method over a benchmark: every image exactly once, on any number of processes."""

import math
import statistics
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from restore.evaluation import memory
from restore.evaluation.benchmark import Benchmark, digest
from restore.evaluation.comparison import Interval, image_metrics, intervals
from restore.evaluation.cost import Cost, total
from restore.evaluation.loop import Evaluation, Row, num_images
from restore.evaluation.method import Method
from restore.fellows import gather
from restore.metric.distribution import COMPARABLE
from restore.precision import EXACT, exact
from restore.types import InputError


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
        """The protocol of the benchmark. Its first images alone have another one, so that no table
        puts them beside the whole."""
        own = self.benchmark.protocol
        return own if self.whole else digest([own, len(self.rows)])

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Metric of an image -> its mean over all images with its 95 % bootstrap interval."""
        return intervals(self.rows)


def summarise(rows: list[Row]) -> dict[str, float]:
    """Means over all images as `metric`, and over every bucket as `metric[bucket]`."""
    groups = {"": rows}
    for bucket in sorted({row["bucket"] for row in rows} - {""}):
        groups[f"[{bucket}]"] = [row for row in rows if row["bucket"] == bucket]
    return {
        f"{metric}{group}": _mean([row[metric] for row in members])
        for group, members in groups.items()
        for metric in image_metrics(rows)
    }


def undefined(rows: list[Row]) -> list[str]:
    """A line for each metric that some images do not have, which its mean leaves out."""
    lacks = {metric: sum(math.isnan(row[metric]) for row in rows) for metric in image_metrics(rows)}
    return [
        f"{metric}: not defined for {lack} of {len(rows)} images, which its mean leaves out"
        for metric, lack in lacks.items()
        if lack
    ]


def _mean(values: list[float]) -> float:
    """The mean over the images for which the metric is defined; NaN where it is for none."""
    defined = [value for value in values if not math.isnan(value)]
    return statistics.fmean(defined) if defined else math.nan


def evaluate(
    trainer: Trainer,
    method: Method,
    benchmark: Benchmark,
    batch_size: int | None = None,
    shared: int | None = None,
) -> Report:
    """Runs `method` over the test split of `benchmark` on the devices of `trainer`.

    batch_size: images a batch; None takes as many as the benchmark's data wants and fit into the
    memory. No number depends on it by more than the rounding of float32 sums. shared: pictures are
    of the first so many images, which others that they stand beside have, too.
    The report is the same on every process, but for the pictures, which are of its own images.
    """
    device = trainer.strategy.root_device
    benchmark.data.batch_size = batch_size or memory.batch_size(benchmark, device)
    if num_images(trainer, benchmark) == 0:
        limit = trainer.limit_test_batches
        raise InputError(f"trainer.limit_test_batches={limit} leaves no image of {benchmark.name}")
    evaluation = _run(trainer, method, benchmark, shared)
    states = [metric.state() for metric in benchmark.distribution_metrics]
    parts = gather(
        (evaluation.rows, evaluation.costs.part, states, method.calls), trainer.world_size
    )
    rows = sorted((row for part in parts for row in part[0]), key=lambda row: int(row["index"]))
    _check_once(benchmark, [row["index"] for row in rows], _is_whole(trainer))
    distances, notes = _merge(benchmark, [part[2] for part in parts])
    return Report(
        method=method,
        benchmark=benchmark,
        rows=rows,
        summary=summarise(rows) | distances,
        pictures=torch.stack(evaluation.pictures) if evaluation.pictures else torch.empty(0),
        cost=total(method, [part[1] for part in parts]),
        device=device.type,
        precision=str(trainer.precision),
        notes=notes + undefined(rows),
        num_calls=_mean_calls(method, [part[3] for part in parts]),
        whole=len(rows) == benchmark.data.num_test,
    )


@exact()
def _run(trainer: Trainer, method: Method, benchmark: Benchmark, shared: int | None) -> Evaluation:
    """Runs this process's share of the benchmark."""
    for metric in benchmark.distribution_metrics:
        metric.reset()
        if _is_whole(trainer):
            metric.use_cache(benchmark.reference)
    evaluation = Evaluation(method, benchmark, shared)
    method.calls.clear()
    try:
        trainer.test(evaluation, datamodule=benchmark.data, verbose=False)
    finally:
        evaluation.close()
    return evaluation


def _merge(benchmark: Benchmark, states: list[list[Any]]) -> tuple[dict[str, float], list[str]]:
    """Distribution metrics over the images of all processes, and what a reader must know of them.

    states: of each process, the state of each metric.
    """
    values, notes = {}, []
    for k, metric in enumerate(benchmark.distribution_metrics):
        metric.reset()
        for state in states:
            metric.merge(state[k])
        values[metric.name] = metric.compute()
        if math.isnan(values[metric.name]):
            notes.append(f"{metric.name}: what was kept is of other targets, run again to measure")
        if not metric.comparable:
            notes.append(f"{metric.name}: of less than {COMPARABLE} images, compare equal n only")
    return values, notes


def _mean_calls(method: Method, parts: list[list[int]]) -> int:
    """Network calls for a sample, the mean over the samples of all processes."""
    made = [calls for part in parts for calls in part]
    return round(statistics.fmean(made)) if made else method.num_calls


def _is_whole(trainer: Trainer) -> bool:
    """Whether the trainer was not told to stop early (debug=smoke): 1 is one batch, 1.0 is all."""
    limit = trainer.limit_test_batches
    return isinstance(limit, float) and limit == 1.0


def _check_once(benchmark: Benchmark, indices: list[int], whole: bool) -> None:
    """Raises RuntimeError unless every image was measured exactly once."""
    expected = benchmark.data.num_test
    if len(set(indices)) != len(indices) or (whole and indices != list(range(expected))):
        raise RuntimeError(
            f"{benchmark.name}: {len(indices)} results, {len(set(indices))} of them "
            f"different, for {expected} images"
        )
