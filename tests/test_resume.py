"""A run that was interrupted and resumed is the run that was not, bit for bit."""

import contextlib
import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from entry import ROOT, Command
from interrupted import instrument

from restore import cli, resume
from restore.callback.durable import newest_valid
from restore.data.module import DataModule

# Of every experiment: nothing but the training, on few and small batches.
SMALL = (
    "~callback.progress",
    "+trainer.enable_progress_bar=false",
    "trainer.val_check_interval=3",
    "trainer.log_every_n_steps=2",
    "++trainer.limit_val_batches=3",
    "++data.limit=12",
    "data.batch_size=4",
)
DIGITS = (
    "task.network.width=4",
    "task.network.attention=[]",
    "sampler.num_steps=4",
    "sampler.jump_length=2",
    "sampler.jump_count=1",
    "++callback.samples.num_images=2",
    "~benchmark.digits_half",
)
EXPERIMENTS: dict[str, tuple[str, ...]] = {
    "ddpm_digits": (*DIGITS, "task.network.dropout=0.1"),
    "inpaint_photos": ("task.network.width=4", "~benchmark.photos_masks"),
    "colorize_photos": ("task.network.widths=[8,8,8]", "~benchmark.photos_gray"),
    "denoise_photos": ("task.network.widths=[8,8,8]", "~benchmark.photos_sigma25"),
}
WITHIN, BORDER = "+trainer.limit_train_batches=5", "+trainer.limit_train_batches=3"


