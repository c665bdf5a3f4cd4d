"""Training and evaluation through their own entry points, in this process, on embedded digits."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from entry import ROOT, Command

TINY = (
    "task.network.width=4",
    "task.network.attention=[]",
    "sampler.num_steps=4",
    "sampler.jump_length=2",
    "sampler.jump_count=1",
    "benchmark.digits_half.data.limit=10",
    "data.limit=32",
    "++callback.samples.num_images=2",
    "+trainer.enable_progress_bar=false",
    "~callback.progress",
    "trainer.val_check_interval=2",
    "trainer.log_every_n_steps=1",
)


def train(command: Command, folder: Path, *settings: str) -> Path:
    ended = command(*TINY, f"hydra.run.dir={folder}", *settings)
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0] == str(folder)
    assert ended.out.splitlines()[-1].startswith("next: python ")
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    state: dict[str, torch.Tensor] = content["state_dict"]
    return state


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_record_of_a_run_and_its_evaluation(command: Command, tmp_path: Path) -> None:
    run = train(command, tmp_path / "run", "max_updates=3")
    result: dict[str, Any] = json.loads((run / "result.json").read_text())
    assert result["training"]["updates"] == 3
    assert result["training"]["images"] == 3 * 64
    assert result["validation"]["val/loss"] > 0
    assert "max_updates=3" in result["overrides"]
    assert [int(row["step"]) for row in rows(run / "metrics.csv") if row["train/loss"]] == [1, 2, 3]
    assert [int(row["step"]) for row in rows(run / "metrics.csv") if row["val/loss"]] == [2, 3]
    written = ("config.yaml", "curve.png", "comparison.png", "checkpoints/best.ckpt")
    for name in (*written, "checkpoints/last.ckpt"):
        assert (run / name).stat().st_size > 0
    pictures = sorted(path.name for path in (run / "samples").iterdir())
    assert pictures == ["best.png", "first.png", "last.png", "progress.png"]

    best = run / "checkpoints" / "best.ckpt"
    measure = (
        f"checkpoint={best}",
        "benchmark=digits_half",
        "benchmark.digits_half.data.limit=10",
        "+trainer.enable_progress_bar=false",
    )
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        ended = command(*measure, f"hydra.run.dir={folder}", script="evaluate")
        assert ended.code == 0, ended.err
    digest = hashlib.sha256(best.read_bytes()).hexdigest()
    assert result["evaluation"][0]["checkpoint"] == f"best.ckpt@{digest[:12]}"
    metrics = result["evaluation"][0]["metrics"]
    (measured,) = rows(folders[0] / "results.csv")
    assert len(metrics) >= 4
    for name, value in metrics.items():
        assert value is None or float(measured[name]) == value, name
    images = [(folder / "per_image.csv").read_bytes() for folder in [run, *folders]]
    assert images[1] == images[2]
    assert [row["index"] for row in rows(run / "per_image.csv")] == [str(i) for i in range(10)]


def test_seed_alone_decides_the_weights(command: Command, tmp_path: Path) -> None:
    quiet = ("max_updates=2", "~benchmark.digits_half")
    first, again, other = (
        weights(train(command, tmp_path / name, *quiet, f"seed={seed}"))
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_diverged_training_says_where(command: Command, tmp_path: Path) -> None:
    settings = ("max_updates=60", "task.optimizer.lr=1e30", "scheduler=constant")
    ended = command(*TINY, *settings, "task.clip_norm=null", f"hydra.run.dir={tmp_path / 'run'}")
    assert ended.code == 1
    assert ended.err.startswith("error: loss term denoising is ") and "at update" in ended.err
    assert ended.err.count("\n") == 1


def child(
    arguments: list[str],
    folder: Path,
    environment: dict[str, str],
    tiny: Sequence[str] = TINY,
) -> subprocess.CompletedProcess[str]:
    given = {argument.partition("=")[0] for argument in arguments}
    tiny = [setting for setting in tiny if setting.partition("=")[0] not in given]
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments, *tiny],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.mark.slow
@pytest.mark.ci
def test_multirun_gives_one_complete_folder_a_job(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    ended = child(["-m", "seed=1,2", "max_updates=2"], tmp_path, environment)
    assert ended.returncode == 0, ended.stderr
    (sweep,) = (tmp_path / "multirun" / "ddpm_digits").iterdir()
    for seed, job in ((1, "0"), (2, "1")):
        record = json.loads((sweep / job / "result.json").read_text())
        assert record["seed"] == seed
        assert (sweep / job / "checkpoints" / "best.ckpt").exists()


@pytest.mark.slow
@pytest.mark.ci
def test_two_processes_evaluate_every_image_once(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    setting = ["trainer=ddp_cpu", "max_updates=2", "benchmark.digits_half.data.limit=11"]
    ended = child(setting, tmp_path, environment)
    assert ended.returncode == 0, ended.stderr
    (run,) = (tmp_path / "outputs" / "ddpm_digits").iterdir()
    assert ended.stdout.count(f"{run}\n") == 1
    indices = [int(row["index"]) for row in rows(run / "per_image.csv")]
    assert indices == list(range(11))
    assert json.loads((run / "result.json").read_text())["training"]["updates"] == 2
    assert os.listdir(tmp_path) == ["outputs"]
