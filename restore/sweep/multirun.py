"""train.py -m: every job of a sweep is a process group of its own, started from one resolved file.

Lightning starts the ranks of a job by its command line. In a sweep this is the sweep's, so that
every rank would run the sweep, in a folder and with hyperparameters of its own.
"""

import functools
import importlib.util
import json
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
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from restore import errors, launch
from restore.config import rules
from restore.config.command import plain, takes
from restore.folder import remove_empty
from restore.sweep import gpu, journal, process, ranking, settings
from restore.sweep.job import Job, command
from restore.sweep.settings import Search
from restore.sweep.sweeper import study_of
from restore.types import InputError

_STATUS = {
    errors.DONE: journal.DONE,
    errors.BAD_INPUT: journal.REFUSED,
    process.PRUNED: journal.PRUNED,
}
_current: list[Path] = []  # the folder of the sweep that this process runs
_made: list[Path] = []  # the same, if this process has made it


class Start(Callback):
    """Hydra's callback at the start of a multirun: checks `search`, settles the sweep's folder."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            self._start(config)
        except Exception as error:  # Hydra would make a warning of it
            sys.exit(errors.explain(error))

    def _start(self, config: DictConfig) -> None:
        launch.check_sweep()
        search = settings.parse(_plain(config, "search"))
        if search.sampler and importlib.util.find_spec("optuna") is None:
            refuse(f"search.sampler={search.sampler} needs Optuna: pip install -e '.[sweep]'")
        launcher = str(config.hydra.runtime.choices["hydra/launcher"])
        if search.num_jobs > 1 and launcher == "basic":
            refuse(f"search.num_jobs={search.num_jobs} needs hydra/launcher=joblib or submitit_*")
        if not _sweeps_over(config, ("experiment", "benchmark")):
            settings.check_objective(search.objective, {"benchmark": _plain(config, "benchmark")})
        folder = Path(config.hydra.sweep.dir).absolute()
        # Jobs compose anew, some of them elsewhere and later: with the folder of their own
        # experiment and their own time, were it not for this.
        quoted = QuotedString(str(folder), Quote.single).with_quotes()
        with read_write(config), open_dict(config):
            config.hydra.sweep.dir = str(folder)
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted}")
        if not folder.exists():
            folder.mkdir(parents=True)
            _made.append(folder)
        _add_pluses(config)
        started = ranking.Sweep(sys.argv, os.getcwd(), search.objective, search.direction)
        started.settle(folder)
        os.environ[process.SWEEP] = str(os.getpid())
        _current.append(folder)
        print(folder, flush=True)


def _plain(config: DictConfig, key: str) -> dict[str, Any]:
    node = OmegaConf.select(config, key)
    return {} if node is None else plain(node)


def _add_pluses(config: DictConfig) -> None:
    """A swept key that the YAML lacks and its class takes needs a plus in every job."""
    given = list(config.hydra.overrides.task)
    for index, one in enumerate(OverridesParser.create().parse_overrides(given)):
        parent, _, key = one.key_or_group.rpartition(".")
        node = OmegaConf.select(config, parent) if one.is_sweep_override() and parent else None
        plain_key = not (one.is_add() or one.is_force_add() or one.is_delete())
        if plain_key and isinstance(node, DictConfig) and key not in node and takes(node, key):
            config.hydra.overrides.task[index] = f"+{given[index]}"


def refuse(reason: str) -> None:
    raise InputError(reason)


def _sweeps_over(config: DictConfig, groups: tuple[str, ...]) -> bool:
    parsed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    return any(one.is_sweep_override() and one.key_or_group in groups for one in parsed)


def whole(main: Callable[[], Any]) -> Callable[[], None]:
    """Ends a sweep: what it found, which jobs failed, exit code; no folder where no job began."""

    @functools.wraps(main)
    def run() -> None:
        _current.clear()
        _made.clear()
        try:
            main()
        finally:
            os.environ.pop(process.SWEEP, None)
            for folder in _made:
                if not journal.read(folder) and not any(folder.glob("*/.hydra")):
                    shutil.rmtree(folder, ignore_errors=True)
                    remove_empty(folder)
        for folder in _current:
            sys.exit(ranking.finish(folder))

    return run


def single(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a run that is no sweep, for which `search` means nothing."""
    if config.pop("search", None):
        refuse("search= chooses the jobs of a sweep: add -m and a key with several values")
    return config


