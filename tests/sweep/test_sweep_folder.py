"""One sweep a folder, and a folder below it for each job."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from entry import ROOT, Command
from fake_job import Sweep, held
from hydra.core.hydra_config import HydraConfig

from restore.sweep import process
from restore.sweep.ranking import Sweep as Started

LR = "task.optimizer.lr"


def test_jobs_have_the_folders_that_they_are_given(sweep: Sweep, tmp_path: Path) -> None:
    subdir = "hydra.sweep.subdir=${seed}_${hydra:job.num}"
    ended, lines = sweep("seed=1,2", f"{LR}=1,2", subdir)
    assert ended.code == 0, ended.err
    assert [line["folder"] for line in lines] == ["1_0", "1_1", "2_2", "2_3"]
    assert Started.read(tmp_path / "sweep").jobs == 4


@pytest.mark.parametrize(
    ("place", "folders"),
    [
        ("hydra.sweep.subdir=${seed}_${hydra:job.num}", "multirun/ddpm_digits/*/[12]_[01]"),
        ("hydra.sweep.dir=own/${hydra:runtime.choices.experiment}", "own/ddpm_digits/[01]"),
    ],
)
def test_folders_may_be_named_by_what_hydra_knows(
    fake: None, command: Command, tmp_path: Path, monkeypatch: Any, place: str, folders: str
) -> None:
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # as in a process of its own
    ended = command("-m", "seed=1,2", f"{LR}=1", place)
    assert ended.code == 0, ended.err
    assert len([*tmp_path.glob(folders)]) == 2


def test_a_search_stops_before_a_job_would_overwrite_another(sweep: Sweep, tmp_path: Path) -> None:
    space = (f"{LR}=interval(1e-5,1e-2)", "search=random", "search.num_trials=2")
    ended, lines = sweep(*space, "hydra.sweep.subdir=s")
    assert ended.code == 2 and "would share the folder s:" in ended.err, ended.err
    assert ended.err.count("\n") == 1
    assert [line["job"] for line in lines] == [0]
    assert json.loads((tmp_path / "sweep/s/.hydra/job.json").read_text())["number"] == 0


def test_a_search_may_suggest_a_point_twice(sweep: Sweep) -> None:
    space = ("seed=choice(1,2)", f"{LR}=1", "search=random", "search.num_trials=4")
    ended, lines = sweep(*space, "hydra.sweep.subdir=seed_${seed}")
    assert ended.code == 0, ended.err
    assert len(lines) == 4 and {line["folder"] for line in lines} == {"seed_1", "seed_2"}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.parametrize("begun", [False, True])
def test_a_sweep_that_is_alive_is_left_alone(sweep: Sweep, tmp_path: Path, begun: bool) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    if begun:
        sweep("seed=1,77")
    before = contents(folder)
    with held(folder) as pid:
        ended, _ = sweep("seed=1,77")
        assert ended.code == 2 and ended.err.count("\n") == 1, ended.err
        assert f"sweep folder {folder} is in use by process {pid} on " in ended.err
        assert contents(folder) == before
    ended, _ = sweep("seed=1,77")
    assert "1 done, 1 failed" in ended.out


def test_a_sweep_holds_its_folder_while_its_jobs_run(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holders: list[str | None] = []

    def run(command: list[str], log: Path, env: dict[str, str]) -> tuple[int, int | None]:
        code = "import sys; from pathlib import Path; from restore.recovery import lock\n"
        code += "print(lock.holder(Path(sys.argv[1])))"
        asked = [sys.executable, "-c", code, str(tmp_path / "sweep")]
        seen = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
        holders.append(seen.stdout)
        return whole(command, log, env)

    whole = process.run
    monkeypatch.setattr(process, "run", run)
    ended, _ = sweep("seed=1,2")
    assert ended.code == 0, ended.err
    assert len(holders) == 2 and all(f"process {os.getpid()} on" in str(one) for one in holders)
