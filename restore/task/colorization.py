"""Colorization: lightness to colour."""

from collections.abc import Callable, Mapping
from typing import Unpack

from torch import Tensor, nn
from torch.nn import functional as F

from restore.image import lab_from_rgb
from restore.loss.content import ContentLoss, Pixels
from restore.network.colorization import recombine
from restore.task.adversarial import AdversarialTask
from restore.task.adversary import Adversary
from restore.task.base import Learning
from restore.types import Batch, Facts, InputError, Observation


class Colorizer(AdversarialTask):
    """A generator of L to ab (Isola et al. 2017); the discriminator sees L and ab.

    Losses compare ab. size: longest side at which colour is predicted, which the full-size L then
    sharpens; None predicts at the size of the input.
    """

    def __init__(
        self,
        facts: Facts,
        network: Callable[..., nn.Module],
        loss: Mapping[str, ContentLoss | None],
        adversary: Callable[..., Adversary] | None = None,
        size: int | None = None,
        seed: int = 0,
        **learning: Unpack[Learning],
    ) -> None:
        super().__init__(facts, network, loss, adversary, seed, **learning)
        if size is not None and size < 1:
            raise InputError(f"task.size={size} must be at least 1, or null for the input's size")
        for name, term in self.content.items():
            if not isinstance(term, Pixels):
                raise InputError(
                    f"task.loss.{name}: colorization compares ab, which has no VGG features and "
                    "no total variation worth the name; use loss=l1 or another loss of pixels"
                )
        self.size = size

    def generator(self, network: Callable[..., nn.Module]) -> nn.Module:
        if (self.facts.input_channels, self.facts.image_channels) != (1, 3):
            raise InputError(
                "task=colorization needs RGB images and their lightness: use degradation=gray "
                "with data.source.mode=rgb"
            )
        return network(image_size=self.facts.image_size)

    @property
    def judged_channels(self) -> tuple[int, int]:
        return 2, 1

    def predict(self, observation: Observation) -> tuple[Tensor, ...]:
        return (self.network(observation["input"]),)

    def truth(self, batch: Batch) -> Tensor:
        return lab_from_rgb(batch["target"])[:, 1:]

    def condition(self, observation: Observation) -> Tensor:
        return observation["input"]

    def result(self, observation: Observation) -> Tensor:
        """RGB with the lightness of the input."""
        lightness = observation["input"]
        longest = max(lightness.shape[-2:])
        seen = lightness
        if self.size is not None and longest > self.size:
            small = [max(1, round(side * self.size / longest)) for side in lightness.shape[-2:]]
            seen = F.interpolate(lightness, small, mode="bilinear", antialias=True)
        return recombine(lightness, self.network(seen).float())
