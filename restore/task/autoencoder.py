"""An autoencoder of images, in whose latents diffusion is cheaper (Rombach et al. 2022)."""

from collections.abc import Callable, Mapping
from typing import Unpack

import torch
from torch import Tensor, nn

from restore.loss.content import ContentLoss
from restore.loss.diffusion import gaussian_kl
from restore.network.autoencoder_kl import GaussianAutoencoder
from restore.network.size import pad_to_multiple
from restore.stream import Stream, fold
from restore.task.adversarial import AdversarialTask
from restore.task.adversary import Adversary
from restore.task.key import Key
from restore.task.learning import Learning
from restore.types import Batch, Facts, InputError, Observation


class Autoencoder(AdversarialTask):
    """Content losses between an image and itself, decoded from a draw of its latents, and KL.

    kl_weight: of the divergence of the latents from a standard normal, in nats for each value of
    the image; 1e-6 is the authors'. It bounds latents and does not make them normal: `latent_mean`
    and `latent_std` [latent_channels], measured over every validation, make them so for a prior.
    `restore` decodes the mean, without a draw.
    """

    network: GaussianAutoencoder
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self,
        facts: Facts,
        network: Callable[..., nn.Module],
        loss: Mapping[str, ContentLoss | None],
        adversary: Callable[..., Adversary] | None = None,
        kl_weight: float = 1e-6,
        seed: int = 0,
        **learning: Unpack[Learning],
    ) -> None:
        super().__init__(facts, network, loss, adversary, seed, **learning)
        if kl_weight < 0:
            raise InputError(f"task.kl_weight={kl_weight} must be at least 0")
        self.kl_weight = kl_weight
        self._moments = torch.zeros(3, self.network.latent_channels, dtype=torch.float64)
        self.register_buffer("latent_mean", torch.zeros(self.network.latent_channels))
        self.register_buffer("latent_std", torch.zeros(self.network.latent_channels))

    def generator(self, network: Callable[..., nn.Module]) -> nn.Module:
        return network(image_channels=self.facts.image_channels)

    @property
    def judged_channels(self) -> tuple[int, int]:
        return self.facts.image_channels, 0

    def condition(self, observation: Observation) -> Tensor:
        """Nothing, because the discriminator judges an image alone."""
        return observation["input"][:, :0]

    def check(self, batch: Batch | None = None) -> None:
        size = self.facts.image_size
        if size is not None and size % self.network.factor:
            raise InputError(
                f"images of {size} px are not divisible by {self.network.factor}, the factor of "
                "task.network: choose another image size or fewer task.network.multipliers"
            )
        if batch is not None and not torch.equal(batch["input"], batch["target"]):
            raise InputError("an autoencoder learns images as they are: use degradation=unchanged")
        super().check(batch)

    def check_stages(self, stages: tuple[Tensor, ...], batch: Batch) -> None:
        super().check_stages(stages[-1:], batch)  # the others are latents

    def predict(self, observation: Observation) -> tuple[Tensor, ...]:
        """Mean and log variance of the latents, and the image of a draw from them; the image alone
        where the network is seen through tiles or views."""
        image = observation["input"]
        height, width = image.shape[-2:]
        grown = pad_to_multiple(image, self.network.factor)
        noise = self._noise(observation, grown) if self.training else None
        *latents, made = self.network(grown, noise)
        return *latents, made[..., :height, :width]

    def _noise(self, observation: Observation, image: Tensor) -> Tensor:
        seeds = fold(observation["index"], self.seed, Key.LATENT, self.updates)
        sides = (side // self.network.factor for side in image.shape[-2:])
        return Stream(seeds).normal(self.network.latent_channels, *sides)

    def content_terms(
        self, stages: tuple[Tensor, ...], target: Tensor, hole: Tensor | None
    ) -> dict[str, Tensor]:
        mean, log_variance, made = (stage.float() for stage in stages)
        terms = super().content_terms((made,), target, hole)
        standard = torch.zeros_like(mean)
        divergence = gaussian_kl(mean, log_variance, standard, standard).sum() / target.numel()
        return {**terms, "kl": self.kl_weight * divergence}

    def on_validation_epoch_start(self) -> None:
        self._moments.zero_()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        mean = self.network.encode(pad_to_multiple(batch["input"], self.network.factor))[0]
        each = mean.detach().double().transpose(0, 1).flatten(1).cpu()
        count = torch.full((len(each),), float(each.shape[1]), dtype=torch.float64)
        self._moments += torch.stack([count, each.sum(1), each.square().sum(1)])

    def on_validation_epoch_end(self) -> None:
        """Measures mean and deviation of the latents over all images of validation."""
        has_double = self.device.type != "mps"
        own = self._moments.to(self.device, torch.float64 if has_double else torch.float32)
        count, total, squares = self.trainer.strategy.reduce(own, reduce_op="sum")
        mean = total / count
        self.latent_mean.copy_(mean)
        self.latent_std.copy_((squares / count - mean.square()).clamp(min=0).sqrt())
