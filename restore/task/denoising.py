"""Denoising: noisy to clean."""

from collections.abc import Callable

from torch import Tensor, nn

from restore.task.adversarial import AdversarialTask
from restore.types import InputError, Observation


class Denoiser(AdversarialTask):
    """A generator of (input, sigma) to the clean image; the discriminator sees input and result.

    Sees the noise level where the degradation states it and the network looks at it. Any image
    size.
    """

    def generator(self, network: Callable[..., nn.Module]) -> nn.Module:
        channels = self.facts.image_channels
        if self.facts.input_channels != channels:
            raise InputError(
                f"task=denoising restores images of {channels} channels from as many, and this "
                f"degradation leaves {self.facts.input_channels}: choose one that keeps them"
            )
        made = network(image_channels=channels, image_size=self.facts.image_size)
        self.needs_sigma = bool(getattr(made, "takes_sigma", False))
        return made

    def check_observation(self, observation: Observation) -> None:
        if "hole" in observation:
            raise InputError("this model removes noise and fills no holes: use degradation=noise")
        super().check_observation(observation)

    @property
    def judged_channels(self) -> tuple[int, int]:
        return self.facts.image_channels, self.facts.input_channels

    def predict(self, observation: Observation) -> tuple[Tensor, ...]:
        return (self.network(observation["input"], observation.get("sigma")),)

    def condition(self, observation: Observation) -> Tensor:
        return observation["input"]
