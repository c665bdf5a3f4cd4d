"""`restore ask`: answers come, and a training that was asked is one that was not, to the bit."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from entry import ROOT, Command
from PIL import Image
from stopping import DIGITS, SMALL, differences, everything, started

from restore import asking
from restore.recovery import desk, lock, request
from restore.recovery.desk import Desk
from restore.run_files import CONFIG, RUN
from restore.task.restoration import RestorationTask
from restore.types import InputError, RunError

# Dropout and noise draw from global generators, which a sample must leave as they are.
TINY = (*SMALL, *DIGITS, "task.network.dropout=0.1", "max_updates=8")


def asked(
    command: Command, monkeypatch: pytest.MonkeyPatch, at: dict[int, list[str]], *arguments: str
) -> dict[str, dict[str, Any]]:
    """Trains into ./asked, leaves words behind the updates of `at`; the answers by word."""
    folder, left = Path("asked").absolute(), list[request.Request]()
    step = RestorationTask.step_schedule

    def step_schedule(self: Any) -> None:
        step(self)
        left.extend(request.leave(folder, word) for word in at.get(self.updates, []))

    with monkeypatch.context() as patched:
        patched.setattr(RestorationTask, "step_schedule", step_schedule)
        ended = command(*TINY, *arguments, f"hydra.run.dir={folder}")
    assert ended.code == (143 if ["stop"] in at.values() else 0), ended.err
    answers = {one.word: request.wait(one, 0) for one in left}
    assert all(answers.values())
    return {word: answer for word, answer in answers.items() if answer is not None}


def test_a_training_that_was_asked_is_one_that_was_not(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(*TINY, "hydra.run.dir=whole").code == 0
    at = {2: ["status", "sample"], 3: ["save", "juggle"], 5: ["sample"], 6: ["stop"]}
    answers = asked(command, monkeypatch, at)
    status = answers["status"]
    assert (status["update"], status["of"], status["processes"]) == (2, 8, 1)
    assert status["train/loss"] > 0 and status["process"] == os.getpid()
    assert answers["juggle"] == {
        "error": "juggle is nothing to ask: choose from status, sample, save, stop"
    }
    assert answers["save"]["update"] == 3
    assert Path(answers["save"]["checkpoint"]).name == "recovery-3.ckpt"
    picture = Path(answers["sample"]["sample"])
    assert picture.name == "asked-5.png"
    assert np.ptp(np.array(Image.open(picture))) > 0
    kept = {path.name for path in Path("asked/checkpoints").iterdir()}
    assert {"recovery-3.ckpt", "recovery-6.ckpt"} <= kept
    assert answers["stop"] == {
        "update": 6,
        "checkpoint": str(Path("asked/checkpoints/recovery-6.ckpt").absolute()),
    }
    assert command("resume.path=asked").code == 0
    assert differences(everything(Path("whole")), everything(Path("asked"))) == []


def test_the_sample_is_that_of_the_averaged_weights(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation at update 3 draws the same images by the same weights."""
    asked(command, monkeypatch, {3: ["sample"]}, "max_updates=4", "task.network.dropout=0")
    drawn, last = (np.array(Image.open(f"asked/samples/{n}.png")) for n in ("asked-3", "first"))
    assert np.array_equal(drawn, last)


def living(folder: Path, answers: dict[str, Any] | None, seconds: float = 0.0) -> threading.Thread:
    """A run folder that this process holds, and somebody who answers in it."""
    folder.mkdir()
    (folder / RUN).write_text(json.dumps({"id": None}))
    lock.hold(folder)

    def work() -> None:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            for one in request.waiting(folder):
                time.sleep(seconds)
                if answers is not None:
                    request.answer(one, answers)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.fixture(autouse=True)
def released() -> Any:
    yield
    lock.release()


def test_the_answer_is_printed_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thread = living(tmp_path / "a", {"update": 3, "train/loss": 0.25}, seconds=0.2)
    assert asking.show(tmp_path / "a", "status", timeout=5) == 0
    assert capsys.readouterr().out == "update: 3\ntrain/loss: 0.25\n"
    thread.join()
    assert not [*(tmp_path / "a" / request.FOLDER).iterdir()]


