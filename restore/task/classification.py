"""The recipe of the frozen classifiers that judge labels and give features to FID and KID."""

from collections.abc import Callable
from typing import Unpack

from torch import Tensor, nn
from torch.nn import functional as F

from restore.task.base import Task
from restore.task.learning import Learning
from restore.types import Batch, Facts, InputError


class Classification(Task):
    """Cross-entropy on clean images; logs `val/error_rate`. It restores nothing.

    label_smoothing: Szegedy et al. 2016.
    """

    def __init__(
        self,
        facts: Facts,
        network: Callable[..., nn.Module],
        label_smoothing: float = 0.1,
        **learning: Unpack[Learning],
    ) -> None:
        super().__init__(facts, **learning)
        if facts.num_classes is None:
            raise InputError("task=classification needs labels, and the data has none")
        if not 0 <= label_smoothing < 1:
            raise InputError(f"task.label_smoothing={label_smoothing} must be in [0, 1)")
        self.network = network(in_channels=facts.image_channels, num_classes=facts.num_classes)
        self.label_smoothing = label_smoothing

    def losses(self, batch: Batch, epoch: int | None) -> dict[str, Tensor]:
        logits = self.network(batch["target"]).float()
        smoothing = 0.0 if epoch is None else self.label_smoothing
        terms = {"entropy": F.cross_entropy(logits, batch["label"], label_smoothing=smoothing)}
        if epoch is None:
            wrong = (logits.argmax(dim=1) != batch["label"]).float().mean()
            self.log("val/error_rate", wrong, batch_size=self.weight(batch), sync_dist=True)
        return terms
