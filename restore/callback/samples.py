"""Pictures of what a task does: one row an image."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from restore.callback.monitor import best_is_high, check_monitor
from restore.picture import first, grid, panel, save_png
from restore.types import Batch, InputError


class Samples(Callback):
    """Writes samples/{first,last,best}.png: input | num_samples results | target, after validation.

    The same first num_images validation images every time, restored with the weights that were
    validated. monitor: `best` is at its best value.
    """

    def __init__(
        self, monitor: str = "val/loss", num_images: int = 8, num_samples: int = 1, scale: int = 1
    ) -> None:
        if min(num_images, num_samples, scale) < 1:
            raise InputError(
                "callback.samples: num_images, num_samples and scale must be at least 1, got "
                f"{num_images}, {num_samples}, {scale}"
            )
        self.monitor = monitor
        self.num_images = num_images
        self.num_samples = num_samples
        self.scale = scale
        self.best: float | None = None
        self.batch: Batch | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0 and trainer.is_global_zero:
            self.batch = first(batch, self.num_images)

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or self.batch is None or not trainer.is_global_zero:
            return
        restored = pl_module.restore(self.batch, self.num_samples)
        picture = grid(panel(self.batch, restored.clamp(-1, 1)), scale=self.scale)
        folder = Path(trainer.default_root_dir) / "samples"
        names = ["last"] if (folder / "first.png").exists() else ["first", "last"]
        check_monitor("callback.samples", self.monitor, trainer.callback_metrics)
        value = float(trainer.callback_metrics[self.monitor])
        sign = -1 if best_is_high(self.monitor) else 1
        if self.best is None or sign * value < sign * self.best:
            self.best = value
            names.append("best")
        for name in names:
            save_png(picture, folder / f"{name}.png")
