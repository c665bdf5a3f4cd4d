"""Checkpoints that say how they were made, in the run folder."""

import re
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from restore.callback.monitor import best_is_high, check_monitor
from restore.checkpoint import SUFFIX, DurableIO, is_whole
from restore.config.trust import foreign
from restore.run_files import CHECKPOINTS
from restore.types import InputError, RunError


class Checkpoint(ModelCheckpoint):
    """The file checkpoints/<name>.ckpt in the trainer's root folder, written after validation.

    monitor: the metric whose best value is kept; None keeps the newest. mode: None is that of the
    metric, and no other is accepted for those that validation is known to log. Two instances are
    used, because Lightning's save_last together with a monitor keeps an old `last`.

    A disk that refuses costs a warning, and the run if it still refuses at the end.
    """

    def __init__(
        self, name: str, monitor: str | None = None, mode: Literal["min", "max"] | None = None
    ) -> None:
        if not re.fullmatch(r"\w[\w.=-]*", name) or name.startswith("recovery"):
            raise InputError(
                f"callback: the checkpoint's name={name!r} must be a plain file name such as best, "
                "without folders and not recovery"
            )
        own: Literal["min", "max"] = "max" if monitor and best_is_high(monitor) else "min"
        if mode == "min" and own == "max":
            raise InputError(
                f"callback.{name}.mode=min keeps the worst {monitor}: leave it out, or set max"
            )
        super().__init__(
            filename=name,
            monitor=monitor,
            mode=mode or own,
            save_top_k=1,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self.name = name
        self.refused: OSError | None = None  # the last write

    @property
    def state_key(self) -> str:
        return f"Checkpoint.{self.name}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.dirpath = str(Path(trainer.default_root_dir) / CHECKPOINTS)
        super().setup(trainer, pl_module, stage)
        DurableIO.of(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.best_model_score, "monitor": self.monitor}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict.get("monitor", self.monitor) != self.monitor:
            return  # the score of another metric ranks nothing here
        score = state_dict["score"]
        if score is None or (self.path.is_file() and is_whole(self.path)):
            self._rank(score)
        else:
            rank_zero_warn(f"{self.path} is gone or damaged: the best from here on takes its place")

    def _rank(self, score: Tensor | None) -> None:
        """Takes this for the score of the file, which the next must beat; None: there is none."""
        path = "" if score is None else str(self.path)
        self.best_model_score = self.current_score = score
        self.best_model_path = self.kth_best_model_path = path
        self.best_k_models = {} if score is None else {path: score}

    def _update_best_and_save(self, *arguments: Any) -> None:
        before = self.best_model_score
        super()._update_best_and_save(*arguments)
        if self.refused is not None:
            self._rank(before)  # the disk holds that one still

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        self.refused = trainer.strategy.broadcast(DurableIO.of(trainer).error)
        if self.refused is not None:
            rank_zero_warn(f"{self.path} was not written: {self.refused}; training goes on")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        if self.refused is not None:
            raise RunError(
                f"{self.path} is not the newest that it should be: {self.refused}; make room, and "
                "go on from the last whole checkpoint, where there is one"
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_monitor(f"callback.{self.name}", self.monitor, trainer.callback_metrics)
        if self.monitor is not None and not trainer.sanity_checking:
            self._tell_best(self.monitor, trainer, pl_module)
        super().on_validation_end(trainer, pl_module)

    def _tell_best(self, monitor: str, trainer: Trainer, pl_module: Any) -> None:
        """Logs the best value so far, `best/loss` of `val/loss`, before the checkpoint that counts
        the rows of metrics.csv is written."""
        score, before = trainer.callback_metrics[monitor], self.best_model_score
        better = torch.lt if self.mode == "min" else torch.gt
        best = score if before is None or better(score, before) else before
        told = {f"{self.name}/{monitor.partition('/')[2]}": float(best)}
        for logger in trainer.loggers:
            logger.log_metrics(told, step=int(pl_module.updates))

    @property
    def path(self) -> Path:
        """The file, whether or not it has been written yet."""
        assert self.dirpath is not None
        return Path(self.dirpath) / f"{self.name}{SUFFIX}"


class ConfigInCheckpoint(Callback):
    """Stores experiment, resolved config and the data's facts: a checkpoint alone is enough.

    data.root is stored as null: it belongs to the machine, and is resolved anew where it is read.
    With it go the versions of the classes that are not restore's. run: id of the run.
    init: what its weights started from. teacher: what they learn from beside data. codec: the
    autoencoder whose weights go along.
    """

    def __init__(
        self,
        experiment: str,
        config: dict[str, Any],
        facts: dict[str, Any],
        run: str | None = None,
        init: dict[str, Any] | None = None,
        teacher: dict[str, Any] | None = None,
        codec: dict[str, Any] | None = None,
    ) -> None:
        self.experiment = experiment
        self.config = {**config, "data": {**config["data"], "root": None}}
        self.facts = facts
        self.foreign = foreign(config)
        self.run, self.init, self.teacher, self.codec = run, init, teacher, codec

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["experiment"] = self.experiment
        checkpoint["config"] = self.config
        checkpoint["facts"] = self.facts
        checkpoint["foreign"] = self.foreign
        checkpoint["run"] = self.run
        if self.init is not None:
            checkpoint["init"] = self.init
        if self.teacher is not None:
            checkpoint["teacher"] = self.teacher
        if self.codec is not None:
            checkpoint["codec"] = self.codec
