"""When a run ends, and how fast it goes."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar

from restore import launch
from restore.callback.meter import LINE_EVERY, Meter
from restore.types import InputError

WAITING = 0.2  # share of a training spent waiting for data, from which a line advises workers


class MaxUpdates(Callback):
    """Stops training after `max_updates` updates of the network, with a last validation.

    trainer.max_epochs, which Lightning would obey without one, gets a last validation, too; where
    it ends a training before a schedule of learning rates does, a line says so.
    """

    def __init__(self, max_updates: int) -> None:
        if max_updates < 1:
            raise InputError(f"max_updates={max_updates} must be at least 1")
        self.max_updates = max_updates

    def ends(self, updates: int) -> bool:
        """Whether a run ends with the update of that number."""
        return updates >= self.max_updates

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self.ends(pl_module.updates) or trainer.fit_loop.done:
            trainer.should_stop = True  # resumed where nothing but the end was missing
        if trainer.is_global_zero and pl_module.scheduler_interval == "update":
            _tell_of_cut_schedules(trainer, pl_module.updates_in)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        epochs = trainer.max_epochs or -1
        last = epochs > 0 and trainer.current_epoch + 1 >= epochs and trainer.is_last_batch
        if last or self.ends(pl_module.updates):
            trainer.should_stop = True


def _tell_of_cut_schedules(trainer: Trainer, updates_in: Callable[[int], int]) -> None:
    """A line for each schedule that trainer.max_epochs ends before its last update."""
    epochs, batches = trainer.max_epochs or -1, trainer.num_training_batches
    if epochs < 1 or math.isinf(batches):
        return
    updates = updates_in(epochs * int(batches))
    for one in trainer.lr_scheduler_configs:
        planned = getattr(one.scheduler, "T_max", getattr(one.scheduler, "total_steps", 0))
        if updates < planned:
            print(
                f"schedule: trainer.max_epochs={epochs} ends the training after {updates} of the "
                f"{planned} updates that its learning rate is planned for: max_updates={updates}",
                flush=True,
            )


class Throughput(Callback):
    """Counts training images and seconds, validation and start-up not included.

    Logs `images_per_second` over the time since the last log. Attributes `images` and `seconds`
    hold the totals of this process group for the record, `waited` the seconds of this process in
    which its loader had no batch ready. Where that is a large share and cores are idle, the end of
    a training says so.
    """

    def __init__(self, every_n_batches: int = 20) -> None:
        self.every_n_batches = every_n_batches
        self.images = 0
        self.seconds = self.waited = 0.0
        self._window = (0, 0.0)
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images, "seconds": self.seconds, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.images, self.seconds = state_dict["images"], state_dict["seconds"]
        self.waited = state_dict.get("waited", 0.0)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        # The wait for data belongs to the batch; validation between two batches does not.
        now = time.perf_counter()
        self._started = self._started or now
        self.waited += now - self._started

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        images = len(batch["index"]) * trainer.world_size
        seconds, self._started = now - self._started, now
        self.images, self.seconds = self.images + images, self.seconds + seconds
        self._window = (self._window[0] + images, self._window[1] + seconds)
        if pl_module.batches % self.every_n_batches == 0:
            rate = self._window[0] / self._window[1]
            pl_module.log("images_per_second", rate, prog_bar=True, batch_size=1)
            self._window = (0, 0.0)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._started = 0.0

    @property
    def waiting(self) -> float:
        """The share of the training that waited for data, in [0, 1]."""
        return self.waited / max(self.seconds, 1e-9)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        workers = getattr(getattr(trainer, "datamodule", None), "num_workers", None)
        if workers is None or not trainer.is_global_zero or self.waiting < WAITING:
            return
        cores = launch.cores()
        busy = 1 if pl_module.device.type == "cuda" else torch.get_num_threads()
        if cores > busy + workers:
            print(
                f"data: {self.waiting:.0%} of the training waited for photos: raise "
                f"data.num_workers, which is {workers}, on {cores} cores",
                flush=True,
            )


class Progress(ProgressBar):
    """How far a training is: updates of max_updates, loss, images/s and the time left to the end.

    In a terminal a bar; elsewhere a line at every validation, and every `every_seconds` at least.
    """

    def __init__(self, every_seconds: float = LINE_EVERY) -> None:
        super().__init__()
        if every_seconds <= 0:
            raise InputError(f"callback.progress.every_seconds={every_seconds} must be positive")
        self.every_seconds = every_seconds
        self._shown = True
        self._meter: Meter | None = None

    def enable(self) -> None:
        self._shown = True

    def disable(self) -> None:
        self._shown = False

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self._shown:
            total, done = max_updates(trainer), int(pl_module.updates)
            every = self.every_seconds
            self._meter = Meter("update", total, lambda: _measured(trainer), done, every)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._meter is not None:
            self._meter.update(int(pl_module.updates))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._meter is not None:
            place = f"validation, batch {batch_idx + 1}, at update"
            self._meter.update(int(pl_module.updates), title=place)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self._meter is not None and not trainer.sanity_checking:
            self._meter.update(int(pl_module.updates), line=True)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self._close()

    def _close(self) -> None:
        if self._meter is not None:
            self._meter.close()
            self._meter = None


def max_updates(trainer: Any) -> int:
    """The update at which MaxUpdates ends the training; 0 where the trainer has none."""
    ends = (one.max_updates for one in trainer.callbacks if isinstance(one, MaxUpdates))
    return next(ends, 0)


def _measured(trainer: Trainer) -> str:
    """`loss 0.0123, val/loss 0.0456, 180 images/s`, of what has been logged."""
    logged = trainer.callback_metrics
    words = [
        f"{short} {float(logged[name]):.4g}"
        for name, short in (("train/loss", "loss"), ("val/loss", "val/loss"))
        if name in logged
    ]
    if "images_per_second" in logged:
        words.append(f"{float(logged['images_per_second']):.0f} images/s")
    return ", ".join(words)
