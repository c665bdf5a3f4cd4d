"""What becomes of a job, by how its processes ended; none is started here."""

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_job import Sweep as Sweeping

from restore.sweep import journal, multirun, process
from restore.sweep.job import SweepJob
from restore.sweep.ranking import Sweep
from restore.sweep.settings import Search
from restore.sweep.sweeper import GridSweeper
from restore.types import InputError

LOG = "error: first\nValueError: a reason\n[rank1]: Traceback\n[rank1]: RuntimeError: last\nbye\n"


def made(**trainer: Any) -> SweepJob:
    return SweepJob(4, {"trainer": trainer}, "hash", "ddpm_digits", ["seed=1"])


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *((-signal.SIGTERM, "interrupted"), (128 + signal.SIGTERM, "interrupted")),
        *((128 + signal.SIGINT, "interrupted"), (128 + signal.SIGHUP, "interrupted")),
        *((-signal.SIGKILL, "killed"), (128 + signal.SIGSEGV, "killed")),
        *((process.PRUNED, "pruned"), (2, "refused"), (1, "failed"), (9, "failed")),
        (255, "failed"),  # as of sys.exit(-1)
    ],
)
def test_a_code_says_how_a_job_ended(tmp_path: Path, code: int, status: str) -> None:
    (tmp_path / "train.log").write_text(LOG)
    error = None if status == "pruned" else "RuntimeError: last"
    assert multirun._outcome(code, tmp_path, "val/loss") == (status, None, error)


@pytest.mark.parametrize(("told", "status"), [(None, "killed"), (signal.SIGTERM, "interrupted")])
def test_a_job_that_is_killed_while_its_sweep_stops_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: int | None, status: str
) -> None:
    (tmp_path / "train.log").write_text("")
    monkeypatch.setattr(multirun, "_run", lambda *given: (-signal.SIGKILL, told))
    ended = multirun._start(made(), tmp_path, Search())
    assert ended == (status, None, "SIGKILL (signal 9)", told)


@pytest.mark.parametrize(
    ("task", "name", "lines"), [("0", "train.log", 1), ("1", "train-1.log", 0)]
)
def test_of_several_tasks_of_a_cluster_the_first_keeps_the_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, name: str, lines: int
) -> None:
    logs: list[Path] = []

    def run(command: list[str], log: Path, env: dict[str, str]) -> tuple[int, int | None]:
        logs.append(log)
        return 0, None

    monkeypatch.setenv("SLURM_PROCID", task)
    monkeypatch.setattr(process, "run", run)
    assert multirun._run(made(), tmp_path, Search()) == (0, None)
    assert logs == [tmp_path / name]
    multirun._note(tmp_path, journal.Line(4, "4", [], "hash", "done", 1.0, 2.0))
    assert len(journal.read(tmp_path)) == lines


@pytest.mark.parametrize("devices", ["auto", -1, 0])
def test_jobs_that_share_gpus_say_how_many(devices: Any) -> None:
    with pytest.raises(InputError, match=f"devices={devices}: .* must say how many GPUs"):
        multirun._gpus(made(devices=devices).config, Search(jobs_per_gpu=1))


def test_a_pruned_job_obeys_the_search(tmp_path: Path) -> None:
    Sweep(["train.py"], "/", "val/psnr", "maximize").settle(tmp_path)
    given = {"pruner": "halving", "num_startup_trials": 3, "warmup_updates": 70, "trial": 5}
    search = Search("val/psnr", storage="a file", **given)  # type: ignore[arg-type]
    told = multirun._study(search, tmp_path, "ddpm_digits")
    name = {"storage": "a file", "name": "ddpm_digits maximize val/psnr", "monitor": "val/psnr"}
    assert told == given | name
    assert multirun._study(Search(pruner="median"), tmp_path, "x") is None  # of a grid


def test_a_job_that_was_done_keeps_its_own_line(tmp_path: Path) -> None:
    """A search that was cut off after the job and before it told the study asks for it again."""
    line = journal.Line(4, "4", ["seed=1"], "hash", "done", 1.0, 99.0)
    journal.append(tmp_path, line)
    for number in (4, 6):
        folder = tmp_path / str(number)
        ended = multirun._repeat(line, number, tmp_path, folder, ["seed=1"])
        assert ended == {"status": "done", "objective": 1.0}
    assert [(one.job, one.folder, one.seconds) for one in journal.read(tmp_path)] == [
        (4, "4", 99.0),
        (6, "4", 0.0),
    ]


def test_a_signal_ends_the_sweep_and_not_the_job_alone(
    sweep: Sweeping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str | None] = []

    def run(command: list[str], log: Path, env: dict[str, str]) -> tuple[int, int | None]:
        log.write_text("")
        told.append(SweepJob.read(log.parent).again)
        return 128 + signal.SIGTERM, signal.SIGTERM

    monkeypatch.setattr(process, "run", run)
    ended, lines = sweep("seed=1,2", "hydra.sweep.subdir=a/${hydra:job.num}")
    assert ended.code == 128 + signal.SIGTERM
    assert [(line["job"], line["status"]) for line in lines] == [(0, "interrupted")]
    goes_on = f"restore sweep {tmp_path / 'sweep'} --resume"
    assert told == [goes_on]
    assert f"stopped: {goes_on} goes on" in ended.out


def test_jobs_with_consecutive_numbers_are_launched_together() -> None:
    """Or a launcher that runs several at a time would have one."""
    launched = []

    def launch(batch: list[list[str]], initial_job_idx: int) -> list[Any]:
        launched.append((initial_job_idx, batch))
        return [SimpleNamespace(return_value=job) for job in batch]

    grid = GridSweeper()
    grid.launcher = SimpleNamespace(launch=launch)  # type: ignore[assignment]
    jobs = {number: [f"seed={number}"] for number in (0, 2, 3, 4, 7)}
    assert grid._launch_apart(jobs) == [*jobs.values()]
    assert launched == [(0, [jobs[0]]), (2, [jobs[2], jobs[3], jobs[4]]), (7, [jobs[7]])]
