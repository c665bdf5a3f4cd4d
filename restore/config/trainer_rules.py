"""What the trainer section of a config may say, before anything is built."""

import os
import re
from typing import Any

from restore.types import InputError

Config = dict[str, Any]

# Weights, EMA and what a schedule computes stay in float32, whatever the network multiplies in.
TRAINED = ("auto", "32-true", "32", "bf16-mixed", "bf16", "16-mixed", "16")  # trainer.precision
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
STRATEGIES = ("auto", "ddp", *(f"ddp_find_unused_parameters_{one}" for one in ("true", "false")))
# Keys of Lightning's Trainer that mean something else, or nothing, here.
REFUSED = {
    "max_steps": "it counts the steps of every optimizer: set max_updates",
    "min_steps": "max_updates ends a run",
    "min_epochs": "max_updates ends a run",
    "gradient_clip_val": "set task.clip_norm, which has one meaning for all tasks",
    "accumulate_grad_batches": "set task.accumulate, which has one meaning for all tasks",
    "fast_dev_run": "a run without checkpoints cannot end: take debug=smoke",
    "enable_checkpointing": "a run without checkpoints cannot end",
    "reload_dataloaders_every_n_epochs": "every epoch is drawn anew without it, and a stream would "
    "begin with its first one again",
    "callbacks": "name each one, as +callback.mine._target_=mylab.watch.Mine",
    "logger": "choose one as logger=NAME",
    "default_root_dir": "set hydra.run.dir",
    "plugins": "precision and processes choose them",
}


def check_trainer(trainer: Config, task: Config) -> None:
    for key, reason in REFUSED.items():
        if key in trainer:
            raise InputError(f"trainer.{key} is refused: {reason}")
    precision = trainer.get("precision")
    if precision is not None and str(precision) not in TRAINED:
        raise InputError(
            f"trainer.precision={precision} is refused: weights and images stay in float32, use "
            "bf16-mixed, 16-mixed (on a GPU) or 32-true"
        )
    _check_parts(trainer)
    limit = trainer.get("max_time")
    form = r"(?=.*[1-9])\d+:\d\d:\d\d:\d\d"
    if isinstance(limit, str) and not re.fullmatch(form, limit.strip()):
        raise InputError(f"trainer.max_time={limit} is no time: give DAYS:HH:MM:SS, as 00:02:30:00")
    if "_target_" in trainer and trainer.get("use_distributed_sampler") is not False:
        raise InputError("trainer.use_distributed_sampler must be false: the data module shards")
    strategy = trainer.get("strategy")
    apart = ("ddp", "ddp_find_unused_parameters_false")
    if task.get("adversary") is not None and strategy in apart:
        raise InputError(
            f"trainer.strategy={strategy} stops at a task with an adversary, whose players step "
            "apart: use trainer.strategy=auto"
        )


def _check_parts(trainer: Config) -> None:
    epochs = trainer.get("max_epochs")
    if isinstance(epochs, int) and epochs < 1 and epochs != -1:
        raise InputError(
            f"trainer.max_epochs={epochs} must be at least 1, or -1, where max_updates alone ends "
            "a run"
        )
    for key in ("val_check_interval", "limit_train_batches", "limit_val_batches"):
        value = trainer.get(key)
        if isinstance(value, int | float) and value <= 0:
            raise InputError(
                f"trainer.{key}={value} must be a number of batches from 1 up, or a part above 0: "
                "a run trains, and its best checkpoint is what validation found"
            )
        if isinstance(value, float) and value > 1:
            raise InputError(
                f"trainer.{key}={value} must be a whole number of batches, or a part of at most 1"
            )


def check_machine(trainer: Config) -> None:
    """Raises InputError for what no machine, or not this one, can start."""
    accelerator, devices = trainer.get("accelerator", "auto"), trainer.get("devices", 1)
    if accelerator not in ACCELERATORS:
        raise InputError(
            f"trainer.accelerator={accelerator} is not served: choose from "
            f"{', '.join(ACCELERATORS)}"
        )
    strategy = trainer.get("strategy", "auto")
    if strategy not in STRATEGIES:
        raise InputError(
            f"trainer.strategy={strategy} is not served: choose from {', '.join(STRATEGIES)}"
        )
    if type(devices) is not int:
        return
    least = 1 if accelerator == "cpu" or devices != -1 else -1
    if devices < least:
        raise InputError(
            f"trainer.devices={devices} must be at least 1, or -1 for all GPUs of the machine"
        )
    cores = os.cpu_count() or 1
    if accelerator == "cpu" and devices > max(4, 2 * cores):
        raise InputError(
            f"trainer.devices={devices} asks for as many processes on {cores} CPU cores: take at "
            f"most {max(4, 2 * cores)}"
        )
