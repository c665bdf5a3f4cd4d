"""train.py -m: every job of a sweep is a process group of its own, started from one resolved file.

Lightning starts the ranks of a job by its command line. In a sweep this is the sweep's, so that
every rank would run the sweep, in a folder and with hyperparameters of its own.
"""

import functools
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from restore import errors
from restore.config import rules
from restore.config.command import plain
from restore.config.drawing import check_drawing
from restore.folder import remove_empty
from restore.recovery import lock
from restore.run_files import CONFIG, RESULT, read_result
from restore.sweep import again, gpu, journal, process, ranking, settings
from restore.sweep.job import SweepJob, command
from restore.sweep.settings import Search
from restore.sweep.start import CURRENT, MADE
from restore.sweep.sweeper import study_of
from restore.types import InputError

_STATUS = {
    errors.DONE: journal.DONE,
    errors.BAD_INPUT: journal.REFUSED,
    process.PRUNED: journal.PRUNED,
}


def conclude(main: Callable[[], Any]) -> Callable[[], None]:
    """Ends a sweep: what it found, which jobs failed, exit code; no folder where no job began, or
    where all were refused before their work did."""

    @functools.wraps(main)
    def run() -> None:
        CURRENT.clear()
        MADE.clear()
        codes: list[int] = []
        try:
            main()
            codes += [ranking.finish(folder) for folder in CURRENT]
        finally:
            os.environ.pop(process.SWEEP, None)
            for folder in MADE:
                if not _holds_work(folder, refused=codes == [errors.BAD_INPUT]):
                    shutil.rmtree(folder, ignore_errors=True)
                    remove_empty(folder)
        for code in codes:
            sys.exit(code)

    return run


def _holds_work(folder: Path, refused: bool) -> bool:
    """Whether a job of a sweep began; refused: whether it has ended with all of them refused."""
    lines = journal.read(folder)
    # hydra.sweep.subdir=a/b lies deeper; jobs that wait in a queue will read .submitit.
    left = any((folder / line.folder).exists() for line in lines) or any(folder.rglob(".hydra"))
    return left or bool((lines or (folder / ".submitit").exists()) and not refused)


def single(config: dict[str, Any], launcher: str = "basic") -> dict[str, Any]:
    """The config of a run that is no sweep, for which `search` and a launcher mean nothing."""
    if launcher != "basic":
        raise InputError(f"hydra/launcher={launcher} launches the jobs of a sweep: add -m")
    if config.pop("search", None):
        raise InputError(
            "search= chooses the jobs of a sweep: add -m and a key with several values"
        )
    return config