def job(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Hydra's task function for a job of a sweep: its status and its objective."""
    hydra = HydraConfig.get()
    sweep, number = Path(hydra.sweep.dir), int(hydra.job.num)
    overrides = [one for one in hydra.overrides.task if not re.match(r"[+~]*search\b", one)]
    started = time.monotonic()
    digest, told = "", None
    try:
        config = plain(cfg)
        search = Search(**(config.pop("search", None) or {}))
        settings.check_objective(search.objective, config)
        rules.check_run(config)
        digest = journal.hash_of(config)
        before = journal.done(sweep, digest)
        if before is not None:
            return _repeat(before, number, sweep, folder, overrides)
        experiment = str(hydra.runtime.choices["experiment"])
        study = _study(search, sweep, experiment)
        made = Job(number, config, digest, experiment, overrides, study)
        code, told = _run(made, folder, search)
        status, objective, error = _outcome(code, folder, search.objective)
    except Exception as failure:
        line = errors.one_line(failure)
        status = journal.REFUSED if line else journal.FAILED
        objective, error = None, line or f"{type(failure).__name__}: {failure}".splitlines()[0]
    if status == journal.REFUSED:
        _forget(folder)
    seconds = round(time.monotonic() - started, 1)
    name = os.path.relpath(folder, sweep)
    ended = journal.Line(number, name, overrides, digest, status, objective, seconds, error)
    if not _task():
        journal.append(sweep, ended)
        print(ranking.sentence(ended), flush=True)
    if told is not None:
        print(f"stopped: restore sweep {sweep} --resume goes on", flush=True)
        sys.exit(128 + told)
    return {"status": status, "objective": objective}


def _task() -> int:
    """Where a launcher starts several tasks for one job, the first one keeps the books."""
    return int(os.environ.get("SLURM_PROCID", 0))


def _repeat(
    before: journal.Line, number: int, sweep: Path, folder: Path, overrides: list[str]
) -> dict[str, Any]:
    """Equal configs give equal results."""
    print(f"job {number}: done before, as job {before.job}", flush=True)
    if number != before.job:
        again = replace(before, job=number, overrides=overrides, seconds=0.0)
        journal.append(sweep, again)
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


def _run(made: Job, folder: Path, search: Search) -> tuple[int, int | None]:
    (folder / "result.json").unlink(missing_ok=True)  # of an attempt that was cut off
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
        refuse(f"trainer.devices={devices}: with search.jobs_per_gpu a job must say how many GPUs")
    return gpu.taken(devices, search.jobs_per_gpu)


def _outcome(code: int, folder: Path, name: str) -> tuple[str, float | None, str | None]:
    """Status, objective and one line of error from how the processes of a job ended."""
    log = folder / "train.log"
    if code == errors.DONE:
        try:
            value = settings.value_of(name, json.loads((folder / "result.json").read_text()))
        except (OSError, KeyError) as error:
            return journal.FAILED, None, str(error.args[0] if error.args else error)
        if math.isfinite(value):
            return journal.DONE, value, None
        return journal.FAILED, None, f"{name} is not finite"
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        return journal.KILLED, None, last_error(log) or f"signal {number}"
    status = _STATUS.get(code, journal.FAILED)
    error_line = None if status == journal.PRUNED else last_error(log) or f"exit code {code}"
    return status, None, error_line


def last_error(log: Path) -> str | None:
    """The last line of a log that is an error's."""
    for line in reversed(log.read_text(errors="replace").splitlines()):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
        text = re.sub(r"^\[rank\d+\]: ?", "", line)
        if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", text):
            return text
    return None


def _forget(folder: Path) -> None:
    """Takes away what a job has left that was refused before its work began."""
    if not (folder / "config.yaml").exists():
        (folder / "train.log").unlink(missing_ok=True)
        remove_empty(folder)
