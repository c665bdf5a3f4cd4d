"""Exponential moving average of the parameters of a task's network.

Lightning's own WeightAveraging counts optimizer steps, averages discriminators and integer
buffers, shows raw weights to `on_validation_epoch_end` and loses the raw weights at the end.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from restore.types import InputError


class EMA(Callback):
    """Averages `task.network` after every update and lends the average to validation.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that short runs do not validate
    their random start. The average is kept in float32; buffers are those of the live network.
    Checkpoints hold the raw weights in `state_dict` and the average in `ema`.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise InputError(f"callback.ema.decay={decay} must be in [0, 1)")
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self.raw: dict[str, Tensor] | None = None  # the live weights, while the average is lent

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        live = dict(pl_module.network.named_parameters())
        start = self.average or live
        self.average = {
            name: start[name].detach().to(live[name].device, torch.float32, copy=True)
            for name in live
        }

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.updates == self.updates:
            return
        self.updates = int(pl_module.updates)
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        live = [p.detach().float() for p in pl_module.network.parameters()]
        torch._foreach_lerp_(list(self.average.values()), live, weight)

    @torch.no_grad()
    def lend(self, pl_module: Any) -> None:
        """Puts the average into the network; `take_back` restores the live weights."""
        if self.raw is None and self.average:
            live = dict(pl_module.network.named_parameters())
            self.raw = {name: p.detach().clone() for name, p in live.items()}
            for name, parameter in live.items():
                parameter.copy_(self.average[name])

    @torch.no_grad()
    def take_back(self, pl_module: Any) -> None:
        if self.raw is not None:
            for name, parameter in pl_module.network.named_parameters():
                parameter.copy_(self.raw[name])
            self.raw = None

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.lend(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.take_back(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        self.take_back(pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["ema"] = {"updates": self.updates, "weights": dict(self.average)}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        stored = checkpoint.get("ema", {"updates": 0, "weights": {}})
        self.updates, self.average = stored["updates"], stored["weights"]


def take_back(trainer: Any, pl_module: Any) -> None:
    """The live weights, where the average is lent to a validation."""
    for callback in trainer.callbacks:
        if isinstance(callback, EMA):
            callback.take_back(pl_module)
