"""python train.py experiment=NAME [group=choice] [key=value] [-m]

Trains an experiment, evaluates its best checkpoint on its benchmarks and writes the record.
`--cfg job` prints the config, `--help` the groups and their choices.
"""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from restore import cli
from restore.sweep import multirun, rendezvous, sweeper

sweeper.register()
if TYPE_CHECKING:
    from restore.resume import Resumed

os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # cli.run turns what escapes into one line


def resumable(composed: Callable[[], Any]) -> Callable[[], Any]:
    """Goes on with the run that resume.path names, with its own config, or calls `composed`."""

    @functools.wraps(composed)
    def run() -> Any:
        request = cli.resume_request(sys.argv[1:])
        if request is None:
            return composed()
        from restore import resume

        resumed = resume.load(request.folder, request.settings, request.allow_inexact)
        settings = resumed.config, resumed.folder, resumed.experiment, resumed.overrides
        return train(*settings, resumed=resumed)

    return run


@resumable
@multirun.whole
@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> Any:
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir).resolve()
    if job.mode == RunMode.MULTIRUN:
        return multirun.job(cfg, folder)
    with cli.run_folder(folder):
        experiment = str(job.runtime.choices["experiment"])
        config = multirun.single(cli.plain(cfg))
        train(config, rendezvous.shared(folder), experiment, list(job.overrides.task))


def train(
    config: dict[str, Any],
    folder: Path,
    experiment: str,
    overrides: list[str],
    extra: dict[str, Any] | None = None,
    resumed: "Resumed | None" = None,
) -> dict[str, Any]:
    """Fits, evaluates the best checkpoint, writes and returns the record.

    What can be known to fail is checked before the first update. extra: callbacks beside the
    configured ones. resumed: the restore.resume.Resumed to go on with.
    """
    from lightning.pytorch import seed_everything

    from restore import build, rules
    from restore.callback import tracking
    from restore.evaluation import record, report
    from restore.evaluation.method import floor
    from restore.evaluation.runner import evaluate

    rules.check_run(config)
    seed_everything(config["seed"], workers=True, verbose=False)
    data = build.build(config["data"], "data")
    data.check("train", "val")
    task = build.build(config["task"], "task", facts=data.facts)
    sample = data.first("val")
    task.check(sample)
    benchmarks = build.benchmarks(config, data.batch_size, task.num_calls)
    for benchmark in benchmarks:
        benchmark.check_task(task, experiment)
    callbacks = build.callbacks(config, data.facts, experiment)
    trainer = build.trainer(config, folder, {**callbacks, **(extra or {})})
    if resumed is not None:
        resumed.check(task, data, trainer, callbacks["recovery"])
    if trainer.is_global_zero:
        cli.work_begins(folder, OmegaConf.to_yaml(OmegaConf.create(config)))

    checkpoint = None
    if resumed is not None:
        resumed.begin(trainer)
        checkpoint = str(resumed.checkpoint)
    with tracking.finished(trainer.loggers):
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)

        validation = {k: float(v) for k, v in trainer.callback_metrics.items() if k[:4] == "val/"}
        best = build.method(callbacks["best"].path, {})
        tester = build.tester(config)
        reports = [evaluate(tester, best, benchmark) for benchmark in benchmarks]
        result = {
            "experiment": experiment,
            "overrides": overrides,
            "seed": config["seed"],
            "training": record.training(callbacks["throughput"], task),
            "validation": validation,
            "resumed": callbacks["recovery"].history,
            "evaluation": [report.describe(one) for one in reports],
            **record.provenance(task.device.type),
        }
        if trainer.is_global_zero:
            report.write(folder, reports)
            record.write_json(folder / "result.json", result)
            files = {"best": callbacks["best"].path, "result": folder / "result.json"}
            report.track(trainer.loggers, reports, files)
    if trainer.is_global_zero:
        report.print_table(reports)
        names = list(config.get("benchmark") or {})
        print_end(experiment, callbacks["best"].path, names, validation, floor(sample))
    return result


def print_end(
    experiment: str,
    checkpoint: Path,
    benchmarks: list[str],
    validation: dict[str, float],
    baseline: str,
) -> None:
    """The last validation where nothing else was measured, and a command that works next."""
    if benchmarks:
        print(
            f"next: python evaluate.py 'checkpoint=[{checkpoint}]' baseline={baseline} "
            f"'benchmark=[{','.join(benchmarks)}]'"
        )
        return
    for name, value in validation.items():
        print(f"{name:<24} {value:.4f}")
    print(f"checkpoint: {checkpoint}")
    print(f"next: python train.py -m experiment={experiment} seed=1,2,3")


if __name__ == "__main__":
    cli.run(main)