def test_a_number_that_json_lacks_is_null(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thread = living(tmp_path / "a", {"update": 3, "train/loss": float("nan")})
    assert asking.show(tmp_path / "a", "status", timeout=5, as_json=True) == 0
    assert capsys.readouterr().out == '{"update": 3, "train/loss": null}\n'
    thread.join()


def test_a_refusal_and_silence_are_one_line(tmp_path: Path) -> None:
    thread = living(tmp_path / "b", {"error": "no disk"})
    with pytest.raises(RunError, match="b save: no disk"):
        asking.ask(tmp_path / "b", "save", 5)
    thread.join()
    thread = living(tmp_path / "c", None)
    with pytest.raises(RunError, match=r"c did not answer within 0\.3 s"):
        asking.ask(tmp_path / "c", "save", 0.3)
    assert not [*(tmp_path / "c" / request.FOLDER).iterdir()]  # nobody answers it later
    thread.join()


def test_a_run_that_does_not_live_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run folder"):
        asking.ask(tmp_path, "status", 1)
    (tmp_path / RUN).write_text(json.dumps({"id": None}))
    (tmp_path / CONFIG).write_text("packages: [mylab]\n")
    own = r"it was interrupted, and `.*train.* resume\.path=\S+ .packages=\[mylab\].` goes on"
    with pytest.raises(InputError, match=own):
        asking.ask(tmp_path, "status", 1)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(InputError, match="is not running: it is done"):
        asking.ask(tmp_path, "status", 1)
    assert not (tmp_path / request.FOLDER).exists()


def test_a_job_goes_on_with_its_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By itself it would end, and neither journal nor search would know of it."""
    described = {"argv": ["train.py", "-m"], "cwd": "", "objective": "", "direction": "minimize"}
    (tmp_path / "sweep.json").write_text(json.dumps(described))
    thread = living(tmp_path / "a", {"update": 3})
    assert asking.show(tmp_path / "a", "stop", timeout=5) == 0
    thread.join()
    goes_on = f"restore sweep {tmp_path} --resume"
    assert capsys.readouterr().out == f"update: 3\nto go on: {goes_on}\n"
    lock.release()
    with pytest.raises(InputError, match=f"it was interrupted, and `{goes_on}` goes on"):
        asking.ask(tmp_path / "a", "status", 1)


def test_a_run_that_dies_before_it_answers(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text(json.dumps({"id": None}))
    code = f"import sys, pathlib; sys.path.insert(0, {str(ROOT)!r})\n"
    code += "from restore.recovery import lock\n"
    code += f"lock.hold(pathlib.Path({str(tmp_path)!r})); print('held', flush=True)\n"
    code += "import time; time.sleep(0.5)"
    held = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert held.stdout is not None and held.stdout.readline()
    with pytest.raises(RunError, match="ended before it answered"):
        asking.ask(tmp_path, "status", 20)
    held.wait()


def test_what_was_asked_of_an_earlier_process_is_forgotten(tmp_path: Path) -> None:
    old = request.leave(tmp_path, "stop")
    os.utime(old.path, (1, 1))
    lock.hold(tmp_path)
    new = request.leave(tmp_path, "status")
    request.forget_old(tmp_path)
    assert [*request.waiting(tmp_path)] == [new]


def test_a_wish_that_was_taken_back_is_none(tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(is_global_zero=True, default_root_dir=tmp_path)
    desk, left = Desk(), request.leave(tmp_path, "stop")
    assert desk.look(trainer, None, validating=True) == set()
    assert desk.look(trainer, None) == desk.look(trainer, None) == {"stop"}
    request.take_back(left)
    assert desk.look(trainer, None) == set()


def test_half_a_file_is_no_request(tmp_path: Path) -> None:
    (tmp_path / request.FOLDER).mkdir()
    (tmp_path / request.FOLDER / "1.request").write_text('{"wor')
    assert [one.word for one in request.waiting(tmp_path)] == [""]


@pytest.mark.slow
def test_two_processes_that_were_asked(tmp_path: Path, environment: dict[str, str]) -> None:
    many = (*TINY, "trainer=ddp_cpu", "max_updates=150", "trainer.val_check_interval=50")
    whole = started(tmp_path, environment, *many, f"hydra.run.dir={tmp_path / 'whole'}")
    said = whole.communicate(timeout=300)
    assert whole.returncode == 0, said
    folder = tmp_path / "asked"
    run = started(tmp_path, environment, *many, f"hydra.run.dir={folder}")
    while not (folder / "metrics.csv").exists() and run.poll() is None:
        time.sleep(0.02)
    answers = {word: asking.ask(folder, word, 60) for word in ("status", "sample", "save", "stop")}
    run.communicate(timeout=60)
    assert run.returncode == 143 and answers["status"]["processes"] == 2
    assert Path(answers["save"]["checkpoint"]).name.startswith("recovery-")
    assert Path(answers["sample"]["sample"]).is_file()
    more = started(tmp_path, environment, f"resume.path={folder}")
    said = more.communicate(timeout=300)
    assert more.returncode == 0, said
    assert differences(everything(tmp_path / "whole"), everything(folder)) == []


def test_who_asked_first_is_answered_first(tmp_path: Path) -> None:
    words = ["stop", "sample", "status", "save", "sample", "status"]
    for word in words:
        request.leave(tmp_path, word)
    assert [one.word for one in request.waiting(tmp_path)] == words


def test_seconds_left_are_those_of_the_updates_that_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From update 10 to 30 of 40 in 60 seconds: half as long again; behind the last one nothing."""
    monkeypatch.setattr(desk, "max_updates", lambda trainer: 40)
    trainer: Any = SimpleNamespace(
        callback_metrics={}, current_epoch=0, callbacks=[], world_size=1, is_global_zero=False
    )
    mine = Desk()
    mine.open(trainer, SimpleNamespace(updates=10))
    for updates, left in ((30, 30.0), (40, 0.0), (41, 0.0)):
        mine._started = time.monotonic() - 60
        said = mine._status(trainer, SimpleNamespace(updates=updates))
        assert said["seconds_left"] == pytest.approx(left, abs=1)
    assert "seconds_left" not in mine._status(trainer, SimpleNamespace(updates=10))
