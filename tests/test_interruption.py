"""The same with new processes: signals, kills, workers."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stopping import (
    BORDER,
    EXPERIMENTS,
    SMALL,
    WITHIN,
    differences,
    everything,
    strays,
    there,
)

from restore.checkpoint import newest_valid

CI = ("ddpm_digits", 2, 2, WITHIN)
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
