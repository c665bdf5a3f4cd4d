"""python train.py experiment=NAME [group=choice] [key=value] [-m]

Trains an experiment, evaluates its best checkpoint on its benchmarks and writes the record.
`--cfg job` prints the config, `--help` examples, groups and what keys mean.
"""

import re
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from restore import collector, errors, launch
from restore.config import command, manual, rules, searchpath
from restore.config.drawing import check_drawing
from restore.config.resume_request import resume_request
from restore.folder import run_folder, written_by_hydra
from restore.recovery import lock
from restore.recovery.parent import die_with_launcher
from restore.sweep import multirun, sweeper

sweeper.register()


def main() -> None:
    """Goes on with the run that resume.path names, with its own config, or composes a new one."""
    die_with_launcher()
    try:
        _main()
    finally:
        lock.release()


def _main() -> None:
    if manual.is_asked(sys.argv[1:]):
        print(manual.text("train", sys.argv[1:], (__doc__ or "").partition("\n\n")[2].rstrip()))
        return
    sys.argv[1:] = command.spell(
        [re.sub("^init=", "init.path=", argument) for argument in sys.argv[1:]]
    )
    searchpath.check(sys.argv[1:])
    request = resume_request(sys.argv[1:])
    if request is None:
        with written_by_hydra():
            multirun.conclude(command.patient(composed))()
        return
    with collector.paused():
        from restore.training import fit, resume, run

        resumed = resume.load(request.folder, request.settings, request.allow_inexact)
        own = resumed.config, resumed.folder, resumed.experiment, resumed.overrides
        prepared = run.prepare(*own, resumed=resumed)
    fit.train(prepared)


@hydra.main(version_base="1.3", config_path=str(command.conf()), config_name="train")
def composed(cfg: DictConfig) -> Any:
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir).resolve()
    if job.mode == RunMode.MULTIRUN:
        return multirun.job(cfg, folder)
    with run_folder(folder):
        config = multirun.single(command.plain(cfg), str(job.runtime.choices["hydra/launcher"]))
        rules.check_run(config)
        check_drawing(config)
        with collector.paused():
            from restore.training import trial

            trial.check(config)
            from restore.training import fit, run

            folder = launch.share(folder, config.get("trainer"))
            experiment = str(job.runtime.choices["experiment"])
            prepared = run.prepare(config, folder, experiment, list(job.overrides.task))
        fit.train(prepared)


if __name__ == "__main__":
    errors.run(main)
