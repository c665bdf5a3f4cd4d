"""Lightning's trainers: the one of a run, and the one that only evaluates."""

import logging
import warnings
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, Trainer

from restore.build import build
from restore.recovery.preemption import EndOnSignal
from restore.types import InputError

Config = dict[str, Any]


def trainer(config: Config, folder: Path, callbacks: list[Callback], loggers: list[Any]) -> Trainer:
    """The trainer of a run, which writes below `folder`."""
    _quieten()
    called = [*callbacks, *(one for one in loggers if isinstance(one, Callback))]
    given = {"callbacks": called, "logger": loggers, "default_root_dir": folder}
    return _as_trainer(build(config["trainer"], "trainer", **given, plugins=_cluster()))


def tester(config: Config) -> Trainer:
    """A trainer that only evaluates: same devices, full precision, no files."""
    _quieten()
    keys = ("_target_", "accelerator", "devices", "num_nodes", "strategy", "limit_test_batches")
    node = {key: config["trainer"][key] for key in keys if key in config["trainer"]}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    own = {"use_distributed_sampler": False, "precision": "32-true", "logger": False}
    node = {**node, **quiet, **own, "enable_checkpointing": False}
    given = {"callbacks": [EndOnSignal()], "plugins": _cluster()}
    return _as_trainer(build(node, "trainer", **given))


def _cluster() -> list[SLURMEnvironment]:
    """Under SLURM submitit queues a preempted job again, so that Lightning must not."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _quieten() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips and adverts
    warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")
    warnings.filterwarnings("ignore", ".*LeafSpec")
    # restore.recovery.position goes on within an epoch, and in the folder of the run.
    warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before")
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")


def _as_trainer(made: Any) -> Trainer:
    if not isinstance(made, Trainer):
        raise InputError("trainer._target_ must be lightning.pytorch.Trainer")
    return made
