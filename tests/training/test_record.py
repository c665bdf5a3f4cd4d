"""The record of a training names where it was trained."""

import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from restore.config.compose import composed
from restore.evaluation import load
from restore.evaluation import record as origin
from restore.evaluation.runner import Report
from restore.recovery import lock
from restore.training import fit, run


def test_a_training_on_a_gpu_is_recorded_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the end Lightning takes the task back to the processor."""
    settings = ["experiment=denoise_photos_regression", "debug=smoke", "benchmark=[]"]
    made = run.prepare(composed("train", settings), tmp_path, "id", settings, {})
    made.folder.mkdir(exist_ok=True)
    monkeypatch.setattr(made.trainer.strategy, "_root_device", torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5 * 2**20)
    monkeypatch.setattr(fit, "best_checkpoint", lambda run: tmp_path / "best.ckpt")
    found = fit.record(made, fit.spent(made), {}, [], {})
    assert made.task.device.type == "cpu"
    assert found["device"] == "a GPU" and found["training"]["peak_memory_mib"] == 5


def test_the_memory_of_a_training_is_not_that_of_its_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Costs of an evaluation are counted from a peak that begins anew at each batch."""
    settings = ["experiment=denoise_photos_regression", "debug=smoke", "benchmark=[]"]
    made = run.prepare(composed("train", settings), tmp_path, "id", settings, {})
    peak = {"bytes": 5 * 2**20}

    def evaluated(one: run.Run) -> list[Report]:
        peak["bytes"] = 2**20
        return []

    monkeypatch.setattr(fit, "fit", lambda one, again: {})
    monkeypatch.setattr(fit, "evaluate", evaluated)
    monkeypatch.setattr(origin, "peak_memory", lambda device: peak["bytes"])
    monkeypatch.setattr(fit, "best_checkpoint", lambda one: tmp_path / "best.ckpt")
    assert fit.train(made)["training"]["peak_memory_mib"] == 5
    lock.release()


def test_a_processor_whose_model_linux_does_not_tell_has_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(origin, "cpuinfo", lambda *names: "")
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert origin.device_name("cpu").startswith(f"{platform.machine()}, ")


def test_a_machine_without_git_has_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of containers seldom have it, and a record is written when all has been trained."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = origin.provenance("cpu")
    assert (found["commit"], found["dirty"]) == ("", False)


def test_the_best_checkpoint_is_trusted_as_far_as_its_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A library that a config names without `packages` is as strange in a checkpoint as any."""
    seen: list[Any] = []
    monkeypatch.setattr(fit, "best_checkpoint", lambda run: Path("best.ckpt"))
    monkeypatch.setattr(load, "method", lambda path, config: seen.append(config))
    monkeypatch.setattr(fit, "measure", lambda *given: "a report")
    loss = {"_target_": "mylab.Stages", "loss": {"_target_": "kornia.losses.CharbonnierLoss"}}
    config = {"packages": ["mylab"], "task": {"loss": {"mine": loss}}}
    made: Any = SimpleNamespace(config=config, tester=None)
    made.benchmarks = [SimpleNamespace(by_files=False)]
    made.trainer = SimpleNamespace(is_global_zero=True)
    assert fit.evaluate(made) == ["a report"]
    assert seen == [{"packages": ["mylab", "kornia"]}]
