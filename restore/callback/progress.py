"""When a run ends, and how fast it goes."""

import time
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from restore.types import InputError


class MaxUpdates(Callback):
    """Stops training after `max_updates` updates of the restorer, with a last validation."""

    def __init__(self, max_updates: int) -> None:
        if max_updates < 1:
            raise InputError(f"max_updates={max_updates} must be at least 1")
        self.max_updates = max_updates

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if pl_module.updates >= self.max_updates:  # resumed where nothing but the end was missing
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.updates >= self.max_updates:
            trainer.should_stop = True


class Throughput(Callback):
    """Counts training images and seconds, validation and start-up not included.

    Logs `images_per_second` over the time since the last log. Attributes `images` and `seconds`
    hold the totals of this process group for the record.
    """

    def __init__(self, every_n_batches: int = 20) -> None:
        self.every_n_batches = every_n_batches
        self.images = 0
        self.seconds = 0.0
        self._window = (0, 0.0)
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.images, self.seconds = state_dict["images"], state_dict["seconds"]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        # The wait for data belongs to the batch; validation between two batches does not.
        self._started = self._started or time.perf_counter()

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


class Progress(RichProgressBar):
    """Lightning's rich bar over updates, with images/s and the loss."""

    def get_metrics(
        self, trainer: Trainer, pl_module: Any
    ) -> dict[str, int | str | float | dict[str, float]]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return {"updates": int(pl_module.updates), **metrics}

    def _get_train_description(self, current_epoch: int) -> str:
        # Lightning's own counts up to max_epochs, which is -1 here.
        return f"Epoch {current_epoch}".ljust(len(self.validation_description))
