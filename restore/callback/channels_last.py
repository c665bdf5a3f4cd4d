"""How weights lie in memory."""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer


class ChannelsLast(Callback):
    """Keeps the task's convolution weights channels last, and with them what they compute.

    Pays most on GPUs with tensor cores and for networks of convolutions alone.
    """

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        pl_module.to(memory_format=torch.channels_last)
