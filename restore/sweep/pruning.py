"""Ends a job of a search early when others at the same update do better."""

import math

from lightning.pytorch import Callback, Trainer
from optuna.trial import Trial

from restore.sweep import study
from restore.sweep.process import PRUNED
from restore.task.base import Task


class Pruned(SystemExit):
    """Passes through all that handles errors."""


class Pruning(Callback):
    """Reports `monitor` to a trial of a study at every validation and asks the pruner.

    The remaining arguments are those of Search.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        trial: int,
        monitor: str,
        pruner: str,
        num_startup_trials: int,
        warmup_updates: int,
    ) -> None:
        self.storage, self.name, self.trial, self.monitor = storage, name, trial, monitor
        self.pruner = study.pruner_of(pruner, num_startup_trials, warmup_updates)

    def on_validation_end(self, trainer: Trainer, pl_module: Task) -> None:  # type: ignore[override]
        lags = trainer.is_global_zero and self._lags(trainer, pl_module.updates)
        ending = trainer.should_stop or trainer.sanity_checking
        if trainer.strategy.broadcast(lags, src=0) and not ending:
            if not trainer.is_global_zero:
                # Lightning kills rank 0 where another rank ends with an error.
                raise Pruned(0)
            print(f"pruned after {pl_module.updates} updates", flush=True)
            raise Pruned(PRUNED)

    def _lags(self, trainer: Trainer, updates: int) -> bool:
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        if not math.isfinite(value):  # the end of the job will tell
            return False
        opened = study.open_study(self.storage, self.name)
        opened.pruner = self.pruner
        trial = Trial(opened, opened.trials[self.trial]._trial_id)
        trial.report(value, step=updates)
        return bool(trial.should_prune())
