"""Tiny GANs, and batches for them."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from restore.loss.content import Pixels
from restore.network.patch_discriminator import PatchDiscriminator
from restore.task.adversary import Adversary
from restore.task.denoising import Denoiser
from restore.types import Facts

SIZE = 8
FACTS = Facts(image_channels=1, input_channels=1, image_size=SIZE, num_classes=None)


class Generator(nn.Module):
    """One convolution; image_size and sigma are not looked at."""

    def __init__(self, image_channels: int, image_size: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(image_channels, image_channels, 3, padding=1)

    def forward(self, image: Tensor, sigma: Tensor | None = None) -> Tensor:
        clean: Tensor = self.conv(image)
        return clean


def adversary(lr: float = 0.1, **settings: Any) -> partial[Adversary]:
    network = partial(PatchDiscriminator, widths=(4,), strides=(2,))
    settings = {"optimizer": partial(torch.optim.SGD, lr=lr), **settings}
    return partial(Adversary, network=network, **settings)


def denoiser(lr: float = 0.1, **settings: Any) -> Denoiser:
    torch.manual_seed(0)
    given = {"adversary": adversary(), "loss": {"pixels": Pixels()}}
    given["optimizer"] = partial(torch.optim.SGD, lr=lr)
    return Denoiser(FACTS, Generator, **{**given, **settings})


def batches(batch_size: int, count: int = 32) -> DataLoader[Any]:
    noise = torch.randn(2, count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    samples = [
        {"target": noise[0, i], "input": noise[0, i] + noise[1, i] / 4, "index": i}
        for i in range(count)
    ]
    return DataLoader(samples, batch_size=batch_size)


def trainer(folder: Path, **settings: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 1, "logger": False, **settings},
    )


def fit(folder: Path, task: Denoiser, batch_size: int, num_batches: int, **settings: Any) -> None:
    trainer(folder, limit_train_batches=num_batches, **settings).fit(task, batches(batch_size))


def weights(module: nn.Module | None) -> Tensor:
    assert module is not None
    return torch.cat([p.detach().flatten() for p in module.parameters()])
