"""A job of a sweep has a folder of its own."""

import os
from collections.abc import Mapping, Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from restore.sweep import journal
from restore.sweep.journal import Line
from restore.sweep.ranking import swept
from restore.types import InputError

_DEFAULT = "${hydra:job.num}"  # of conf/train.yaml; jobs need not be composed to tell these apart


def check(
    loader: ConfigLoader,
    config: DictConfig,
    jobs: Mapping[int, Sequence[str]],
    ended: Sequence[Line] = (),
) -> None:
    """Raises InputError for jobs, overrides by number, that share a folder.

    With each other, with the sweep, or with other jobs that have ended. A search may suggest a
    point for the second time: what has ended with equal overrides is the same work.
    """
    subdir = str(config.hydra.sweep._get_node("subdir"))
    if subdir == _DEFAULT:
        return
    taken: dict[str, tuple[int, list[str]]] = {}
    for number, given in jobs.items():
        name, overrides = _resolve(loader, config, number, given), journal.keep(list(given))
        if name == os.curdir:
            raise InputError(
                f"hydra.sweep.subdir={subdir} is the folder of the sweep itself: a job needs one "
                "of its own, such as ${hydra.job.num}"
            )
        before = {
            os.path.normpath(line.folder): (line.job, line.overrides)
            for line in ended
            if line.job != number and line.overrides != overrides
        } | taken
        if name in before:
            raise InputError(
                f"{_named(*before[name], number, overrides)} would share the folder {name}: add "
                f"${{hydra.job.num}} to hydra.sweep.subdir={subdir}, or every key that is swept"
            )
        taken[name] = number, overrides


def _resolve(
    loader: ConfigLoader, config: DictConfig, number: int, overrides: Sequence[str]
) -> str:
    """The folder of a job below the sweep's, as a launcher will read it from the job's config."""
    composed = loader.load_sweep_config(config, list(overrides))
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    instance = HydraConfig.instance()
    before = instance.cfg
    try:
        instance.set_config(composed)  # which ${hydra:...} reads
        sweep = str(composed.hydra.sweep.dir)
        return os.path.relpath(os.path.join(sweep, str(composed.hydra.sweep.subdir)), sweep)
    finally:
        instance.cfg = before


def _named(one: int, first: Sequence[str], other: int, second: Sequence[str]) -> str:
    """Two jobs, with the settings in which they differ."""
    differing = swept([first, second])
    told = ", ".join(f"{key}={values[0]} and {values[1]}" for key, values in differing.items())
    return f"jobs {one} and {other} ({told or 'which are equal'})"
