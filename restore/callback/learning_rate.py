"""Learning rates on the x axis of everything else."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor


class LearningRates(LearningRateMonitor):
    """Lightning's monitor, by updates of the restorer: the rates in force after n of them.

    Lightning's own counts batches: with task.accumulate=4 its axis is four times as long.
    logging_interval: `step` with the losses, `epoch` at the start of each; without it, where the
    schedules of the task move (task.scheduler_interval).
    """

    def on_train_batch_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer._logger_connector.should_update_logs:
            self._log(trainer, args[0], "step", "update")

    def on_train_epoch_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        self._log(trainer, args[0], "epoch", "epoch")

    def _log(self, trainer: Trainer, task: Any, asked: str, moves: str) -> None:
        wanted = self.logging_interval or (asked if task.scheduler_interval == moves else None)
        if wanted == asked:
            rates = self._extract_stats(trainer, "any")
            for logger in trainer.loggers:
                logger.log_metrics(rates, step=int(task.updates))
