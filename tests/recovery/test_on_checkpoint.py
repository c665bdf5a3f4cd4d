"""A command beside a training: its numbers come back, and nothing it does is felt."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from entry import ROOT
from lightning.pytorch import Callback, Trainer
from line import Line, batches

from restore.callback.progress import MaxUpdates
from restore.checkpoint import seal
from restore.recovery import aside
from restore.recovery.best import Checkpoint
from restore.recovery.on_checkpoint import FOLDER, OnCheckpoint, answered
from restore.recovery.points import Recovery
from restore.recovery.rows import Rows
from restore.training import resume
from restore.training.settings import replace_settings
from restore.types import InputError


class Pause(Callback):
    """Before the batch of some updates: waits until the command of before has ended."""

    def __init__(self, watched: OnCheckpoint, *updates: int, seconds: float = 20) -> None:
        self.watched, self.updates, self.seconds = watched, updates, seconds

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        running = self.watched._running
        if pl_module.updates in self.updates and running is not None:
            running.process.wait(self.seconds)


def fit(folder: Path, watched: OnCheckpoint, *more: Callback) -> tuple[Line, list[str]]:
    """Twelve updates, with a checkpoint after every fourth; the task and the warnings. What runs
    at the end has been ended."""
    trainer, said = fitted(folder, watched, *more)
    watched._end(trainer)
    assert isinstance(trainer.lightning_module, Line)
    return trainer.lightning_module, said


def fitted(folder: Path, watched: OnCheckpoint, *more: Callback) -> tuple[Trainer, list[str]]:
    task = Line()
    callbacks = [Recovery(), Checkpoint("last"), watched, *more, MaxUpdates(12)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = Trainer(
            accelerator="cpu",
            default_root_dir=folder,
            callbacks=callbacks,
            logger=Rows(str(folder)),
            num_sanity_val_steps=0,
            check_val_every_n_epoch=None,
            val_check_interval=4,
            max_epochs=-1,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, batches(), batches(1))
    return trainer, [str(one.message) for one in caught if "on_checkpoint" in str(one.message)]


def script(folder: Path, text: str) -> list[str]:
    path = folder / "script.py"
    path.write_text(text)
    return [sys.executable, str(path), "{checkpoint}", "{update}", "{run}"]


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_its_numbers_are_metrics_of_the_update_of_the_checkpoint(tmp_path: Path) -> None:
    code = "import json, sys, hashlib\n"
    code += "data = open(sys.argv[1], 'rb').read()\n"
    code += "print('some words')\n"
    code += "print(json.dumps({'bytes': len(data), 'update': int(sys.argv[2]), 'name': 'x'}))"
    watched = OnCheckpoint(script(tmp_path, code))
    _, said = fit(tmp_path, watched, Pause(watched, 5, 6))
    assert said == []
    with (tmp_path / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("on_checkpoint/bytes")]
    assert all(float(one["step"]) == float(one["on_checkpoint/update"]) for one in rows)
    row = rows[0]  # a fast command of the next checkpoint may end, too
    assert float(row["step"]) == float(row["on_checkpoint/update"]) == 4
    size = (tmp_path / "checkpoints" / "last.ckpt").stat().st_size
    assert abs(float(row["on_checkpoint/bytes"]) - size) < 100
    assert not (tmp_path / FOLDER).exists()


def test_it_sees_the_checkpoint_that_it_was_started_for(tmp_path: Path) -> None:
    """Though the file is replaced before it looks."""
    code = "import sys, time, pathlib\n"
    code += f"while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.02)\n"
    code += f"copy = {str(tmp_path / 'copy')!r} + sys.argv[2].replace('4', '')\n"  # of update 4
    code += "pathlib.Path(copy).write_bytes(open(sys.argv[1],'rb').read())\n"
    watched = OnCheckpoint(script(tmp_path, code))

    class Go(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
            if pl_module.updates == 10:  # behind the checkpoint of update 8
                (tmp_path / "go").touch()
                assert watched._running is not None
                watched._running.process.wait(20)

    fit(tmp_path, watched, Go())
    for path, update in ((tmp_path / "copy", 4), (tmp_path / "checkpoints" / "last.ckpt", 12)):
        stated = seal(path)
        assert stated is not None and stated.updates == update


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["/nowhere/program"], "update 4: exit code 127"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "update 4: exit code 3"),
        ([sys.executable, "-c", "print('{\"psnr\": NaN}')"], "update 4: psnr=nan is no metric"),
        (["sh", "-c", "kill -9 $$"], "update 4: exit code -9"),
    ],
)
def test_a_failure_is_one_warning_and_the_training_goes_on(
    tmp_path: Path, command: list[str], says: str
) -> None:
    plain, _ = fit(tmp_path / "a", OnCheckpoint())
    watched = OnCheckpoint(command)
    task, said = fit(tmp_path / "b", watched, Pause(watched, 5, 6, 9, 10))
    assert len(said) == 1 and says in said[0] and "training goes on" in said[0]
    assert all(map(torch.equal, plain.history, task.history)) and len(task.history) == 12
    assert (tmp_path / "b" / FOLDER / "update-4.log").exists()


def test_the_command_of_the_last_checkpoint_is_waited_for(tmp_path: Path) -> None:
    """It ends after the training: of two that are left both are heard, the newest is the answer."""
    code = "import json, sys, time\n"
    code += "time.sleep(0.5)\n"
    code += "print(json.dumps({'twice': 2 * int(sys.argv[2])}))"
    watched = OnCheckpoint(script(tmp_path, code))
    trainer, said = fitted(tmp_path, watched)
    assert watched.finish(trainer) == {"update": 12, "twice": 24} and said == []
    with (tmp_path / "metrics.csv").open() as file:
        told = [(row["step"], row["on_checkpoint/twice"]) for row in csv.DictReader(file)]
    answers = [(float(step), float(value)) for step, value in told if value]
    assert answers[-1] == (12, 24) and len(answers) <= 2
    assert not (tmp_path / FOLDER).exists() and watched.finish(trainer)["update"] == 12


def test_what_is_waited_for_has_its_limit(tmp_path: Path) -> None:
    watched = OnCheckpoint(["sleep", "60"], minutes=1 / 200)
    trainer, _ = fitted(tmp_path, watched)
    with pytest.warns(UserWarning, match=r"update \d+: killed after 0.005 minutes; see \S+\.log"):
        watched._warned = False
        assert watched.finish(trainer) == {}
    assert OnCheckpoint().finish(trainer) == {}


def test_it_is_killed_with_its_children_at_a_failure_and_at_its_limit(tmp_path: Path) -> None:
    text = f"sleep 60 & echo $! >> {tmp_path}/pids; wait"
    with pytest.raises(RuntimeError, match="planted"):
        fit(tmp_path, OnCheckpoint(["sh", "-c", text]), Later(tmp_path / "pids"), Fails())
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 1 and all(map(gone, pids))  # one at a time
    watched = OnCheckpoint(["sh", "-c", text], minutes=1 / 600)
    _, said = fit(tmp_path / "b", watched, Pause(watched, seconds=0), Slow())
    assert len(said) == 1 and "killed after 0.00166667 minutes" in said[0]
    assert all(gone(int(line)) for line in (tmp_path / "pids").read_text().split())


class Later(Callback):
    """Waits at the end of a training until the command has begun."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        end = time.monotonic() + 20
        while pl_module.updates == 11 and not self.path.exists() and time.monotonic() < end:
            time.sleep(0.02)