def everything(folder: Path) -> dict[str, Any]:
    """What two equal runs have in common."""
    found: dict[str, Any] = {}
    for name in ("best", "last"):
        content = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "ema", "progress"):
            found[f"{name}.{key}"] = content[key]
        found[f"{name}.random"] = content["position"]["random"]
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file)]
    found["metrics"] = [
        {key: value for key, value in row.items() if key != "images_per_second"} for row in rows
    ]
    result = json.loads((folder / "result.json").read_text())
    found["validation"], found["images"] = result["validation"], result["training"]["images"]
    return found


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [path]
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        return [one for key in a for one in differences(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{path}: {len(a)} and {len(b)} entries"]
        return [
            one
            for i, (x, y) in enumerate(zip(a, b, strict=True))
            for one in differences(x, y, f"{path}.{i}")
        ]
    return [] if a == b else [f"{path}: {a} and {b}"]


def started(
    folder: Path, environment: dict[str, str], *arguments: str, **settings: Any
) -> subprocess.Popen[str]:
    """`train.py ARGUMENTS` in a session of its own, with $STOP, $SEEN and $HIT."""
    named = {name.upper(): value for name, value in settings.items()}
    given = {k: v if isinstance(v, str | Path) else json.dumps(v) for k, v in named.items()}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "interrupted.py"), *arguments],
        cwd=folder,
        env={**environment, **{name: str(value) for name, value in given.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def strays(session: int) -> list[str]:
    """Command lines of what still runs in a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, own = (path / "stat").read_text().rpartition(") ")[2].split()[:4]
            if int(own) == session and state != "Z":
                found.append((path / "cmdline").read_text().replace("\0", " "))
    return found


def there(
    folder: Path, environment: dict[str, str], *arguments: str, **settings: Any
) -> tuple[int, str]:
    """Runs train.py in a new process: exit code and what it wrote."""
    process = started(folder, environment, *arguments, **settings)
    try:
        out, err = process.communicate(timeout=300)
    finally:
        with contextlib.suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    ended = time.time()
    assert strays(process.pid) == []
    if "hit" in settings and process.returncode == 143:
        assert ended - settings["hit"].stat().st_mtime < 10
    return process.returncode, out + err


class Here:
    """Runs train.py in this process."""

    def __init__(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        self.command, self.monkeypatch = command, monkeypatch
        instrument(monkeypatch.setattr)

    def __call__(self, *arguments: str, stop: dict[str, Any] | None = None, **files: Path) -> Any:
        self.monkeypatch.setenv("STOP", json.dumps(stop or {}))
        for name, path in files.items():
            self.monkeypatch.setenv(name.upper(), str(path))
        return self.command(*arguments)


@pytest.fixture
def here(command: Command, monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(command, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "where"),
    [
        pytest.param("ddpm_digits", WITHIN, marks=pytest.mark.ci),
        *((experiment, BORDER) for experiment in EXPERIMENTS),
    ],
)
def test_interrupted_twice_is_uninterrupted(
    here: Here, tmp_path: Path, experiment: str, where: str
) -> None:
    settings = (
        f"experiment={experiment}",
        *SMALL,
        *EXPERIMENTS[experiment],
        "max_updates=8",
        where,
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    ended = here(*settings, f"hydra.run.dir={whole}", seen=tmp_path / "whole.txt")
    assert ended.code == 0, ended.err
    seen = tmp_path / "parts.txt"
    ended = here(*settings, f"hydra.run.dir={parts}", stop={"updates": 3}, seen=seen)
    assert (ended.code, ended.out.strip()) == (143, str(parts))
    assert newest_valid(parts / "checkpoints")[0] == parts / "checkpoints" / "recovery-3.ckpt"
    ended = here(f"resume.path={parts}", stop={"updates": 5, "signal": "SIGUSR1"}, seen=seen)
    assert ended.code == 143, ended.err
    assert ended.out.splitlines() == [str(parts), "resumed: recovery-3.ckpt, update 3"]
    ended = here(f"resume.path={parts}", seen=seen)
    assert ended.code == 0, ended.err
    assert differences(everything(whole), everything(parts)) == []
    assert (tmp_path / "whole.txt").read_text() == seen.read_text()
    history = json.loads((parts / "result.json").read_text())["resumed"]
    assert [one["updates"] for one in history] == [3, 5]


STOPS: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {
    1: ({"updates": 3, "group": True}, {"updates": 5, "signal": "SIGUSR1"}),
    2: ({"updates": 3, "ranks": [1]}, {"updates": 5, "ranks": [0, 1]}),
}


def _matrix() -> list[Any]:
    cases = []
    for experiment in EXPERIMENTS:
        for processes in (1, 2):
            for workers in (0, 2):
                for where in (WITHIN, BORDER):
                    case = (experiment, processes, workers, where)
                    marks = [pytest.mark.ci] if case == CI else []
                    cases.append(pytest.param(experiment, processes, workers, where, marks=marks))
    return cases


CI = ("ddpm_digits", 2, 2, WITHIN)


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "processes", "workers", "where"), _matrix())
def test_interrupted_twice_in_new_processes(
    tmp_path: Path,
    environment: dict[str, str],
    experiment: str,
    processes: int,
    workers: int,
    where: str,
) -> None:
    settings = (f"experiment={experiment}", *SMALL, *EXPERIMENTS[experiment], "max_updates=8")
    many = ("trainer=ddp_cpu",) if processes == 2 else ()
    arguments = (*settings, where, *many, f"data.num_workers={workers}")
    whole, parts, hit = tmp_path / "whole", tmp_path / "parts", tmp_path / "hit"
    seen = tmp_path / "whole.txt", tmp_path / "parts.txt"
    code, said = there(tmp_path, environment, *arguments, f"hydra.run.dir={whole}", seen=seen[0])
    assert code == 0, said
    first, second = STOPS[processes]
    begun = (*arguments, f"hydra.run.dir={parts}")
    code, said = there(tmp_path, environment, *begun, stop=first, seen=seen[1], hit=hit)
    assert code == 143, said
    again = f"resume.path={parts}"
    code, said = there(tmp_path, environment, again, stop=second, seen=seen[1], hit=hit)
    assert code == 143, said
    code, said = there(tmp_path, environment, again, seen=seen[1])
    assert code == 0, said
    assert differences(everything(whole), everything(parts)) == []
    for rank in range(processes):
        suffix = f".txt.{rank}" if rank else ".txt"
        a, b = (path.with_suffix(suffix).read_text() for path in seen)
        assert a == b and len(a.splitlines()) == 8
    assert {one.name for one in tmp_path.iterdir() if one.is_dir()} == {"whole", "parts"}


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [[0], [1], [0, 1]])
def test_signal_during_validation_of_two_processes(
    tmp_path: Path, environment: dict[str, str], ranks: list[int]
) -> None:
    settings = (*SMALL, *EXPERIMENTS["ddpm_digits"], "max_updates=4", "trainer=ddp_cpu")
    # Rank 0 has one batch more than rank 1 to validate.
    uneven = ("++data.limit=5", "data.batch_size=1", "++trainer.limit_val_batches=1.0")
    whole, parts, hit = tmp_path / "whole", tmp_path / "parts", tmp_path / "hit"
    stop = {"validation": 1, "after": 3, "ranks": ranks}
    arguments = (*settings, *uneven)
    code, said = there(tmp_path, environment, *arguments, f"hydra.run.dir={whole}")
    assert code == 0, said
    begun = (*arguments, f"hydra.run.dir={parts}")
    code, said = there(tmp_path, environment, *begun, stop=stop, hit=hit)
    assert code == 143, said
    path, _ = newest_valid(parts / "checkpoints")
    assert path is not None and path.name == "recovery-3.ckpt"
    code, said = there(tmp_path, environment, f"resume.path={parts}")
    assert code == 0, said
    assert differences(everything(whole), everything(parts)) == []


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif("RESTORE_DATA" not in os.environ, reason="RESTORE_DATA is not set")
@pytest.mark.parametrize("workers", [0, 2])
def test_interrupted_shards(tmp_path: Path, environment: dict[str, str], workers: int) -> None:
    settings = (
        *("data=flowers", "degradation=half", "data.source.num_classes=null"),
        *("data.train_framing.size=8", "data.eval_framing.size=8"),
    )
    _same_after_a_stop(tmp_path, environment, *settings, f"data.num_workers={workers}")


def _same_after_a_stop(tmp_path: Path, environment: dict[str, str], *settings: str) -> None:
    tiny = (*SMALL, *EXPERIMENTS["ddpm_digits"], "max_updates=5", WITHIN, *settings)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    seen = tmp_path / "whole.txt", tmp_path / "parts.txt"
    code, said = there(tmp_path, environment, *tiny, f"hydra.run.dir={whole}", seen=seen[0])
    assert code == 0, said
    begun = (*tiny, f"hydra.run.dir={parts}")
    code, said = there(tmp_path, environment, *begun, stop={"updates": 2}, seen=seen[1])
    assert code == 143, said
    code, said = there(tmp_path, environment, f"resume.path={parts}", seen=seen[1])
    assert code == 0, said
    assert differences(everything(whole), everything(parts)) == []
    assert seen[0].read_text() == seen[1].read_text()


WORKERS = """
import os, signal, subprocess, sys
from restore import build
config = {"_target_": "restore.data.module.DataModule", **%r}
signal.signal(signal.SIGTERM, lambda *_: None)
loader = build.build(config, "data").train_dataloader()
batches = iter(loader)
next(batches)
subprocess.run(["kill", "-s", "TERM", "--", str(-os.getpgid(0))])
print("went on for", 1 + sum(1 for _ in batches))
"""


@pytest.mark.slow
@pytest.mark.ci
def test_workers_outlive_a_signal_to_the_group_and_end_with_the_trainer(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    framing = {"_target_": "restore.data.framing.CenterSquare", "size": 8}
    config = {
        "source": {"_target_": "restore.data.digits.Digits", "_partial_": True},
        "degradation": {"_target_": "restore.degradation.noise.Gaussian", "sigma": 25.0},
        "train_framing": framing,
        "eval_framing": framing,
        "batch_size": 128,
        "num_workers": 2,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", WORKERS % config],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0 and "went on for" in out, err
    assert strays(process.pid) == []


@pytest.mark.slow
@pytest.mark.ci
def test_killed_without_warning(tmp_path: Path, environment: dict[str, str]) -> None:
    settings = (*SMALL, *EXPERIMENTS["ddpm_digits"], "max_updates=8", WITHIN)
    often = "callback.recovery.every_n_updates=3"
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    code, said = there(tmp_path, environment, *settings, often, f"hydra.run.dir={whole}")
    assert code == 0, said
    stop = {"updates": 5, "signal": "SIGKILL"}
    begun = (*settings, often, f"hydra.run.dir={parts}")
    code, said = there(tmp_path, environment, *begun, stop=stop)
    assert code == -signal.SIGKILL, said
    stop["updates"] = 7
    code, said = there(tmp_path, environment, f"resume.path={parts}", stop=stop)
    assert code == -signal.SIGKILL and "resumed: recovery-3.ckpt, update 3\n" in said, said
    newest = parts / "checkpoints" / "recovery-6.ckpt"
    assert newest_valid(parts / "checkpoints")[0] == newest
    newest.write_bytes(newest.read_bytes()[:-1000])
    code, said = there(tmp_path, environment, f"resume.path={parts}")
    assert code == 0, said
    assert f"skipped: {newest} is damaged\nresumed: last.ckpt, update 6\n" in said
    assert differences(everything(whole), everything(parts)) == []


@pytest.mark.slow
def test_what_cannot_be_exact_is_refused_or_named(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    settings = (*SMALL, *EXPERIMENTS["ddpm_digits"], "max_updates=4", f"hydra.run.dir={run}")
    assert here(*settings, stop={"updates": 2}).code == 143
    files = sorted(run.rglob("*"))
    refused = {
        "data.batch_size=8": "data.batch_size: 4 -> 8",
        "trainer.devices=2": "trainer.devices: 1 -> 2; processes: 1 -> 2",
        "trainer.precision=bf16-true": "trainer.precision: 32-true -> bf16-true",
        "task.accumulate=2": "task.accumulate: ",
        "task.optimizer.lr=0.5": "task.optimizer.lr: ",
        "task.network.width=8": "task.network.width: 4 -> 8",
        "seed=3": "seed: 0 -> 3",
        "max_updates=9": "task.scheduler.total_steps: 4 -> 9",
        "callback.ema.decay=0.5": "callback.ema.decay: 0.999 -> 0.5",
        "network=unet": "a resumed run keeps its groups",
        "experiment=ddpm_mnist": "experiment= has no meaning with resume.path",
        "-m": "-m has no meaning with resume.path",
        "~callback.samples": "plain key=value only",
        "task.optimizer.lrr=1": "did you mean lr?",
        "tusk.optimizer.lr=1": "tusk.optimizer.lr is not a setting of this run",
        "max_updates=1": "has ended after 2 updates: give a larger max_updates",
    }
    for argument, said in refused.items():
        ended = here(f"resume.path={run}", argument)
        assert (ended.code, ended.out) == (2, ""), (argument, ended)
        assert said in ended.err and len(ended.err.splitlines()) == 1, ended.err
    ended = here(f"resume.path={run}", "data.batch_size=8", "seed=3")
    assert "data.batch_size: 4 -> 8; seed: 0 -> 3" in ended.err
    ended = here(f"resume.path={run}", "task.network.width=8", "resume.allow_inexact=true")
    assert ended.code == 2 and "do not fit" in ended.err and len(ended.err.splitlines()) == 1
    with monkeypatch.context() as other:
        other.setattr(DataModule, "fingerprint", lambda self: {"train": 1, "val": 2, "digest": ""})
        ended = here(f"resume.path={run}")
        assert ended.code == 2 and "the data's train: " in ended.err
    ended = here(f"resume.path={tmp_path / 'nowhere'}")
    assert ended.code == 2 and "is no run folder" in ended.err
    assert sorted(run.rglob("*")) == files

    ended = here(
        f"resume.path={run}",
        *("resume.allow_inexact=true", "data.batch_size=8", "max_updates=7", "data.num_workers=1"),
    )
    assert ended.code == 0, ended.err
    named = ["data.batch_size: 4 -> 8", "task.scheduler.total_steps: 4 -> 7"]
    assert all(f"inexact: {one}" in ended.out for one in named)
    result = json.loads((run / "result.json").read_text())
    assert result["resumed"] == [{"updates": 2, "from": "recovery-2.ckpt", "differences": named}]
    assert result["training"]["updates"] == 7 and "max_updates=7" in result["overrides"]
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["lr_schedulers"][0]["total_steps"] == 7
    assert content["lr_schedulers"][0]["last_epoch"] == 7
    ended = here(f"resume.path={run}")
    assert ended.code == 2 and "has ended after 7 updates" in ended.err


STORED: dict[str, Any] = {
    "max_updates": 8,
    "data": {"batch_size": 4, "num_workers": 0, "root": None},
    "task": {
        "width": 8,
        "scheduler": {"total_steps": 8, "pct": 8.0},
        "adversary": {"scheduler": {"T_max": 8}},
    },
    "callback": {"max_updates": {"max_updates": 8}, "ema": {"decay": 0.9}, "last": {"name": "x"}},
    "trainer": {"max_time": None, "precision": "32-true"},
}


def test_settings_go_on_top_of_the_stored_config() -> None:
    config = resume.replaced(STORED, {"max_updates": 9, "trainer.max_time": "00:01:00:00"})
    assert config["task"]["scheduler"] == {"total_steps": 9, "pct": 8.0}
    assert config["task"]["adversary"]["scheduler"]["T_max"] == 9
    assert config["task"]["width"] == 8 and config["callback"]["max_updates"]["max_updates"] == 9
    assert STORED["max_updates"] == 8 and STORED["task"]["scheduler"]["total_steps"] == 8
    assert resume.differences(STORED, config) == [
        "task.adversary.scheduler.T_max: 8 -> 9",
        "task.scheduler.total_steps: 8 -> 9",
    ]


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("data.num_workers", False),
        ("data.root", False),
        ("callback.last.name", False),
        ("trainer.max_time", False),
        ("trainer.log_every_n_steps", False),
        ("trainer.val_check_interval", False),
        ("data.batch_size", True),
        ("data.seed", True),
        ("callback.ema.decay", True),
        ("trainer.precision", True),
        ("trainer.devices", True),
        ("trainer.max_time_of_mine", True),
        ("task.width", True),
    ],
)
def test_only_what_may_change_weights_is_a_difference(key: str, named: bool) -> None:
    config = resume.replaced(STORED, {key: 77})
    assert [one.partition(":")[0] for one in resume.differences(STORED, config)] == [key] * named


def test_folder_that_cannot_be_written_is_one_line(here: Here, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run"  # where not even root makes one
    ended = here(*SMALL, *EXPERIMENTS["ddpm_digits"], f"hydra.run.dir={folder}", "max_updates=2")
    assert ended.code == 2 and len(ended.err.splitlines()) == 1, ended.err
    assert str(tmp_path / "file") in ended.err
    refusal = OSError(errno.EROFS, "Read-only file system", "/run/folder")
    assert cli.one_line(refusal) == "/run/folder cannot be made or opened: Read-only file system"
