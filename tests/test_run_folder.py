"""A run folder belongs to one run, which survives what happens to it, or says in a line why not."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from entry import Command
from stopping import DIGITS, SMALL, Here, differences, everything

from restore.checkpoint import newest_valid
from restore.recovery import points
from restore.task.restoration import RestorationTask
from restore.types import InputError

RUN = (*SMALL, *DIGITS, "max_updates=4")
GAN = (
    *("experiment=denoise_photos", "data=digits", *SMALL, "max_updates=7"),
    *("task.network.widths=[4,4]", "task.adversary.network.widths=[4,4]"),
    *("task.adversary.network.strides=[2,1]", "~benchmark.photos_sigma25"),
    *("+trainer.limit_train_batches=5", "trainer.precision=32-true"),
)


@pytest.fixture
def here(command: Command, monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(command, monkeypatch)


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def val_steps(folder: Path) -> list[str]:
    rows = everything(folder)["metrics"]
    return [row["step"] for row in rows if row.get("val/loss")]


def test_a_used_folder_is_refused_and_each_run_has_its_id(here: Here, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    assert here(*RUN, f"hydra.run.dir={a}", "seed=1").code == 0
    before = files(a)
    ended = here(*RUN, f"hydra.run.dir={a}", "seed=2")
    assert ended.code == 2 and ended.err.count("\n") == 1, ended.err
    assert f"resume.path={a}" in ended.err and "another hydra.run.dir" in ended.err
    measure = ("baseline=telea", "benchmark=digits_half", f"hydra.run.dir={a}")
    ended = here.command(*measure, script="evaluate")
    assert ended.code == 2 and "holds a training" in ended.err
    assert {k: v for k, v in files(a).items() if ".hydra" not in k} == {
        k: v for k, v in before.items() if ".hydra" not in k
    }

    assert here(*RUN, f"hydra.run.dir={b}", "seed=2", "max_updates=6").code == 0
    ids = [json.loads((run / "run.json").read_text())["id"] for run in (a, b)]
    assert ids[0] != ids[1]
    for run, own in zip((a, b), ids, strict=True):
        assert json.loads((run / "result.json").read_text())["id"] == own
        content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        assert content["run"] == own
    # Another run's checkpoint of more updates, and its record.
    shutil.copy(b / "checkpoints" / "last.ckpt", a / "checkpoints" / "recovery-6.ckpt")
    shutil.copy(b / "result.json", a / "result.json")
    ended = here(f"resume.path={a}", "max_updates=5", "resume.allow_inexact=true")
    assert ended.code == 0 and "resumed: last.ckpt, update 4" in ended.out, ended.err
    assert json.loads((a / "result.json").read_text())["id"] == ids[0]
    (a / "run.json").unlink()
    ended = here(f"resume.path={a}")
    assert ended.code == 2 and "checkpoints of 2 runs" in ended.err


def test_killed_before_its_record_a_run_has_its_last_validation_once(
    here: Here, tmp_path: Path
) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    assert here(*RUN, f"hydra.run.dir={run}").code == 0
    whole = everything(run)
    assert val_steps(run) == ["3", "4"]
    (run / "result.json").unlink()  # the moment before it is written
    run.rename(again)
    ended = here(f"resume.path={again}")
    assert ended.code == 0, ended.err
    assert val_steps(again) == ["3", "4"]
    assert differences(whole["metrics"], everything(again)["metrics"]) == []
    assert whole["validation"] == everything(again)["validation"]


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_interrupted_gan_goes_on_exactly(here: Here, tmp_path: Path, number: str) -> None:
    """Discriminator, its optimizer, batch position and rows, in the fast suite."""
    if number != "SIGINT":
        codes = {"SIGTERM": 143, "SIGHUP": 129}
        stop = {"updates": 1, "signal": number}
        ended = here(*GAN, f"hydra.run.dir={tmp_path / 'run'}", stop=stop)
        assert ended.code == codes[number]
        return
    whole, parts, seen = tmp_path / "whole", tmp_path / "parts", tmp_path / "seen"
    assert here(*GAN, f"hydra.run.dir={whole}", seen=tmp_path / "all").code == 0
    stop = {"updates": 4, "signal": number}
    ended = here(*GAN, f"hydra.run.dir={parts}", stop=stop, seen=seen)
    assert ended.code == 130
    assert ended.out.splitlines()[-1] == f"to go on: python train.py resume.path={parts}"
    assert newest_valid(parts / "checkpoints")[0] == parts / "checkpoints" / "recovery-4.ckpt"
    ended = here(f"resume.path={parts}", seen=seen)
    assert ended.code == 0, ended.err
    assert differences(everything(whole), everything(parts)) == []
    assert (tmp_path / "all").read_text() == seen.read_text()
    assert len(everything(whole)["last.optimizer_states"]) == 2


def test_random_states_go_on(here: Here, tmp_path: Path) -> None:
    settings = (*RUN, "task.network.dropout=0.5", "max_updates=5")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert here(*settings, f"hydra.run.dir={whole}").code == 0
    assert here(*settings, f"hydra.run.dir={parts}", stop={"updates": 2}).code == 143
    torch.rand(7)
    assert here(f"resume.path={parts}").code == 0
    assert differences(everything(whole), everything(parts)) == []


def failing_at(updates: int, error: Callable[[], BaseException]) -> Callable[..., Any]:
    descend = RestorationTask.descend

    def fail(self: Any, *arguments: Any) -> Any:
        if self.updates == updates:
            torch.rand(3)
            raise error()
        return descend(self, *arguments)

    return fail


def test_an_exception_in_a_batch_keeps_what_was_learnt(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, whole = (*RUN, "task.network.dropout=0.5"), tmp_path / "whole"
    assert here(*settings, f"hydra.run.dir={whole}").code == 0
    for code, error in (1, MemoryError), (2, lambda: InputError("a.png: broken")):
        parts = tmp_path / f"parts{code}"
        with monkeypatch.context() as broken:
            broken.setattr(RestorationTask, "descend", failing_at(3, error))
            ended = here(*settings, f"hydra.run.dir={parts}")
        assert ended.code == code
        kept = "kept: recovery-3.ckpt, as the run stood before the batch that failed\n"
        assert kept in ended.out
        ended = here(f"resume.path={parts}")
        assert ended.code == 0 and "resumed: recovery-3.ckpt" in ended.out, ended.err
        assert differences(everything(whole), everything(parts)) == []


def test_a_folder_taken_away_ends_the_run_in_a_line(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "LOOK_EVERY", 0.0)
    step = RestorationTask.step_schedule

    def then_remove(self: Any) -> None:
        step(self)
        if self.updates == 2:
            shutil.rmtree(tmp_path / "run")

    monkeypatch.setattr(RestorationTask, "step_schedule", then_remove)
    ended = here(*RUN, f"hydra.run.dir={tmp_path / 'run'}")
    assert ended.code == 1 and ended.err.count("error: ") == 1, ended.err
    assert f"error: run folder {tmp_path / 'run'} was taken away" in ended.err
    assert "Traceback" not in ended.err


def test_max_epochs_ends_with_a_validation_and_a_record(here: Here, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ("max_updates=1000", "trainer.max_epochs=2", "+trainer.limit_train_batches=2")
    ended = here(*RUN, *settings, "trainer.val_check_interval=100", f"hydra.run.dir={run}")
    assert ended.code == 0, ended.err
    result = json.loads((run / "result.json").read_text())
    assert result["training"]["updates"] == 4 and result["validation"]["val/loss"] > 0
    assert (run / "checkpoints" / "best.ckpt").exists() and val_steps(run) == ["4"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a${x}b", "'x' not found full_key: hydra.run.dir"),
        ("file", "hydra.run.dir=file cannot be made"),
        ("file/run", "hydra.run.dir=file/run cannot be made"),
        ("x" * 300, f"hydra.run.dir={'x' * 197}... cannot be made"),
    ],
)
def test_a_folder_that_cannot_be_is_one_line(
    here: Here, tmp_path: Path, name: str, says: str
) -> None:
    (tmp_path / "file").write_text("")
    ended = here(*RUN, f"hydra.run.dir='{name}'")
    assert ended.code == 2 and ended.err.count("\n") == 1, ended.err
    assert says in ended.err
    assert os.listdir(tmp_path) == ["file"]


def test_fewer_validation_images_than_processes(here: Here, tmp_path: Path) -> None:
    settings = ("trainer=ddp_cpu", "++data.limit=1", "data.batch_size=1", "data.train_repeat=4")
    ended = here(*SMALL, *DIGITS, *settings, f"hydra.run.dir={tmp_path / 'run'}")
    assert ended.code == 2 and "1 validation images for 2 processes" in ended.err, ended.err
    assert not (tmp_path / "run").exists()