def job(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Hydra's task function for a job of a sweep: its status and its objective."""
    hydra = HydraConfig.get()
    sweep, number = Path(hydra.sweep.dir), int(hydra.job.num)
    overrides = journal.keep(list(hydra.overrides.task))
    started = time.monotonic()
    digest, told = "", None
    try:
        config, search = _read(cfg)
        digest = journal.hash_of(config)
        before = journal.done(sweep, digest)
        if before is not None:
            return _repeat(before, number, sweep, folder, overrides)
        experiment = str(hydra.runtime.choices["experiment"])
        study = _study(search, sweep, experiment)
        made = SweepJob(number, config, digest, experiment, overrides, study, again.own(sweep))
        status, objective, error, told = _start(made, folder, search)
    except Exception as failure:
        line = errors.one_line(failure)
        status = journal.REFUSED if line else journal.FAILED
        objective, error = None, line or f"{type(failure).__name__}: {failure}".splitlines()[0]
    if status == journal.REFUSED:
        _forget(folder)
    seconds, name = round(time.monotonic() - started, 1), os.path.relpath(folder, sweep)
    ended = journal.Line(
        number, name, overrides, digest, status, objective, seconds, error, _run_of(folder)
    )
    _note(sweep, ended)
    if told is not None:
        print(f"stopped: {again.own(sweep)} goes on", flush=True)
        sys.exit(128 + told)
    return {"status": status, "objective": objective}


def _read(cfg: DictConfig) -> tuple[dict[str, Any], Search]:
    """The config of the job and the search that it is a part of, both checked."""
    config = plain(cfg)
    search = Search(**(config.pop("search", None) or {}))
    settings.check_benchmark(search.objective, config)
    rules.check_run(config)
    check_drawing(config)
    return config, search


def _start(
    made: SweepJob, folder: Path, search: Search
) -> tuple[str, float | None, str | None, int | None]:
    """Runs the job: its status, objective and error, and the signal that stopped the sweep."""
    print(f"job {made.number}: starts  {' '.join(made.overrides)}", flush=True)
    code, told = _run(made, folder, search)
    status, objective, error = _outcome(code, folder, search.objective)
    if told is not None and status == journal.KILLED:
        status = journal.INTERRUPTED
    return status, objective, error, told


def _note(sweep: Path, ended: journal.Line) -> None:
    """Writes the line of an ended job into the journal, by one task of a cluster alone."""
    if not _task():
        journal.append(sweep, ended)
        print(ranking.sentence(ended), flush=True)


def _run_of(folder: Path) -> str | None:
    try:
        return (lock.identity(folder) or {}).get("id")
    except InputError:
        return None


def _task() -> int:
    """The number of this task; of several tasks of one job, the first keeps the books."""
    return int(os.environ.get("SLURM_PROCID", 0))


def _repeat(
    before: journal.Line, number: int, sweep: Path, folder: Path, overrides: list[str]
) -> dict[str, Any]:
    """Equal configs give equal results."""
    print(f"job {number}: done before, as job {before.job}", flush=True)
    if number != before.job:
        line = replace(before, job=number, overrides=overrides, seconds=0.0)
        journal.append(sweep, line)
        _forget(folder)
    return {"status": before.status, "objective": before.objective}


def _study(search: Search, sweep: Path, experiment: str) -> dict[str, Any] | None:
    """What the pruning callback of the job needs; None without a pruner."""
    if search.pruner is None or search.trial is None:
        return None
    storage, name = study_of(search, sweep, experiment)
    return {
        "storage": storage,
        "name": name,
        "trial": search.trial,
        "monitor": search.objective,
        "pruner": search.pruner,
        "num_startup_trials": search.num_startup_trials,
        "warmup_updates": search.warmup_updates,
    }


def _run(made: SweepJob, folder: Path, search: Search) -> tuple[int, int | None]:
    (folder / RESULT).unlink(missing_ok=True)  # of an attempt that was cut off
    made.write(folder)
    env = process.environment()
    with _gpus(made.config, search) as names:
        if names is not None:
            env["CUDA_VISIBLE_DEVICES"] = names
        name = f"train-{_task()}.log" if _task() else "train.log"
        return process.run(command(folder), folder / name, env)


def _gpus(config: dict[str, Any], search: Search) -> Any:
    if search.jobs_per_gpu is None:
        return nullcontext()
    devices = config["trainer"].get("devices", 1)
    if not isinstance(devices, int) or devices < 1:
        raise InputError(
            f"trainer.devices={devices}: with search.jobs_per_gpu a job must say how many GPUs"
        )
    return gpu.take(devices, search.jobs_per_gpu)


def _outcome(code: int, folder: Path, name: str) -> tuple[str, float | None, str | None]:
    """Status, objective and one line of error from how the processes of a job ended."""
    log = folder / "train.log"
    if code == errors.DONE:
        try:
            record = read_result(folder)
            if not record:
                return journal.FAILED, None, f"it ended without a {RESULT}"
            value = settings.value_of(name, record)
        except (InputError, KeyError) as error:
            return journal.FAILED, None, str(error.args[0])
        if math.isfinite(value):
            return journal.DONE, value, None
        return journal.FAILED, None, f"{name} is not finite"
    by = process.signal_of(code)
    if by is not None:
        status = journal.INTERRUPTED if by in process.STOPS else journal.KILLED
        return status, None, last_error(log) or f"{by.name} (signal {by:d})"
    status = _STATUS.get(code, journal.FAILED)
    error_line = None if status == journal.PRUNED else last_error(log) or f"exit code {code}"
    return status, None, error_line


def last_error(log: Path) -> str | None:
    """The last line of a log that is an error's."""
    for line in reversed(log.read_text(errors="replace", encoding="utf-8").splitlines()):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
        text = re.sub(r"^\[rank\d+\]: ?", "", line)
        if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", text):
            return text
    return None


def _forget(folder: Path) -> None:
    """Takes away what a job has left that was refused before its work began."""
    if not (folder / CONFIG).exists():
        (folder / "train.log").unlink(missing_ok=True)
        remove_empty(folder)
