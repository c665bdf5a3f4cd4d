"""Pictures of what a task does: one row an image."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from restore.callback.checkpoint import check_monitor
from restore.image import to_uint8
from restore.types import Batch, InputError


def grid(rows: Tensor, gap: int = 2, scale: int = 1) -> Tensor:
    """Rows [R, N, C, H, W] in [-1, 1] as one white-framed picture [C, H', W'] in [-1, 1].

    scale enlarges every pixel to a square, for images that are too small to see.
    """
    framed = F.pad(rows, (0, gap, 0, gap), value=1.0)
    r, n, c, h, w = framed.shape
    picture = framed.permute(2, 0, 3, 1, 4).reshape(c, r * h, n * w)
    picture = F.pad(picture, (gap, 0, gap, 0), value=1.0)
    return picture.repeat_interleave(scale, dim=-1).repeat_interleave(scale, dim=-2)


def save_png(picture: Tensor, path: Path) -> None:
    """Writes [C, H, W] in [-1, 1], C = 1 or 3, as an 8-bit PNG; the folder is made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = to_uint8(picture).permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(path)


def panel(batch: Batch, restored: Tensor) -> Tensor:
    """Rows input | results | target [B, N + 2, C, H, W] for restored [B, N, C, H, W].

    An input of another channel count (L for a colorizer) is shown in its first channel.
    """
    target = batch["target"]
    shown = batch["input"]
    if shown.shape[1] != target.shape[1]:
        shown = shown[:, :1].expand_as(target)
    return torch.cat([shown[:, None], restored.to(target), target[:, None]], dim=1)


class Samples(Callback):
    """Writes samples/{first,last,best}.png: input | num_samples results | target, after validation.

    The same first num_images validation images every time, restored with the weights that were
    validated. monitor: `best` is at its smallest value.
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
        if self.best is None or value < self.best:
            self.best = value
            names.append("best")
        for name in names:
            save_png(picture, folder / f"{name}.png")


def first(batch: Batch, count: int) -> Batch:
    """The first `count` samples of a batch."""
    return {key: value[:count] for key, value in batch.items()}  # type: ignore[return-value,index]
