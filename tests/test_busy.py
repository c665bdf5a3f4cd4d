"""A run on a processor says when its threads would wait for another program."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from entry import Command

from restore import busy, launch
from restore.config.compose import composed
from restore.evaluation import machine
from restore.training import run

# user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice
BEFORE = {0: [100, 0, 0, 500, 0, 0, 0, 0, 0, 0], 1: [100, 0, 0, 500, 0, 0, 0, 0, 0, 0]}
OTHERS = "cpu  200 0 0 1000\ncpu7 0 0 0 0 0 0 0 0 0 0\nintr 12\n"


@pytest.fixture
def passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine of two cores, on which ticks are spent while it is looked at."""
    stat = tmp_path / "stat"
    monkeypatch.setattr(busy, "_STAT", stat)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)

    def write(cores: dict[int, list[int]]) -> None:
        lines = [f"cpu{core} {' '.join(map(str, ticks))}\n" for core, ticks in cores.items()]
        stat.write_text("".join(lines) + OTHERS)

    def spend(**ticks: list[int]) -> None:
        write(BEFORE)
        after = {
            core: [a + b for a, b in zip(BEFORE[core], ticks[f"core{core}"], strict=True)]
            for core in BEFORE
        }
        monkeypatch.setattr(busy.time, "sleep", lambda seconds: write(after))

    return spend


IDLE = [0, 0, 0, 20, 0, 0, 0, 0, 0, 0]
DISK = [0, 0, 0, 5, 15, 0, 0, 0, 0, 0]
WORK = [12, 1, 2, 0, 0, 1, 1, 3, 9, 0]  # a guest's ticks are among the user's
LITTLE = [4, 0, 0, 16, 0, 0, 0, 0, 0, 0]
HALF = [10, 0, 0, 10, 0, 0, 0, 0, 0, 0]
GUEST = [10, 0, 0, 10, 0, 0, 0, 0, 10, 0]
STILL = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (IDLE, IDLE, 0.0),
        (WORK, IDLE, 1.0),
        (WORK, WORK, 2.0),
        (DISK, HALF, 0.5),
        (GUEST, GUEST, 1.0),
        (STILL, WORK, 1.0),
    ],
)
def test_counts_the_cores_of_this_process_that_are_not_idle(
    passed: Any, one: list[int], other: list[int], wanted: float
) -> None:
    passed(core0=one, core1=other)
    assert busy.busy() == pytest.approx(wanted)


def test_other_cores_and_one_that_is_taken_away_do_not_count(
    passed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(seconds: float) -> None:
        one, other = (f"cpu{core} 112 0 0 500\n" for core in (0, 7))
        busy._STAT.write_text(one + other)

    passed(core0=IDLE, core1=IDLE)
    busy._STAT.write_text("".join(f"cpu{core} 100 0 0 500\n" for core in (0, 1, 7)))
    monkeypatch.setattr(busy.time, "sleep", look)
    assert busy.busy() == pytest.approx(1.0)


def test_says_how_many_threads_would_not_wait(passed: Any) -> None:
    passed(core0=IDLE, core1=IDLE)
    assert busy.note(2) is None
    passed(core0=WORK, core1=IDLE)
    line = busy.note(2)
    assert line is not None
    assert "1.0 of 2 cores are busy" in line
    assert "OMP_NUM_THREADS=1 " in line
    passed(core0=WORK, core1=WORK)
    assert "OMP_NUM_THREADS=1 " in (busy.note(2) or "")
    passed(core0=LITTLE, core1=LITTLE)  # something is always at work
    assert busy.note(2) is None


def test_one_thread_waits_for_nothing_and_costs_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "busy", lambda: pytest.fail("looked for a fifth of a second"))
    assert busy.note(1) is None


def test_is_silent_where_the_machine_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(busy, "_STAT", tmp_path / "none")
    assert busy.busy() is None
    assert busy.note(2) is None
    assert not [one for one in machine.checks() if one.what == "cores"]


@pytest.mark.parametrize(
    ("trainer", "told"),
    [
        ({"accelerator": "cpu", "devices": 1}, True),
        ({"accelerator": "cpu", "devices": 2}, False),  # its own processes are the other work
        ({"accelerator": "gpu", "devices": 1}, False),
    ],
)
def test_only_a_process_alone_on_the_processor_is_told(
    passed: Any, monkeypatch: pytest.MonkeyPatch, trainer: dict[str, Any], told: bool
) -> None:
    monkeypatch.setattr(busy, "device_of", lambda name: "cpu" if name == "cpu" else "cuda")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    passed(core0=WORK, core1=WORK)
    assert bool(busy.notes(trainer)) is told


def test_a_training_and_an_evaluation_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: Command
) -> None:
    monkeypatch.setattr(busy, "note", lambda threads: "threads wait")
    settings = ["experiment=denoise_photos_regression", "benchmark=[]"]
    made = run.prepare(composed("train", settings), tmp_path / "run", "id", settings, {})
    assert "threads wait" in made.notes
    few = ("baseline=mean_fill", "benchmark=digits_half", "benchmark.digits_half.data.limit=2")
    ended = command(*few, script="evaluate")
    assert ended.code == 0
    assert "threads wait" in ended.out.splitlines()


@pytest.mark.parametrize(("threads", "status"), [(2, "absent"), (1, "ok")])
def test_the_doctor_names_a_busy_machine(
    passed: Any, monkeypatch: pytest.MonkeyPatch, threads: int, status: str
) -> None:
    """What to do about it is said where something is to be done: one thread waits for nobody."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    passed(core0=WORK, core1=IDLE)
    (found,) = [one for one in machine.checks() if one.what == "cores"]
    assert found.status == status
    assert found.found == f"{launch.cores()}, 1.0 of them busy with other work"
    assert found.cure.startswith("OMP_NUM_THREADS=1 for ") == (threads > 1)
