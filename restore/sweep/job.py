"""python -m restore.sweep.job FOLDER: one job of a sweep, started from its one resolved config.

Lightning starts the other ranks by the same command line, so that all have the same config.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from restore import collector
from restore.folder import write_whole
from restore.recovery import lock
from restore.recovery.parent import die_with_parent
from restore.sweep import journal
from restore.types import InputError


@dataclass(frozen=True)
class SweepJob:
    """What a job needs to know."""

    number: int
    config: dict[str, Any]
    hash: str
    experiment: str
    overrides: list[str]
    study: dict[str, Any] | None = None  # arguments of restore.sweep.pruning.Pruning
    again: str | None = None  # the command that goes on with the sweep

    def write(self, folder: Path) -> None:
        """Writes whole or not at all: several tasks of a cluster may write the same job."""
        path = _path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> "SweepJob":
        job = cls(**json.loads(_path(folder).read_text(encoding="utf-8")))
        assert journal.hash_of(job.config) == job.hash
        return job


def _path(folder: Path) -> Path:
    return folder / ".hydra" / "job.json"


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "restore.sweep.job", str(folder)]


def main() -> None:
    die_with_parent()
    from restore import errors

    folder = Path(sys.argv[1])
    job = SweepJob.read(folder)
    rank = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_PROCID", "0")
    print(f"job {job.number} rank {rank} config {job.hash}", flush=True)
    errors.run(lambda: _train(job, folder))


def _train(job: SweepJob, folder: Path) -> None:
    if lock.is_first():
        lock.hold(folder)
    with collector.paused():
        from restore.training import fit, run

    extra: dict[str, Any] = {}
    if job.study is not None:
        from restore.sweep.pruning import Pruning

        extra["pruning"] = Pruning(**job.study)
    resumed = _interrupted(job, folder)
    config = job.config if resumed is None else resumed.config
    prepared = run.prepare(config, folder, job.experiment, job.overrides, extra, resumed)
    fit.train(prepared, job.again)


def _interrupted(job: SweepJob, folder: Path) -> Any:
    """An earlier attempt at this job, to go on with; None where it left no whole checkpoint."""
    from restore.config.naming import packages_of
    from restore.training import resume

    named = {"packages": packages_of(job.config)}
    try:
        earlier = resume.load(folder, named, allow_inexact=False)
    except InputError:
        return None
    config = _settled(job.config, earlier.content)
    if resume.differences(earlier.content["config"], config):
        return None
    earlier.config = config
    return earlier


def _settled(config: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """The config of a job, with what a run settles once as it stands in its checkpoint: what
    precision=auto became, and a codec by its network, where the path has the same weights still."""
    import torch

    from restore.build import build
    from restore.config.trust import Trust

    task, trainer = config["task"], config["trainer"]
    if trainer.get("precision") in (None, "auto"):
        trainer = {**trainer, "precision": content["config"]["trainer"]["precision"]}
    if (task.get("codec") or {}).get("path") is not None:
        codec = build(task["codec"], "task.codec", trust=Trust.of(config))
        own = {f"codec.{name}": tensor for name, tensor in codec.state_dict().items()}
        held = content["state_dict"]
        if all(name in held and torch.equal(held[name], own[name]) for name in own):
            task = {**task, "codec": codec.node}
    return {**config, "task": task, "trainer": trainer}


if __name__ == "__main__":
    main()
