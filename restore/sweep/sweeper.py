"""Hydra's sweeper for random search and TPE on current Optuna.

hydra-optuna-sweeper 1.3 is bound to Optuna 2.10, ends at the first NaN and cannot be resumed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from restore.config.command import plain
from restore.sweep import settings

# Hydra builds no sweeper from any other package. By this name the workers of a launcher, which
# import this module with the first thing that they are given, find it too.
_MODULE = "hydra_plugins.restore"
sys.modules[_MODULE] = sys.modules[__name__]


class OptunaSweeper(Sweeper):
    """Asks a study for the next jobs, launches them, tells the study how they ended."""

    __module__ = _MODULE

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context: HydraContext = hydra_context
        self.config: DictConfig = config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from restore.sweep import study

        search = settings.parse(plain(self.config.search))
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        fixed, space = study.split(parser.parse_overrides(arguments))
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        opened = study.open_study(
            *study_of(search, folder, _experiment(self.config)), search.direction
        )
        free = study.reclaim(opened, str(folder))
        while (left := search.num_trials - study.count(opened)) > 0:
            trials = []
            for _ in range(min(search.num_jobs, left)):
                trial = study.ask(opened, search, space)
                if "job" not in trial.user_attrs:
                    trial.set_user_attr("sweep", str(folder))
                    trial.set_user_attr("job", free)
                    free += 1
                trials.append(trial)
            for trial, outcome in zip(trials, self._launch(fixed, trials), strict=True):
                study.tell(opened, trial, outcome)
        return None

    def _launch(self, fixed: list[str], trials: Sequence[Any]) -> list[dict[str, Any]]:
        """Outcomes in the order of trials; those with consecutive job numbers run together."""
        batches: list[list[list[str]]] = []
        firsts: list[int] = []
        for trial in trials:
            job = trial.user_attrs["job"]
            chosen = [f"{key}={value}" for key, value in trial.params.items()]
            overrides = [*fixed, *chosen, f"search.trial={trial.number}"]
            if not batches or job != firsts[-1] + len(batches[-1]):
                batches.append([])
                firsts.append(job)
            batches[-1].append(overrides)
        outcomes: list[dict[str, Any]] = []
        for first, batch in zip(firsts, batches, strict=True):
            self.validate_batch_is_legal(batch)
            returned = self.launcher.launch(batch, initial_job_idx=first)
            outcomes += [one.return_value for one in returned]
        return outcomes


def _experiment(config: DictConfig) -> str:
    return str(config.hydra.runtime.choices["experiment"])


def study_of(search: settings.Search, sweep: Path, experiment: str) -> tuple[str, str]:
    """Storage and name of the study: machines that share the storage share the study."""
    storage = search.storage or str(sweep / "study.journal")
    return storage, f"{experiment} {search.direction} {search.objective}"


def register() -> None:
    """Makes `hydra/sweeper: restore` known to Hydra."""
    target = f"{_MODULE}.{OptunaSweeper.__name__}"
    ConfigStore.instance().store(group="hydra/sweeper", name="restore", node={"_target_": target})
    Plugins.instance().register(OptunaSweeper)
