"""What every task shares: one meaning of an update, of clipping, of accumulation, of validation."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from restore.callback.progress import MaxUpdates
from restore.stream import SampleStream
from restore.task import gradient
from restore.task.learning import (
    OptimizerFactory,
    SchedulerFactory,
    in_words,
    make_optimizer,
    moved,
)
from restore.types import Batch, Facts, InputError, NonFiniteError


class Task(LightningModule, ABC):
    """A learning rule for `network`: what EMA averages, and what is exported.

    An update is one step of `network`. `updates` counts them, for every task alike: learning-rate
    schedules, EMA, the x axis of logs and `max_updates` follow it, not Lightning's global_step,
    which counts every optimizer.

    optimizer: called with the parameters; scheduler: called with the optimizer, stepped once per
    update, or per epoch (scheduler_interval). clip_norm: largest gradient norm of an update.
    accumulate: batches per update; a window that is open at the end of an epoch goes on in the
    next one.
    """

    network: nn.Module

    def __init__(
        self,
        facts: Facts,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        scheduler_interval: Literal["update", "epoch"] = "update",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        if accumulate < 1:
            raise InputError(f"task.accumulate={accumulate} must be at least 1")
        if clip_norm is not None and clip_norm <= 0:
            raise InputError(
                f"task.clip_norm={clip_norm} must be positive, or null for no clipping"
            )
        self.facts = facts
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.clip_norm = clip_norm
        self.accumulate = accumulate
        self.scheduler_interval = scheduler_interval
        self.updates = 0
        self.batches = 0
        self.ended_epochs = 0  # up to the newest whose end the schedules know of
        self._norm = torch.zeros(())  # of the gradients at the last step of an optimizer
        self._newest: dict[str, Any] = {}  # of what trainings log, by name

    @abstractmethod
    def losses(self, batch: Batch, epoch: int | None) -> dict[str, Tensor]:
        """Weighted loss terms, scalars, whose sum is minimised; epoch None means validation."""

    def check(self, batch: Batch | None = None) -> None:
        """Raises InputError for settings that do not fit together or the data, before any work.

        batch: one as validation will see it.
        """
        with in_words():
            made = self.configure_optimizers()
            for scheduler in made[1] if isinstance(made, tuple) else ():
                moved(scheduler)

    def contained(self, config: dict[str, Any]) -> dict[str, Any]:
        """The task's config as it is stored: with the content of the files that it names."""
        return config

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.optimizer, self.network.parameters())
        if self.scheduler is None:
            return optimizer
        return [optimizer], [self.scheduler(optimizer)]

    def on_train_start(self) -> None:
        """Gives every process a random state of its own, of which dropout draws."""
        rank = self.trainer.global_rank
        if rank:
            torch.manual_seed(SampleStream(torch.initial_seed(), rank).seed)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        terms = self.losses(batch, self.current_epoch)
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        self.batches += 1
        if self.descend(terms, optimizer):
            self.step_schedule()
        self.log_terms("train", terms)

    def descend(
        self, terms: dict[str, Tensor], optimizer: LightningOptimizer, player: str = ""
    ) -> bool:
        """Computes gradients and, at the end of a window, steps; returns whether weights moved.

        player: before the names under which the step's rate and gradient norm are logged.
        """
        values = torch.stack(list(terms.values()))
        finite = torch.isfinite(values)
        if not finite.all():  # asked once: every question waits for a GPU
            bad = int((~finite).nonzero()[0])
            name, value = list(terms)[bad], values[bad].item()
            raise NonFiniteError(f"loss term {name} is {value} at update {self.updates}")
        self.manual_backward(values.sum() / self.accumulate)
        if self.batches % self.accumulate:
            return False
        scaler = self._scaler
        scale = 1.0 if scaler is None else scaler.get_scale()
        self._newest[f"optimizer/{player}learning_rate"] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        self._newest[f"optimizer/{player}gradient_norm"] = self._norm
        optimizer.zero_grad()
        return scaler is None or gradient.has_stepped(
            scaler, scale, self.parameters(), self.updates
        )

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        named = self.named_parameters()
        self._norm = gradient.clip(optimizer, named, self.clip_norm, self._scaler, self.updates)

    @property
    def _scaler(self) -> GradScaler | None:
        """The scaler of the losses of fp16; None for other precisions."""
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def on_validation_model_zero_grad(self) -> None:
        """Keeps the gradients of an open window, which Lightning would clear before validation."""

    def updates_in(self, batches: int) -> int:
        """Updates that the first so many batches make."""
        return batches // self.accumulate

    def step_schedule(self) -> None:
        """Counts an update of the network and moves the learning rates."""
        self.updates += 1
        if self.scheduler_interval == "update":
            self._step_schedulers()

    def on_train_epoch_end(self) -> None:
        loop: Any = self.trainer.fit_loop
        batch = loop.epoch_loop.batch_progress.current.processed
        if 0 < batch < self.trainer.num_training_batches:
            return  # the end of the training cuts it off, and a longer one goes on within it
        self.ended_epochs = loop.epoch_progress.current.processed
        if self.scheduler_interval == "epoch":
            self._step_schedulers()

    def _step_schedulers(self) -> None:
        schedulers = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            if isinstance(scheduler, LRScheduler):
                scheduler.step()

    def on_validation_start(self) -> None:
        """Validates rank 0's running statistics, which checkpoints hold: each process has its own
        of its last batch."""
        if self.trainer.world_size > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log_terms("val", self.losses(batch, None), batch_size=self.weight(batch))

    def weight(self, batch: Batch) -> int:
        """The weight of a batch in means over the whole validation.

        A multiple of the number of processes: Lightning divides the sum of weights by it, in
        integers, and with odd sums every mean would come out too large.
        """
        return len(batch["index"]) * self.trainer.world_size

    def log_terms(
        self, stage: str, terms: dict[str, Tensor], batch_size: int = 1, total: bool = True
    ) -> None:
        """Logs every term and, with total, their sum as `stage/loss`, by update.

        In training with what the optimizers stepped with, and where it is read alone: in the first
        batches, every trainer.log_every_n_steps, and in the last of an epoch or a run. Each time
        the newest values are logged, of a player that does not take each turn, too.
        Of several processes, training logs the losses of rank 0's share, validation those of all.
        """
        named = {f"{stage}/{name}": term.detach() for name, term in terms.items()}
        if total:
            named[f"{stage}/loss"] = torch.stack(list(named.values())).sum()
        if stage == "train":
            self._newest |= named
            if not self._is_read():
                return
            named = self._newest
        self.log_dict(
            {**named, "step": float(self.updates)},
            batch_size=batch_size,
            on_step=stage == "train",
            on_epoch=stage != "train",
            sync_dist=stage != "train",
        )

    def _is_read(self) -> bool:
        # Lightning's own bookkeeping of a value costs as much as a step of a small network.
        trainer: Any = self.trainer
        begins = self.batches <= trainer.log_every_n_steps
        limits = [one for one in trainer.callbacks if isinstance(one, MaxUpdates)]
        ends = any(one.ends(self.updates) for one in limits)
        logs = trainer._logger_connector.should_update_logs
        return bool(begins or ends or trainer.is_last_batch or logs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["progress"] = {"updates": self.updates, "batches": self.batches}
        checkpoint["newest"] = {name: float(value) for name, value in self._newest.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.updates = checkpoint["progress"]["updates"]
        self.batches = checkpoint["progress"]["batches"]
        self._newest = dict(checkpoint.get("newest", {}))  # not in checkpoints of an older restore


@contextmanager
def replace_attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """A part or a setting of a task that has another value for a while."""
    own = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, own)
