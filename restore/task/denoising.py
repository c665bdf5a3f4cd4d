"""Denoising: noisy to clean."""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor, nn

from restore.loss.content import ContentLoss
from restore.task.adversarial import AdversarialTask
from restore.task.adversary import Adversary
from restore.task.base import OptimizerFactory, SchedulerFactory
from restore.types import Batch, Facts, InputError


class Denoiser(AdversarialTask):
    """A generator of (input, sigma) to the clean image; the discriminator sees input and result.

    Sees the noise level where the degradation states it and the network looks at it. Any image
    size. adversary: None for plain regression.
    """

    def __init__(
        self,
        facts: Facts,
        network: Callable[..., nn.Module],
        optimizer: OptimizerFactory,
        loss: Mapping[str, ContentLoss | None],
        adversary: Callable[..., Adversary] | None = None,
        scheduler: SchedulerFactory | None = None,
        seed: int = 0,
        clip_norm: float | None = None,
        accumulate: int = 1,
        scheduler_interval: Literal["update", "epoch"] = "update",
    ) -> None:
        channels = facts.image_channels
        if facts.input_channels != channels:
            raise InputError(
                f"task=denoising restores images of {channels} channels from as many, and this "
                f"degradation leaves {facts.input_channels}: choose one that keeps them"
            )
        super().__init__(
            facts,
            network(image_channels=channels, image_size=facts.image_size),
            optimizer,
            loss,
            adversary,
            judged_channels=(channels, channels),
            scheduler=scheduler,
            seed=seed,
            clip_norm=clip_norm,
            accumulate=accumulate,
            scheduler_interval=scheduler_interval,
        )

    def predict(self, batch: Batch) -> tuple[Tensor, ...]:
        return (self.network(batch["input"], batch.get("sigma")),)

    def truth(self, batch: Batch) -> Tensor:
        return batch["target"]

    def condition(self, batch: Batch) -> Tensor:
        return batch["input"]

    def restore(self, batch: Batch, num_samples: int = 1) -> Tensor:
        """Clean images, all num_samples of an image equal."""
        (clean,) = self.predict(batch)
        return clean.unsqueeze(1).repeat_interleave(num_samples, 1)
