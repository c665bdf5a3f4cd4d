from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from restore.evaluation.benchmark import Benchmark
from restore.evaluation.cost import Cost
from restore.evaluation.loop import Row
from restore.evaluation.method import Method
from restore.evaluation.runner import Report, summarise
from restore.metric.base import Metric
from restore.metric.psnr import PSNR, HoleL1, HolePSNR

MakeReport = Callable[..., Report]


def rows_of(values: dict[str, list[float]], buckets: list[str]) -> list[Row]:
    n = len(next(iter(values.values())))
    return [
        {"index": i, "name": f"{i:03}", "bucket": buckets[i % len(buckets)]}
        | {metric: column[i] for metric, column in values.items()}
        for i in range(n)
    ]


@pytest.fixture
def make_report() -> MakeReport:
    """A report of given values per image; no data, no network."""

    def make(
        name: str = "mine",
        values: dict[str, list[float]] | None = None,
        *,
        kind: str = "baseline",
        benchmark: str = "bench",
        protocol: str = "0123456789ab",
        buckets: list[str] | None = None,
        metrics: dict[str, Metric] | None = None,
        size: tuple[int, int, int] = (3, 32, 48),
        num_samples: int = 1,
        cost: Cost | None = None,
        **of_method: Any,
    ) -> Report:
        rows = rows_of(values or {"psnr": [20.0, 30.0]}, buckets or [""])
        known = {"psnr": PSNR(), "hole_psnr": HolePSNR(), "hole_l1": HoleL1()}
        metrics = metrics or {key: known[key] for key in known if key in rows[0]}
        method = Method(
            name, cast(Any, kind), lambda batch, n: batch["target"][:, None], **of_method
        )
        method.module = of_method.get("module", nn.Identity())
        return Report(
            method=method,
            benchmark=cast(
                Benchmark,
                SimpleNamespace(
                    name=benchmark,
                    metrics=list(metrics.values()),
                    protocol=protocol,
                    num_samples=num_samples,
                ),
            ),
            rows=rows,
            summary=summarise(rows),
            pictures=torch.linspace(-1, 1, 2 + num_samples)
            .view(1, -1, 1, 1, 1)
            .expand(2, -1, *size),
            cost=cost or Cost(seconds=0.25),
            device="cpu",
            num_calls=method.num_calls,
        )

    return make
