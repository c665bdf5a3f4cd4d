"""Inpainting by a two-stage generator (Yu et al. 2019)."""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor, nn

from restore.loss.content import ContentLoss
from restore.network.inpainting import composite
from restore.task.adversarial import AdversarialTask
from restore.task.adversary import Adversary
from restore.task.base import OptimizerFactory, SchedulerFactory
from restore.types import Batch, Facts, InputError


class InpaintingGAN(AdversarialTask):
    """A generator of (masked image, hole) to (coarse, refined); the discriminator sees the hole,
    too, and the refined image with the known pixels put back."""

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
        super().__init__(
            facts,
            network(image_channels=facts.image_channels),
            optimizer,
            loss,
            adversary,
            judged_channels=(facts.image_channels, 1),
            scheduler=scheduler,
            seed=seed,
            clip_norm=clip_norm,
            accumulate=accumulate,
            scheduler_interval=scheduler_interval,
        )

    def check(self, batch: Batch | None = None) -> None:
        if batch is not None and "hole" not in batch:
            raise InputError("task=inpainting fills holes: use a degradation with a mask")
        super().check(batch)

    def predict(self, batch: Batch) -> tuple[Tensor, ...]:
        coarse, refined = self.network(batch["input"], batch["hole"])
        return coarse, refined

    def truth(self, batch: Batch) -> Tensor:
        return batch["target"]

    def condition(self, batch: Batch) -> Tensor:
        return batch["hole"]

    def judged(self, stages: tuple[Tensor, ...], batch: Batch) -> Tensor:
        return composite(batch["input"], stages[-1], batch["hole"])

    def restore(self, batch: Batch, num_samples: int = 1) -> Tensor:
        """Known pixels are bit-equal to the input's; all num_samples of an image are equal."""
        filled = self.judged(self.predict(batch), batch)
        return filled.unsqueeze(1).repeat_interleave(num_samples, 1)
