"""python evaluate.py 'checkpoint=[A,B]' 'baseline=[telea]' 'benchmark=[X,Y]' [sampler=ddim ...]

Measures checkpoints and baselines on benchmarks. All that a checkpoint needs is in the checkpoint;
sampler= and guidance= replace its own, and guidance=null is without one.
"""

import re
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from restore import collector, errors, launch
from restore.config import command, manual, rules, searchpath
from restore.config.compose import unled
from restore.folder import run_folder, written_by_hydra
from restore.recovery.parent import die_with_launcher
from restore.run_files import RUN
from restore.types import InputError


def main() -> None:
    die_with_launcher()
    if manual.is_asked(sys.argv[1:]):
        print(manual.text("evaluate", sys.argv[1:], (__doc__ or "").partition("\n\n")[2].rstrip()))
        return
    sys.argv[1:] = command.spell(
        [re.sub("^outputs=", "outputs.dir=", argument) for argument in sys.argv[1:]]
    )
    searchpath.check(sys.argv[1:])
    with written_by_hydra():
        command.patient(composed)()


@hydra.main(version_base="1.3", config_path=str(command.conf()), config_name="evaluate")
def composed(cfg: DictConfig) -> None:
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir).resolve()
    single = job.mode == RunMode.RUN
    with run_folder(folder, alone=single):
        if (folder / RUN).exists():
            raise InputError(f"run folder {folder} holds a training: choose another hydra.run.dir")
        config = unled(command.plain(cfg), "evaluate", job.overrides.task)
        rules.check_evaluation(config)
        if not single:
            rules.check_one_process(config)
        with collector.paused():
            from restore.evaluation import evaluate
        folder = launch.share(folder, config.get("trainer"))
        evaluate.evaluate(config, folder)


if __name__ == "__main__":
    errors.run(main)
