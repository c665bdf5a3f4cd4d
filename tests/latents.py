"""Tiny autoencoders and their checkpoints, and one that loses nothing."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore import checkpoint
from restore.build import build
from restore.task.codec import Codec
from restore.types import Facts

SIZE = 8
NETWORK = {
    "_target_": "restore.network.autoencoder_kl.AutoencoderKL",
    "_partial_": True,
    "latent_channels": 4,
    "width": 4,
    "multipliers": [1, 2],
}
PIXELS = {"pixels": {"_target_": "restore.loss.content.Pixels", "weight": 1.0, "distance": "l1"}}
ADAM = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.001}
AUTOENCODER = {
    "_target_": "restore.task.autoencoder.Autoencoder",
    "network": NETWORK,
    "loss": PIXELS,
    "optimizer": ADAM,
}


def facts(channels: int = 3, size: int | None = SIZE, **more: Any) -> Facts:
    return Facts(
        **{
            "image_channels": channels,
            "input_channels": channels,
            "image_size": size,
            "num_classes": None,
            **more,
        }
    )


def write_autoencoder(
    folder: Path, channels: int = 3, std: float = 0.5, seed: int = 0, **changes: Any
) -> Path:
    """A run folder with an untrained autoencoder; latents are said to have mean 0.1 and `std`."""
    node = {**AUTOENCODER, **changes}
    torch.manual_seed(seed)
    task = build(AUTOENCODER, "task", facts=facts(channels))
    task.latent_mean.fill_(0.1)
    task.latent_std.fill_(std)
    write(folder, node, task, facts(channels))
    return folder


def write(folder: Path, node: dict[str, Any], task: Any, known: Facts) -> Path:
    content = {
        "experiment": "tiny",
        "config": {"task": node, "seed": 0, "data": {"batch_size": 1}},
        "facts": asdict(known),
        "state_dict": task.state_dict(),
        "progress": {"updates": 1, "batches": 1},
    }
    path = folder / "checkpoints" / "best.ckpt"
    checkpoint.write(content, path)
    return path


class Shuffle(nn.Module):
    """Blocks of 2 x 2 grey pixels as four channels: an autoencoder that loses nothing."""

    factor, latent_channels = 2, 4

    def __init__(self, image_channels: int = 1) -> None:
        super().__init__()

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        latents = F.pixel_unshuffle(image, 2)
        return latents, torch.full_like(latents, -30)

    def decode(self, latents: Tensor) -> Tensor:
        return F.pixel_shuffle(latents, 2)


def lossless() -> Codec:
    """Of grey images; mean and deviation of its latents are 0.25 and 0.5, by channel alike."""
    codec = Codec(network=Shuffle, image_channels=1)
    codec.latent_mean.fill_(0.25)
    codec.latent_std.fill_(0.5)
    return codec
