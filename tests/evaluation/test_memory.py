"""The size of a batch changes no number beyond the rounding of float32."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from restore.evaluation import memory
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.evaluate import plan
from restore.evaluation.method import Method
from restore.evaluation.runner import evaluate
from restore.types import Batch


@pytest.mark.parametrize(
    ("own", "side", "samples", "gib", "expected"),
    [
        (64, 28, 1, 16, 64),  # as many as the data wants
        (64, 256, 1, 16, 4),  # 2 GiB / (256 * 256 * 8 KiB)
        (64, 256, 2, 16, 2),
        (64, 2048, 1, 16, 1),  # never none
        (1, 8, 1, 16, 1),  # sizes vary
    ],
)
def test_images_fit_into_an_eighth_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, own: int, side: int, samples: int, gib: int, expected: int
) -> None:
    monkeypatch.setattr(memory, "total", lambda device: gib * 2**30)
    first = {"target": torch.zeros(1, 3, side, side)}
    data = SimpleNamespace(batch_size=own, first=lambda split: first)
    benchmark = cast(Benchmark, SimpleNamespace(data=data, num_samples=samples))
    assert memory.batch_size(benchmark, torch.device("cpu")) == expected


def test_a_container_has_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more than the machine, of which it may be promised all."""
    limit, device = tmp_path / "memory.max", torch.device("cpu")
    monkeypatch.setattr(memory, "_LIMIT", limit)
    whole = memory.total(device)
    for stated, expected in ((f"{2**28}\n", 2**28), ("max\n", whole), (str(2**60), whole)):
        limit.write_text(stated)
        assert memory.total(device) == expected


def test_the_memory_of_this_machine_is_known() -> None:
    assert 2**28 < memory.total(torch.device("cpu")) < 2**46


def test_numbers_agree_whatever_the_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from test_runner import make, make_trainer

    monkeypatch.setenv("RESTORE_CACHE", str(tmp_path))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, 1, 3, 1, 1))

    def restore(batch: Batch, num_samples: int) -> Tensor:
        result: Tensor = network(batch["input"])
        return result[:, None]

    trainer: Trainer = make_trainer()
    reports = [
        evaluate(trainer, Method("net", "model", restore, module=network), make(7, 5), size)
        for size in (1, 2, 7, None)
    ]
    for other in reports[1:]:
        assert other.summary["psnr"] == pytest.approx(reports[0].summary["psnr"], abs=1e-3)
        assert [row["index"] for row in other.rows] == list(range(7))
    assert reports[3].benchmark.data.batch_size == 5


def test_the_calls_are_told_before_the_work(make_report: Any) -> None:
    def pair(name: str, num_calls: int) -> Any:
        made = make_report(name, num_calls=num_calls)
        made.benchmark.data, made.benchmark.num_samples = SimpleNamespace(num_test=500), 2
        return made.method, made.benchmark

    assert plan([pair("ddpm", 210), pair("telea", 0)]) == [
        "ddpm on bench: 500 images, 2 samples each, 210 network calls a sample",
        "telea on bench: 500 images",
        "210000 network calls in all",
    ]
