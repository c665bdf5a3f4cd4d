"""Lightning's trainers: the one of a run, and the one that only evaluates."""

import logging
import warnings
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loops.fit_loop import _FitLoop as FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop as EpochLoop

from restore import launch
from restore.build import build
from restore.config.trust import Trust
from restore.precision import EXACT
from restore.recovery.preemption import EndOnSignal
from restore.types import InputError

Config = dict[str, Any]


class SrunEnvironment(SLURMEnvironment):
    """Of tasks that srun started, without Lightning's requeue: submitit queues a preempted job.

    launch.check has counted them already; Lightning's own checks refuse plain `--ntasks`.
    """

    def __init__(self) -> None:
        super().__init__(auto_requeue=False)

    @staticmethod
    def _validate_srun_variables() -> None:
        pass

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        pass


class ValidatedEpochLoop(EpochLoop):
    """Lightning's loop of an epoch, in which a training that is stopped ends with a validation.

    Lightning makes none in the epochs that trainer.check_val_every_n_epoch leaves out. What a
    callback stops there, such as the timer of max_time, would end without a checkpoint of its end.
    """

    def _should_check_val_epoch(self) -> bool:
        stopped = self.trainer.should_stop and self.trainer.enable_validation
        return stopped or super()._should_check_val_epoch()


class EnteredFitLoop(FitLoop):
    """Lightning's loop of a training, which a resumed run enters where nothing is left to train.

    Lightning leaves it before `on_train_start` where max_epochs or max_time is reached, so that the
    last validation of a run that was stopped amid it would never be made.
    """

    @classmethod
    def put_into(cls, trainer: Trainer) -> None:
        before = trainer.fit_loop
        loop = cls(trainer, before.min_epochs, before.max_epochs)
        loop.epoch_loop, trainer.fit_loop = ValidatedEpochLoop(trainer), loop

    @property
    def skip(self) -> bool:
        resumed = self.trainer.ckpt_path is not None and self.max_batches > 0
        return super().skip and not resumed


def trainer(config: Config, folder: Path, callbacks: list[Callback], loggers: list[Any]) -> Trainer:
    """The trainer of a run, which writes below `folder`."""
    called = [*callbacks, *(one for one in loggers if isinstance(one, Callback))]
    players = 2 if config["task"].get("adversary") is not None else 1
    given = {"callbacks": called, "logger": loggers, "default_root_dir": folder}
    made = _made(config["trainer"], Trust.of(config), players, given)
    EnteredFitLoop.put_into(made)
    return made


def tester(config: Config, precision: str = EXACT, is_called: bool = False) -> Trainer:
    """A trainer that only evaluates: same devices, no files. is_called: as of EndOnSignal."""
    keys = ("_target_", "accelerator", "devices", "num_nodes", "strategy", "limit_test_batches")
    node = {key: config["trainer"][key] for key in keys if key in config["trainer"]}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    own = {"use_distributed_sampler": False, "precision": precision, "logger": False}
    node = {**node, **quiet, **own, "enable_checkpointing": False}
    return _made(node, Trust.of(config), 1, {"callbacks": [EndOnSignal(is_called)]})


def _made(node: Config, trust: Trust, players: int, given: dict[str, Any]) -> Trainer:
    """A trainer with the strategy that `auto` stands for.

    Two players step apart: an update of one leaves the other's weights without a gradient, which
    plain DDP takes for an error.
    """
    _quieten()
    started = launch.ready(node)
    several = launch.wanted_devices(node) != 1 or node.get("num_nodes", 1) != 1
    if node.get("strategy", "auto") == "auto" and several and players > 1:
        node = {**node, "strategy": "ddp_find_unused_parameters_true"}
    made = build(node, "trainer", trust=trust, **given, plugins=[_environment(started)])
    if not isinstance(made, Trainer):
        raise InputError("trainer._target_ must be lightning.pytorch.Trainer")
    launch.check(started, made.num_devices, made.num_nodes)
    return made


def _environment(started: launch.Launch) -> ClusterEnvironment:
    if started.launcher == "srun":
        return SrunEnvironment()
    if started.launcher in ("torchrun", "environment"):
        return TorchElasticEnvironment()
    return LightningEnvironment()


def _quieten() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips and adverts
    warnings.filterwarnings("ignore", "GPU available but not used")  # precision.settle says how
    warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")
    warnings.filterwarnings("ignore", ".*LeafSpec")
    # Of convolutions of one pixel, whose strides can be told in two ways.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    # Logging counts updates through all epochs, so that short ones lose no row.
    warnings.filterwarnings("ignore", r"The number of training batches \(\d+\) is smaller than")
    # restore.recovery.position goes on within an epoch, and in the folder of the run.
    warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before")
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
