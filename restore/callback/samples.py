"""Pictures of what a task does: one row an image."""

import math
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image

from restore.callback.monitor import best_is_high, check_monitor
from restore.image import from_uint8, to_uint8
from restore.picture import Spread, add_titles, panel, save, select, titles
from restore.types import Batch, InputError


class Samples(Callback):
    """Writes samples/{first,last,best}.png: given | num_samples results | target, after validation;
    and progress.png: given | the first validation's result | the last one's | target.

    The same num_images validation images every time, spread over all of them, restored with the
    weights that were validated. monitor: `best` is at its best value. A disk that refuses costs
    one warning.
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
        # Update and results, uint8 [R, C, H, W], of the first validation.
        self.first: tuple[int, torch.Tensor] | None = None
        self._begun_here = True
        self._spread = Spread(1, 1)
        self._kept: list[Batch] = []
        self._warned = False

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "first": self.first, "monitor": self.monitor}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        same = state_dict.get("monitor", self.monitor) == self.monitor
        self.best, self.first = state_dict["best"] if same else None, state_dict.get("first")
        self._begun_here = "first" in state_dict  # not so in checkpoints of an older restore

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.is_global_zero:
            return
        if batch_idx == 0:
            self._spread, self._kept = Spread(_validated(trainer), self.num_images), []
        same = not self._kept or batch["target"].shape[1:] == self._kept[0]["target"].shape[1:]
        places = self._spread.take(batch["index"]) if same else []
        if places:
            self._kept.append(select(batch, places))

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or not self._kept or not trainer.is_global_zero:
            return
        batch = joined(self._kept)
        with trainer.precision_plugin.forward_context():  # as validation computes
            restored = pl_module.restore(batch, self.num_samples).float().clamp(-1, 1)
        picture = add_titles(panel(batch, restored), titles(batch, self.num_samples), self.scale)
        folder = Path(trainer.default_root_dir) / "samples"
        names = ["last"] if (folder / "first.png").exists() else ["first", "last"]
        check_monitor("callback.samples", self.monitor, trainer.callback_metrics)
        value = float(trainer.callback_metrics[self.monitor])
        sign = -1 if best_is_high(self.monitor) else 1
        if self.best is None or math.isnan(self.best) or sign * value < sign * self.best:
            self.best = value
            names.append("best")
        for name in names:
            self._save(picture, folder / f"{name}.png")
        if self._begun_here:
            self._show_progress(folder, batch, restored[:, 0], int(pl_module.updates))

    def _show_progress(
        self, folder: Path, batch: Batch, restored: torch.Tensor, update: int
    ) -> None:
        if self.first is None or self.first[1].shape != restored.shape:  # of other images
            self.first = update, to_uint8(restored).cpu()
        begun, first = self.first
        pair = torch.stack([from_uint8(first).to(restored), restored], dim=1)
        *given, _, target = titles(batch, 1)
        names = [*given, f"first, update {begun}", f"last, update {update}", target]
        self._save(add_titles(panel(batch, pair), names, self.scale), folder / "progress.png")

    def _save(self, picture: Image.Image, path: Path) -> None:
        try:
            path.parent.mkdir(exist_ok=True)
            save(picture, path)
        except OSError as error:
            if not self._warned:
                self._warned = True
                rank_zero_warn(f"{path} was not written: {error}; training goes on")


def _validated(trainer: Any) -> int:
    """How many samples a validation sees."""
    loader = trainer.val_dataloaders
    seen = trainer.num_val_batches[0] * (loader.batch_size or 1) * trainer.world_size
    return int(min(seen, len(loader.dataset)))


def joined(parts: list[Batch]) -> Batch:
    """Batches of equal keys and sizes as one."""
    joined: dict[str, Any] = {}
    for key, value in parts[0].items():
        values: list[Any] = [part[key] for part in parts]  # type: ignore[literal-required]
        if isinstance(value, torch.Tensor):
            joined[key] = torch.cat(values)
        else:
            joined[key] = [one for part in values for one in part] if key == "name" else value
    return cast(Batch, joined)
