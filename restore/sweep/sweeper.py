"""Hydra's sweepers: the grid, and random search and TPE on current Optuna.

Hydra's own grid composes every job twice, of a sweep that goes on those that are done, too.
hydra-optuna-sweeper 1.3 is bound to Optuna 2.10, ends at the first NaN and cannot be resumed.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from restore.config.command import conf, plain
from restore.sweep import journal, settings, start, subdir
from restore.sweep.journal import Line
from restore.sweep.ranking import Sweep, swept
from restore.types import InputError

# Hydra builds no sweeper from any other package. By this name the workers of a launcher, which
# import this module with the first thing that they are given, find it too.
_MODULE = "hydra_plugins.restore"
sys.modules[_MODULE] = sys.modules[__name__]


class _Launching(Sweeper):
    """What both sweepers have: Hydra's context, and a launcher."""

    __module__ = _MODULE

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context: HydraContext = hydra_context
        self.config: DictConfig = config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def _parsed(self, arguments: list[str]) -> list[Override]:
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        return parser.parse_overrides(arguments)

    def _launch_apart(self, jobs: Mapping[int, list[str]]) -> list[Any]:
        """What the jobs, overrides by rising number, return; consecutive ones run together."""
        batches: list[list[list[str]]] = []
        firsts: list[int] = []
        for number, overrides in jobs.items():
            if not batches or number != firsts[-1] + len(batches[-1]):
                batches.append([])
                firsts.append(number)
            batches[-1].append(overrides)
        returned: list[Any] = []
        for first, batch in zip(firsts, batches, strict=True):
            ended = self.launcher.launch(batch, initial_job_idx=first)
            returned += [one.return_value for one in ended]  # raises what the job has raised
        return returned


class GridSweeper(_Launching):
    """Every combination of the values; what the journal says is done is not even composed."""

    __module__ = _MODULE

    def __init__(self, max_batch_size: int | None = None, params: Any = None) -> None:
        self.max_batch_size = max_batch_size  # of Hydra's own: jobs are launched together here

    def sweep(self, arguments: list[str]) -> None:
        overrides = self._parsed(arguments)
        _check_values(overrides)
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        ended = journal.read(folder)
        _check_same(jobs, ended)
        done = {line.job for line in ended if line.status == journal.DONE}
        left = {k: job for k, job in enumerate(jobs) if k not in done}
        if done:
            print(f"{len(jobs) - len(left)} of {len(jobs)} jobs are done", flush=True)
        self._check(left, overrides)
        # All of them: what is left must not write where a job that is done has written.
        subdir.check(self.hydra_context.config_loader, self.config, dict(enumerate(jobs)))
        Sweep.count(folder, len(jobs))
        self._launch_apart(left)

    def _check(self, jobs: Mapping[int, list[str]], overrides: list[Override]) -> None:
        """Composes a job of every config file that is chosen: before any of them runs."""
        groups = {one.get_key_element() for one in overrides if _is_group(one.key_or_group)}
        seen: set[str] = set()
        chosen: list[int] = []
        for number, job in jobs.items():
            choices = {one for one in job if one.partition("=")[0] in groups}
            if not chosen or choices - seen:
                chosen.append(number)
                seen |= choices
        if len(jobs) > 1:
            print(f"checking {len(chosen)} of {len(jobs)} jobs", flush=True)
        self.validate_batch_is_legal([jobs[number] for number in chosen])
        if groups & {"experiment", "benchmark"}:  # the sweep's own config told for no job
            search = settings.parse(start.plain_at(self.config, "search"))
            for number in chosen:
                loader = self.hydra_context.config_loader
                composed = loader.load_sweep_config(self.config, list(jobs[number]))
                settings.settle(search, start.parts(composed))


def _check_same(jobs: Sequence[list[str]], ended: Sequence[Line]) -> None:
    """Raises InputError where a number is another job's than when the sweep began, over whose
    folder it would be written."""
    for line in ended:
        now = journal.keep(jobs[line.job]) if line.job < len(jobs) else line.overrides
        if now != line.overrides:
            told = ", ".join(
                f"{key}={before}, and {after} now"
                for key, (before, after) in swept([line.overrides, now]).items()
            )
            raise InputError(
                f"job {line.job} of this sweep has {told}: files that glob(...) matches have come "
                "or gone; take that back, or start another sweep"
            )


def _check_values(overrides: list[Override]) -> None:
    """Raises InputError for a key that has no value to make jobs of, or more than can be listed."""
    for one in overrides:
        if one.is_sweep_override() and not one.is_discrete_sweep():
            raise InputError(
                f"{one.input_line} has no list of values to combine: add search=random or "
                "search=tpe, or give values with commas"
            )
        if one.is_discrete_sweep() and next(one.sweep_string_iterator(), None) is None:
            reason = "the range is empty" if one.is_range_sweep() else "nothing matches"
            raise InputError(f"{one.input_line}: {reason}")


def _is_group(key: str) -> bool:
    return (conf() / key).is_dir()


class OptunaSweeper(_Launching):
    """Asks a study for the next jobs, launches them, tells the study how they ended."""

    __module__ = _MODULE

    def sweep(self, arguments: list[str]) -> Any:
        from restore.sweep import study

        search = settings.parse(plain(self.config.search))
        fixed, space = study.split(self._parsed(arguments))
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        direction = Sweep.read(folder).direction
        named = study_of(search, folder, _experiment(self.config))
        opened = study.open_study(*named, direction)
        study.check_space(opened, space)
        place, ended = os.path.realpath(folder), journal.read(folder)
        free = study.reclaim(opened, place, [line.job for line in ended], search.storage is None)
        if search.storage is None:
            Sweep.count(folder, search.num_trials)
        while (left := search.num_trials - study.count(opened)) > 0:
            trials = []
            for _ in range(min(search.num_jobs, left)):
                trials.append(study.ask(opened, search, space, place, free))
                free = max(free, trials[-1].user_attrs["job"] + 1)
            for trial, outcome in zip(trials, self._launch(fixed, trials), strict=True):
                study.tell(opened, trial, outcome)
        return None

    def _launch(self, fixed: list[str], trials: Sequence[Any]) -> list[dict[str, Any]]:
        """Outcomes in the order of trials."""
        jobs = {}
        for trial in trials:
            chosen = [f"{key}={value}" for key, value in trial.params.items()]
            jobs[trial.user_attrs["job"]] = [*fixed, *chosen, f"search.trial={trial.number}"]
        self.validate_batch_is_legal(list(jobs.values()))
        ended = journal.read(Path(self.config.hydra.sweep.dir))
        subdir.check(self.hydra_context.config_loader, self.config, jobs, ended)
        return self._launch_apart(jobs)


def _experiment(config: DictConfig) -> str:
    return str(config.hydra.runtime.choices["experiment"])


def study_of(search: settings.Search, sweep: Path, experiment: str) -> tuple[str, str]:
    """Storage and name of the study: machines that share the storage share the study."""
    storage = search.storage or str(sweep / "study.journal")
    return storage, f"{experiment} {Sweep.read(sweep).direction} {search.objective}"


def register() -> None:
    """Makes `hydra/sweeper: restore` known to Hydra, and the grid its basic sweeper."""
    store, plugins = ConfigStore.instance(), Plugins.instance()
    for name, sweeper in (("restore", OptunaSweeper), ("basic", GridSweeper)):
        node = {"_target_": f"{_MODULE}.{sweeper.__name__}"}
        store.store(group="hydra/sweeper", name=name, node=node, provider="restore")
        plugins.register(sweeper)
