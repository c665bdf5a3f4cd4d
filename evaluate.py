"""python evaluate.py 'checkpoint=[A,B]' 'baseline=[telea]' 'benchmark=[X,Y]' [sampler=ddim ...]

Measures checkpoints and baselines on benchmarks. All that a checkpoint needs is in the checkpoint;
sampler= and guidance= replace its own.
"""

import os
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from restore import cli

os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # cli.run turns what escapes into one line


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir).resolve()
    single = job.mode == RunMode.RUN
    with cli.run_folder(folder, alone=single):
        config = cli.plain(cfg)
        if not single:
            from restore import rules

            rules.check_one_process(config)
        evaluate(config, folder)


def evaluate(config: dict[str, Any], folder: Path) -> list[Any]:
    """Every method on every benchmark: reports, and files in `folder`."""
    from restore import build, rules
    from restore.callback import tracking
    from restore.evaluation import report, results, runner

    rules.check_evaluation(config)
    paths = cli.listed(config["checkpoint"])
    methods = [build.method(Path(path), config) for path in paths] + build.baselines(config)
    methods += build.published(config)
    pairs = []
    for method in methods:
        batch_size = min(config["batch_size"], method.batch_size or config["batch_size"])
        for benchmark in build.benchmarks(config, batch_size, method.num_calls):
            benchmark.check_method(method)
            pairs.append((method, benchmark))
    trainer, tracker = build.tester(config), build.tracker(config, folder)
    if trainer.is_global_zero:
        cli.work_begins(folder, OmegaConf.to_yaml(OmegaConf.create(config)))
        if tracker is not None:
            tracker.begin("evaluate", "evaluate", config, config["benchmark"])
    with tracking.finished([tracker]):
        reports = [runner.evaluate(trainer, method, benchmark) for method, benchmark in pairs]
        if trainer.is_global_zero:
            report.write(folder, reports)
            report.track([tracker], reports, {})
    if trainer.is_global_zero:
        report.print_table(reports)
        if config["record"]:
            results.append(Path(__file__).with_name("experiments") / "results.csv", reports)
    return reports


if __name__ == "__main__":
    cli.run(main)