def test_what_an_earlier_process_ran_when_it_was_killed_is_cleared(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name in ("update-2.ckpt", "update-2.out", "update-2.log", "update-1.out", "update-1.log"):
        (folder / name).touch()
    fitted(tmp_path, OnCheckpoint())
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["update-1.log", "update-1.out"]  # they tell of a failure


@pytest.mark.parametrize("who", ["a resumed run", "another rank"])
def test_no_command_runs_twice_for_one_checkpoint(tmp_path: Path, who: str) -> None:
    """The first process has run it for the file that a resumed run finds, or will."""
    fitted(tmp_path, OnCheckpoint())
    watched = OnCheckpoint(["true"])
    rank: Any = SimpleNamespace(default_root_dir=tmp_path, is_global_zero=who == "a resumed run")
    if rank.is_global_zero:
        watched.on_train_start(rank, None)
    watched._look(rank)
    assert watched._running is None and watched._next is None


def test_where_files_have_no_links_the_checkpoint_itself_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command waits for the file, and a newer one comes, or the training ends."""
    fitted(tmp_path, OnCheckpoint())
    file = tmp_path / "checkpoints" / "last.ckpt"
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links")))
    watched, rank = OnCheckpoint(["true"]), SimpleNamespace(default_root_dir=tmp_path)
    for _ in range(2):
        watched._seen = None
        watched._notice(rank)  # type: ignore[arg-type]
        assert watched._next == (12, file) and file.is_file()
    watched._end(rank)  # type: ignore[arg-type]
    assert watched._next is None and file.is_file()


def test_a_command_has_the_threads_and_gpus_that_are_named(tmp_path: Path) -> None:
    code = "import json, os\nprint(json.dumps({name.lower(): int(os.environ[name]) for name in "
    code += "('CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS')}))"
    (tmp_path / FOLDER).mkdir()
    watched, rank = OnCheckpoint(script(tmp_path, code), gpus=3, threads=2), SimpleNamespace()
    rank.default_root_dir = tmp_path
    started = watched._start(rank, 4, tmp_path / "last.ckpt")  # type: ignore[arg-type]
    assert started.process.wait(20) == 0
    said = answered(started.said.read_text())
    assert said == {"cuda_visible_devices": 3, "omp_num_threads": 2}


def test_a_disk_that_takes_no_more_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted(tmp_path, OnCheckpoint())
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(full))
    rank: Any = SimpleNamespace(default_root_dir=tmp_path, is_global_zero=True)
    with pytest.warns(UserWarning, match=r"No space left on device; training goes on"):
        OnCheckpoint(["true"])._look(rank)


class Fails(Callback):
    """At the end of the last update but one."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        if pl_module.updates == 11:
            raise RuntimeError("planted")


class Slow(Callback):
    def on_train_batch_end(self, *rest: Any) -> None:
        time.sleep(0.05)


def test_it_is_no_rank_and_sees_the_named_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "TORCHELASTIC_RUN_ID", "RESTORE_RANKS"):
        monkeypatch.setenv(name, "1")
    code = "import os, json; print(json.dumps({k: v for k, v in os.environ.items()} | "
    code += "{'nice': os.nice(0)}))"
    ran = subprocess.run(
        aside.started([sys.executable, "-c", code]),
        env=aside.environment("1", 2),
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(ran.stdout)
    named = ("RANK", "WORLD_SIZE", "SLURM_PROCID", "TORCHELASTIC_RUN_ID", "RESTORE_RANKS")
    assert not seen.keys() & {*named, "RESTORE_PARENT"}
    assert (seen["CUDA_VISIBLE_DEVICES"], seen["OMP_NUM_THREADS"]) == ("1", "2")
    assert seen["nice"] == os.nice(0) + 10 or seen["nice"] == 19


def test_it_ends_when_the_training_is_killed(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    code += "import subprocess, time\nfrom restore.recovery import aside\n"
    code += "one = subprocess.Popen(aside.started(['sleep', '60']), start_new_session=True)\n"
    code += "print(one.pid, flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    while b"sleep" not in Path(f"/proc/{pid}/cmdline").read_bytes()[:5]:
        time.sleep(0.02)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(pid)


def test_a_resumed_run_runs_no_command_that_is_not_named_anew() -> None:
    node = {"_target_": "restore.recovery.on_checkpoint.OnCheckpoint", "command": ["rm"]}
    stored = {"packages": ["evil"], "callback": {"on_checkpoint": node, "ema": None}, "seed": 0}
    known = resume._untrusted(stored)
    assert known["callback"]["on_checkpoint"]["command"] is None and known["packages"] == []
    again = replace_settings(known, {"callback.on_checkpoint.command": ["mine"]})
    assert again["callback"]["on_checkpoint"]["command"] == ["mine"]
    assert node["command"] == ["rm"]


def test_a_resume_says_which_command_it_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {
        "progress": {"updates": 3},
        "config": {"callback": {"on_checkpoint": {"command": ["rm"]}, "ema": {"decay": 0.9}}},
    }
    trainer: Any = SimpleNamespace(is_global_zero=True, loggers=[])
    for command, says in ((None, True), (["mine"], False)):
        config = {"callback": {"on_checkpoint": {"command": command}, "ema": {"decay": 0.9}}}
        path = tmp_path / "recovery-3.ckpt"
        run = resume.Resumed(tmp_path, path, content, config, [], False, [])
        run.begin(trainer)
        said = capsys.readouterr().out
        assert ("not run: callback.on_checkpoint.command" in said) == says and "ema" not in said


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ("", {}),
        ("words", {}),
        ('{"a": 1}\nwords', {}),
        ('x\n{"a": 1, "b": 2.5, "c": true, "d": "e", "f": [1]}\n\n', {"a": 1.0, "b": 2.5}),
        ("[1, 2]", {}),
    ],
)
def test_the_last_line_is_what_counts(said: str, numbers: dict[str, float]) -> None:
    assert answered(said) == numbers


def test_settings_that_mean_nothing_are_refused() -> None:
    refused: list[dict[str, Any]] = [{"command": []}, {"minutes": 0}, {"threads": 0}]
    for settings in refused:
        with pytest.raises(InputError, match=r"callback\.on_checkpoint"):
            OnCheckpoint(**settings)
