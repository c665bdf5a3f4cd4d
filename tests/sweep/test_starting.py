"""What a sweep does before its first job."""

import os
from pathlib import Path
from typing import Any

import pytest
from entry import Command
from omegaconf import OmegaConf

from restore.sweep import start
from restore.sweep.journal import Line
from restore.sweep.sweeper import _check_same
from restore.types import InputError


def test_a_folder_that_was_there_before_stays_where_no_job_begins(
    command: Command, tmp_path: Path
) -> None:
    kept = tmp_path / "mine" / "notes.txt"
    kept.parent.mkdir()
    kept.touch()
    ended = command("-m", "hydra.sweep.dir=mine", "task.network.width=range(16,16)")
    assert ended.code == 2 and "the range is empty" in ended.err
    assert kept.exists()


def test_one_of_many_processes_starts_no_sweep(
    fake: None, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise InputError("each would run the whole sweep")

    monkeypatch.setattr("restore.launch.check_sweep", refused)
    ended = command("-m", "seed=1,2")
    assert (ended.code, ended.err) == (2, "error: each would run the whole sweep\n")
    assert os.listdir(tmp_path) == []


def test_what_is_measured_is_built_with_the_packages_that_are_trusted() -> None:
    config = {"packages": ["mylab"], "data": {"x": "${seed}"}, "task": None, "seed": 3}
    found = start.parts(OmegaConf.create(config))
    assert found == {"packages": ["mylab"], "data": {"x": 3}, "task": {}, "benchmark": {}}


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("task.optimizer.foreach=true,false", "+task.optimizer.foreach=true,false"),
        ("+task.optimizer.foreach=true,false", "+task.optimizer.foreach=true,false"),
        ("++task.optimizer.foreach=true,false", "++task.optimizer.foreach=true,false"),
        ("task.optimizer.lr=1,2", "task.optimizer.lr=1,2"),
        ("task.optimizer.foreeach=true,false", "task.optimizer.foreeach=true,false"),
        ("task.optimizer.foreach=true", "task.optimizer.foreach=true"),  # has its plus by now
    ],
)
def test_a_swept_key_gets_one_plus_where_its_class_takes_it(given: str, becomes: str) -> None:
    optimizer = {"_target_": "torch.optim.AdamW", "lr": 1}
    config: Any = {"task": {"optimizer": optimizer}, "hydra": {"overrides": {"task": [given]}}}
    made = OmegaConf.create(config)
    start._add_pluses(made)
    assert made.hydra.overrides.task == [becomes]


@pytest.mark.parametrize(
    ("jobs", "differs"),
    [
        ([["data=a"], ["data=b"]], False),
        ([["data=a"], ["data=b"], ["data=c"]], False),  # a file more, behind the others
        ([["data=a"]], False),  # the last one is gone
        ([["data=b"]], True),
        ([["data=0"], ["data=a"], ["data=b"]], True),
    ],
)
def test_a_number_is_the_same_job_as_before(jobs: list[list[str]], differs: bool) -> None:
    ended = [
        Line(k, str(k), [f"data={name}"], "", status, None, 1.0)
        for k, (name, status) in enumerate((("a", "done"), ("b", "interrupted")))
    ]
    if not differs:
        _check_same(jobs, ended)
        return
    with pytest.raises(InputError, match=r"job 0 of this sweep has data=a, and . now: files that"):
        _check_same(jobs, ended)
