"""Where a diffusion lives: among pixels, or among the latents of a frozen autoencoder."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore import zoo
from restore.build import restored
from restore.content import ORIGINS
from restore.network.push_pull import push_pull
from restore.task.autoencoder import Autoencoder
from restore.task.base import replace_attribute
from restore.tiling import BLEND, MARGIN, Tiled
from restore.types import Facts, InputError, Observation


class Space(Protocol):
    """What a diffusion asks of where it lives: images there are [B, channels, H / factor, ...]."""

    @property
    def channels(self) -> int: ...

    @property
    def input_channels(self) -> int:
        """Number of channels of an observation there."""
        ...

    @property
    def factor(self) -> int: ...

    @property
    def is_bounded(self) -> bool:
        """Whether values lie in [-1, 1]."""
        ...

    def check(self, facts: Facts) -> None:
        """Raises InputError for images that have no place there."""

    def encode(self, image: Tensor) -> Tensor: ...

    def decode(self, x: Tensor) -> Tensor: ...

    def within(self, side: int) -> AbstractContextManager[None]: ...

    def holds(self, observation: Observation) -> Observation:
        """Those parts of the observation that are still true there."""
        ...

    def observed(self, observation: Observation) -> Observation:
        """The observation as it looks there; its sides are divisible by factor."""
        ...


class PixelSpace:
    """Images as they are."""

    factor, is_bounded = 1, True

    def __init__(self, facts: Facts) -> None:
        self.channels, self.input_channels = facts.image_channels, facts.input_channels

    def check(self, facts: Facts) -> None:
        """Accepts every image, since each is made of pixels."""

    def encode(self, image: Tensor) -> Tensor:
        return image

    def decode(self, x: Tensor) -> Tensor:
        return x

    def within(self, side: int) -> AbstractContextManager[None]:
        return nullcontext()

    def holds(self, observation: Observation) -> Observation:
        return observation

    def observed(self, observation: Observation) -> Observation:
        return observation


class Codec(nn.Module):
    """A frozen autoencoder between images [B, C, H, W] and latents of mean 0 and deviation 1.

    path: a run folder of an Autoencoder, its checkpoint or bundle, or the name of a released one,
    read as a stranger's file is. network, image_channels: instead of path the bare AutoencoderKL,
    for checkpoints of a diffusion, which hold its weights themselves: `node` is the config that
    they store. Latents are the means of what is encoded, by the mean and deviation that the
    autoencoder's last validation measured.

    Raises:
        InputError: neither path nor network; a file that cannot be read or trusted, holds no
            autoencoder, or one that was never validated.
    """

    is_bounded = False
    side = sys.maxsize  # px that are encoded or decoded at once
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self,
        path: str | None = None,
        network: Callable[..., nn.Module] | None = None,
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        if (path is None) == (network is None):
            raise InputError(
                "task.codec.path is needed: a run folder of experiment=autoencoder_flowers or the "
                "like, or its checkpoint"
            )
        self.node: dict[str, Any] | None = None
        self.origin: dict[str, Any] = {}  # what the file that was read says of its training
        made: Any
        if path is not None:
            trained, self.node, self.origin = _read(path)
            made, image_channels = trained.network, trained.facts.image_channels
            statistics = trained.latent_mean, trained.latent_std
        elif network is not None:
            made = network(image_channels=image_channels)
            statistics = torch.zeros(made.latent_channels), torch.zeros(made.latent_channels)
        self.network = made.requires_grad_(False)
        self.image_channels = image_channels
        self.channels = self.input_channels = int(made.latent_channels)
        self.factor = int(made.factor)
        self.register_buffer("latent_mean", statistics[0].clone())
        self.register_buffer("latent_std", statistics[1].clone())

    def train(self, mode: bool = True) -> "Codec":
        """Stays as it is: what batch norm and dropout do in training is no frozen codec."""
        return super().train(False)

    def check(self, facts: Facts) -> None:
        if facts.image_channels != self.image_channels:
            raise InputError(
                f"task.codec takes images of {self.image_channels} channels and the data has "
                f"{facts.image_channels}: choose the codec of such images"
            )
        if facts.input_channels not in (1, self.image_channels):
            raise InputError(
                f"task.codec takes inputs of 1 or {self.image_channels} channels and the "
                f"degradation leaves {facts.input_channels}"
            )
        if facts.image_size is not None and facts.image_size % self.factor:
            raise InputError(
                f"images of {facts.image_size} px are not divisible by {self.factor}, the factor "
                "of task.codec: choose another image size"
            )

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """[B, 1 or C, H, W] to latents [B, channels, H / factor, W / factor]; 1 channel is grey."""
        tiles = self._tiles(lambda seen: self.network.encode(seen)[0], shrinks=self.factor)
        mean = tiles(image.expand(-1, self.image_channels, -1, -1)).float()
        latents: Tensor = (mean - _as_map(self.latent_mean)) / _as_map(self.latent_std)
        return latents

    def decode(self, x: Tensor) -> Tensor:
        """Latents [B, channels, h, w] to images [B, C, H, W], which are not clipped."""
        latents = x * _as_map(self.latent_std) + _as_map(self.latent_mean)
        image: Tensor = self._tiles(self.network.decode, grows=self.factor)(latents)
        return image.to(x.dtype)

    def within(self, side: int) -> AbstractContextManager[None]:
        """While it lasts, about side x side px at most are encoded or decoded at once.

        A normalisation over the image sees the tile alone, so that tiles fade into each other.
        """
        return replace_attribute(self, "side", side)

    def _tiles(self, coded: Callable[[Tensor], Tensor], shrinks: int = 1, grows: int = 1) -> Tiled:
        side, margin, blend = (length // self.factor for length in (self.side, MARGIN, BLEND))
        return Tiled(coded, side, margin, blend, shrinks=shrinks, grows=grows)

    def holds(self, observation: Observation) -> Observation:
        """All parts but those that speak of pixels, such as an operator."""
        names = ("input", "hole", "index", "name", "label")
        return cast(Observation, {key: observation[key] for key in names if key in observation})  # type: ignore[literal-required]

    def observed(self, observation: Observation) -> Observation:
        """Encodes the input, and brings the hole to the size of latents.

        A latent belongs to the hole where any of its pixels does: no hole is lost, however thin.
        The hole is filled smoothly before, since no codec learned images with grey holes.
        """
        seen, image = self.holds(observation), observation["input"]
        if "hole" not in seen:
            return {**seen, "input": self.encode(image)}
        filled = push_pull(image, seen["hole"])
        hole = F.max_pool2d((seen["hole"] > 0).to(image), self.factor)
        return {**seen, "input": self.encode(filled), "hole": hole}


def _read(path: str) -> tuple[Autoencoder, dict[str, Any], dict[str, Any]]:
    """The autoencoder of a checkpoint with its averaged weights, the node of its codec, and what
    the checkpoint says of the training."""
    content, file = zoo.read(path)
    trained = restored(content)
    if not isinstance(trained, Autoencoder):
        raise InputError(
            f"task.codec.path={path} holds a {type(trained).__name__}: give an autoencoder, such "
            "as a run of experiment=autoencoder_flowers"
        )
    if not (trained.latent_std > 0).all():
        raise InputError(f"task.codec.path={path} was never validated: its latents have no scale")
    node = {
        "_target_": "restore.task.codec.Codec",
        "network": content["config"]["task"]["network"],
        "image_channels": trained.facts.image_channels,
    }
    origin = {key: content.get(key) for key in ("experiment", "config", *ORIGINS)}
    return trained, node, {**origin, "path": path, "file": file}


def _as_map(value: Tensor) -> Tensor:
    return value.view(1, -1, 1, 1)
