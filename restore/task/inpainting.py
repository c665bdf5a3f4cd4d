"""Inpainting by a generator of one or two stages (Yu et al. 2019)."""

from collections.abc import Callable

from torch import Tensor, nn

from restore.network.inpainting import composite
from restore.task.adversarial import AdversarialTask
from restore.types import Batch, InputError


class InpaintingGAN(AdversarialTask):
    """A generator of (masked image, hole) to its stages, such as (coarse, refined); the
    discriminator sees the hole, too, and the last stage with the known pixels put back."""

    def generator(self, network: Callable[..., nn.Module]) -> nn.Module:
        return network(image_channels=self.facts.image_channels)

    @property
    def judged_channels(self) -> tuple[int, int]:
        return self.facts.image_channels, 1

    def check(self, batch: Batch | None = None) -> None:
        if batch is not None and "hole" not in batch:
            raise InputError("task=inpainting fills holes: use a degradation with a mask")
        super().check(batch)

    def predict(self, batch: Batch) -> tuple[Tensor, ...]:
        stages: tuple[Tensor, ...] = self.network(batch["input"], batch["hole"])
        return stages

    def condition(self, batch: Batch) -> Tensor:
        return batch["hole"]

    def judged(self, stages: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """The last stage; known pixels are bit-equal to the input's."""
        return composite(batch["input"], stages[-1], batch["hole"])
