"""What an exported model loses against the one that it was made of, on a benchmark."""

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from restore.config.compose import composed
from restore.evaluation import load
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.comparison import image_metrics
from restore.evaluation.loop import Row
from restore.evaluation.method import Method
from restore.evaluation.runner import evaluate
from restore.trainer import tester
from restore.types import InputError, RunError

LIMIT = 0.01  # dB that no format may cost
FIRST = 4  # images whose numbers a bundle keeps, so that any later version can repeat them
_DECIBELS = ("hole_psnr", "psnr")
_SAMPLING = ("sampler=", "sampler.", "guidance=", "guidance.")


class Checked(NamedTuple):
    """One format on one benchmark. lost_db: of the first metric in decibels that is measured."""

    benchmark: str
    format: str
    metric: str
    value: float
    lost_db: float
    megabytes: float
    milliseconds: float  # an image
    first: list[Row]


def measure(
    original: Method, exported: Method, name: str, bytes_: int, benchmarks: Sequence[str]
) -> list[Checked]:
    """Both on every benchmark, on the CPU in float32.

    Raises:
        InputError: a benchmark that does not serve the model or its export, or measures nothing in
            decibels; before the first is measured.
    """
    config = composed("evaluate", [f"benchmark=[{','.join(benchmarks)}]"])
    trainer, named = tester(config), load.benchmarks(config, original.num_calls)
    metrics = [_decibels(benchmark) for benchmark in named]
    for benchmark in named:
        benchmark.check_method(original)
        exported.check(benchmark.data.first("test"))
    rows = []
    for benchmark, metric in zip(named, metrics, strict=True):
        reports = [evaluate(trainer, method, benchmark) for method in (original, exported)]
        values = [report.summary[metric] for report in reports]
        rows.append(
            Checked(
                benchmark.name,
                name,
                metric,
                values[1],
                values[0] - values[1],
                bytes_ / 1e6,
                (reports[1].cost.seconds or math.nan) * 1000,
                reports[1].rows[:FIRST],
            )
        )
    return rows


def sampling(settings: Sequence[str]) -> dict[str, Any]:
    """Sampler and guidance as `--with` names them, in place of the model's own.

    Raises InputError for any other setting.
    """
    for one in settings:
        if not one.startswith(_SAMPLING):
            raise InputError(f"--with {one}: give sampler=, guidance= or keys of theirs")
    return load.named_sampling(composed("evaluate", settings)) if settings else {}


def _decibels(benchmark: Benchmark) -> str:
    measured = [metric.name for metric in benchmark.metrics]
    for metric in _DECIBELS:
        if metric in measured:
            return metric
    raise InputError(
        f"--check {benchmark.name} measures none of {', '.join(_DECIBELS)}: name another"
    )


def told(rows: Sequence[Checked]) -> str:
    """A table for people."""
    lines = [f"{'benchmark':<20} {'format':<10} {'dB':>8} {'lost':>8} {'MB':>7} {'ms/image':>9}"]
    lines += [
        f"{one.benchmark:<20} {one.format:<10} {one.value:8.3f} {one.lost_db:8.4f} "
        f"{one.megabytes:7.2f} {one.milliseconds:9.1f}"
        for one in rows
    ]
    return "\n".join(lines)


def check(rows: Sequence[Checked]) -> None:
    """Raises RunError where a format costs more than LIMIT."""
    for one in rows:
        if not one.lost_db <= LIMIT:
            raise RunError(
                f"{one.format} loses {one.lost_db:.4f} dB of {one.metric} on {one.benchmark}, more "
                f"than {LIMIT}: nothing was written"
            )


def kept(
    rows: Sequence[Checked], settings: Sequence[str] = (), source: str = "float32"
) -> dict[str, Any]:
    """What model.json keeps of it: the loss, and means over the first images, by benchmark.

    settings: as of `sampling`. source: how the model that it was measured against stores its
    weights, which is kept where that is not float32.
    """
    stated: dict[str, Any] = {"with": [*settings]} if settings else {}
    if source != "float32":
        stated["source"] = source
    return {
        one.benchmark: {
            "metric": one.metric,
            "value": round(one.value, 5),
            "lost_db": round(one.lost_db, 5),
            "first": len(one.first),
            "first_metrics": _means(one.first),
            **stated,
        }
        for one in rows
    }


def _means(rows: Sequence[Row]) -> dict[str, float]:
    """Of metrics that are defined for all of the images."""
    columns = {name: [float(row[name]) for row in rows] for name in image_metrics(rows)}
    return {
        name: round(statistics.fmean(column), 5)
        for name, column in columns.items()
        if all(map(math.isfinite, column))
    }
