"""data.num_workers=auto becomes a number that the machine can use, before data is built."""

from pathlib import Path
from typing import Any

import pytest
import torch
from entry import Command

from restore import launch, workers
from restore.config.compose import composed
from restore.training import run
from restore.workers import choose, processes, settle


@pytest.mark.parametrize(
    ("device", "cores", "wanted"),
    [
        ("cpu", 1, 0), ("cpu", 2, 0), ("cpu", 4, 2), ("cpu", 64, 2),
        ("cuda", 1, 1), ("cuda", 2, 1), ("cuda", 4, 3), ("cuda", 16, 8), ("mps", 10, 8),
    ],
)  # fmt: skip
def test_a_gpu_is_fed_and_two_cores_are_left_to_the_network(
    device: Any, cores: int, wanted: int
) -> None:
    assert choose(device, cores) == wanted


@pytest.mark.parametrize(
    ("device", "devices", "wanted"),
    [("cpu", 2, 2), ("cpu", "auto", 1), ("cuda", -1, 4), ("cuda", "auto", 4), ("cuda", [0, 2], 2),
     ("cuda", "0,1,3", 3), ("cuda", "1", 1), ("cuda", 0, 1)],
)  # fmt: skip
def test_processes_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, device: Any, devices: Any, wanted: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert processes(device, devices) == wanted
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")  # a launcher has started them
    assert processes(device, devices) == 8


def config(own: Any, other: Any) -> dict[str, Any]:
    return {
        "trainer": {"accelerator": "gpu", "devices": 2},
        "data": {"num_workers": own, "root": "a"},
        "benchmark": {"one": {"data": {"num_workers": other}}, "two": {"data": {}}, "three": {}},
    }


def test_each_auto_becomes_the_number_and_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "device_of", lambda accelerator: "cuda")
    monkeypatch.setattr(launch, "cores", lambda: 8)
    made, notes = settle(config("auto", "auto"), ["a"])
    assert made == config(3, 3)
    assert notes == ["a", "workers: 3 a process (a GPU, 8 cores)"]
    assert settle(config(5, "auto"), [])[0] == config(5, 3)
    given = config(5, 0)
    assert settle(given, ["a"]) == (given, ["a"])


def test_on_two_cores_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "device_of", lambda accelerator: "cpu")
    monkeypatch.setattr(launch, "cores", lambda: 2)
    assert settle(config("auto", 1), []) == (config(0, 1), [])


def test_a_training_and_an_evaluation_take_the_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: Command
) -> None:
    monkeypatch.setattr(launch, "cores", lambda: 8)
    settings = ["experiment=denoise_photos_regression", "benchmark=[]"]
    made = run.prepare(composed("train", settings), tmp_path / "run", "id", settings, {})
    assert made.data.num_workers == 2 and made.config["data"]["num_workers"] == 2
    assert "workers: 2 a process (a CPU, 8 cores)" in made.notes
    few = ("baseline=mean_fill", "benchmark=digits_half", "benchmark.digits_half.data.limit=2")
    ended = command(*few, script="evaluate")
    assert ended.code == 0 and "workers: 2 a process (a CPU, 8 cores)" in ended.out
