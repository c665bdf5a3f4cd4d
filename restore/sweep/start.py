"""The start of a run, which takes its folder, and of a sweep, whose `search` is checked."""

import copy
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from restore import errors, launch
from restore.config.command import plain, quote, takes
from restore.folder import make
from restore.recovery import lock
from restore.sweep import process, ranking, settings
from restore.types import InputError

CURRENT: list[Path] = []  # the folder of the sweep that this process runs
MADE: list[Path] = []  # the same, if this process has made it


class Start(Callback):
    """Hydra's callback at the start: of a run takes its folder, of a sweep checks `search` and
    settles the folder."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Takes the folder of a single run, before Hydra writes in it."""
        try:
            HydraConfig.instance().set_config(config)  # which ${hydra:...} reads
            folder = Path(str(config.hydra.run.dir)).absolute()
            with read_write(config.hydra):
                config.hydra.run.dir = str(folder)
            if lock.is_first():
                lock.claim(folder)
        except Exception as error:
            sys.exit(errors.explain(error))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            # ${hydra:...} reads it, and what it has been given cannot be changed any more.
            HydraConfig.instance().set_config(copy.deepcopy(config))
            _list_own(config)
            self._start(config)
        except Exception as error:  # Hydra would make a warning of it
            sys.exit(errors.explain(error))

    def _start(self, config: DictConfig) -> None:
        launch.check_sweep()
        search = settings.parse(plain_at(config, "search"))
        if search.sampler and importlib.util.find_spec("optuna") is None:
            raise InputError(
                f"search.sampler={search.sampler} needs Optuna: pip install -e '.[sweep]'"
            )
        _check_launcher(str(config.hydra.runtime.choices["hydra/launcher"]), search.num_jobs)
        if _sweeps_over(config, ("experiment", "benchmark")):
            search = settings.as_given(search)  # what is measured differs from job to job
        else:
            search = settings.settle(search, parts(config))
        place = _place(config)
        exists = Path(place).exists()
        folder = make(place, "sweep")
        # Before anything is written, and before this process may take the folder away.
        lock.hold(folder, "sweep")
        if not exists:
            MADE.append(folder)
        # Jobs compose anew, some of them elsewhere and later: with the folder of their own
        # experiment and their own time, were it not for this.
        with read_write(config), open_dict(config):
            config.hydra.sweep.dir = str(folder)
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quote(str(folder))}")
        _add_pluses(config)
        assert search.direction is not None
        started = ranking.Sweep(sys.argv, os.getcwd(), search.objective, search.direction)
        started.settle(folder)
        os.environ[process.SWEEP] = str(os.getpid())
        CURRENT.append(folder)
        print(folder, flush=True)


def _list_own(config: DictConfig) -> None:
    """Adds the folders of hydra.searchpath to those in which Hydra's loader lists what glob(...)
    matches; by itself it composes from them, and lists those of this project alone."""
    loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    path = copy.deepcopy(loader.get_search_path())
    for place in config.hydra.searchpath:
        path.append("hydra.searchpath", place)
    loader.repository.initialize_sources(path)


def _check_launcher(launcher: str, num_jobs: int) -> None:
    if num_jobs > 1 and launcher == "basic":
        raise InputError(f"search.num_jobs={num_jobs} needs hydra/launcher=joblib or submitit_*")
    if launcher == "submitit_slurm" and shutil.which("srun") is None:
        raise InputError(
            "hydra/launcher=submitit_slurm needs srun, which is not here: start it on a node "
            "of SLURM, or take hydra/launcher=submitit_local"
        )


def parts(config: DictConfig) -> dict[str, Any]:
    """What says what is measured. In a sweep's own config, keys with several values are still
    their defaults."""
    made: dict[str, Any] = {key: plain_at(config, key) for key in ("data", "task", "benchmark")}
    return {**made, **plain(OmegaConf.masked_copy(config, "packages"))}


def _place(config: DictConfig) -> str:
    """The sweep's folder; one that is named after the experiment is named after all of them."""
    place = str(config.hydra.sweep.dir)
    given = any(
        one.lstrip("+").startswith("hydra.sweep.dir=") for one in config.hydra.overrides.hydra
    )
    loader = GlobalHydra.instance().config_loader()  # which lists what glob(...) names
    parsed = OverridesParser.create(loader).parse_overrides(list(config.hydra.overrides.task))
    swept = [one for one in parsed if one.is_sweep_override() and one.key_or_group == "experiment"]
    if given or not swept:
        return place
    # An experiment may lie in a folder of conf/experiment.
    names = [name.replace("/", "_") for name in swept[0].sweep_string_iterator()]
    more = f"+{len(names) - 3}_more" if len(names) > 3 else ""
    folder = Path(place)
    return str(folder.parent.with_name("+".join(names[:3]) + more) / folder.name)


def plain_at(config: DictConfig, key: str) -> dict[str, Any]:
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


def _sweeps_over(config: DictConfig, groups: tuple[str, ...]) -> bool:
    parsed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    return any(one.is_sweep_override() and one.key_or_group in groups for one in parsed)
