"""Writes a trained classifier in the form in which metrics load it."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from restore.metric.classifier import save_classifier


class ExportClassifier(Callback):
    """After every validation, `classifier/<name>.safetensors` and its record, with the weights that
    were validated. To ship it, move both files to restore/metric/weights/.

    dataset: what the record says it was trained on.
    """

    def __init__(self, name: str, dataset: str) -> None:
        self.name = name
        self.dataset = dataset

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir) / "classifier"
        try:
            save_classifier(
                pl_module.network,
                self.name,
                image_size=pl_module.facts.image_size,
                dataset=self.dataset,
                accuracy=1 - float(trainer.callback_metrics["val/error_rate"]),
                folder=folder,
            )
        except OSError as error:
            rank_zero_warn(f"{folder} was not written: {error}; training goes on")
