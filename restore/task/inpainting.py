"""Inpainting by a generator of one or two stages (Yu et al. 2019)."""

import inspect
from collections.abc import Callable

from torch import Tensor, nn

from restore.network.inpainting import composite
from restore.task.adversarial import AdversarialTask
from restore.types import InputError, Observation


class InpaintingGAN(AdversarialTask):
    """A generator of (masked image, hole) to its stages, such as (coarse, refined); the
    discriminator sees the hole, too, and the last stage with the known pixels put back."""

    def generator(self, network: Callable[..., nn.Module]) -> nn.Module:
        made = network(image_channels=self.facts.image_channels)
        if "hole" not in inspect.signature(made.forward).parameters:
            raise InputError(
                f"{type(made).__name__} is shown no hole, so that it can fill none: use "
                "network=inpainting_unet or network=inpainting"
            )
        return made

    @property
    def judged_channels(self) -> tuple[int, int]:
        return self.facts.image_channels, 1

    def check_observation(self, observation: Observation) -> None:
        if "hole" not in observation:
            raise InputError("this model fills holes: use a degradation with a mask")
        super().check_observation(observation)

    def predict(self, observation: Observation) -> tuple[Tensor, ...]:
        said = self.network(observation["input"], observation["hole"])
        return said if isinstance(said, tuple) else (said,)

    def condition(self, observation: Observation) -> Tensor:
        return observation["hole"]

    def judged(self, stages: tuple[Tensor, ...], observation: Observation) -> Tensor:
        """The last stage, with known pixels bit-equal to those of the input."""
        return composite(observation["input"], stages[-1], observation["hole"])
