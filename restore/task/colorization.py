"""Colorization: lightness to colour."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Unpack, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.degradation.gray import Lightness
from restore.image import lab_from_rgb
from restore.loss.color_classes import ColorClasses
from restore.loss.content import ContentLoss, Pixels
from restore.network.color_bins import ColorBins
from restore.network.colorization import recombine
from restore.task.adversarial import AdversarialTask
from restore.task.adversary import Adversary
from restore.task.base import replace_attribute
from restore.task.learning import Learning
from restore.types import Batch, Facts, InputError, Observation

_COUNTED = 1000  # images, spread over the training data, that say how frequent colours are


class Colorizer(AdversarialTask):
    """A generator of L to ab (Isola et al. 2017); the discriminator sees L and ab.

    Losses compare ab, or bins of it where the network speaks of them. size: longest side at which
    colour is predicted, which the full-size L then sharpens; None predicts at the size of the
    input.
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
        bins = self.bins
        for name, term in self.content.items():
            if bins is None and not isinstance(term, Pixels):
                raise InputError(
                    f"task.loss.{name}: colorization compares ab, which has no VGG features and "
                    "no total variation worth the name; use loss=l1 or another loss of pixels, or "
                    "loss=color_classes with network=colorization_classes"
                )
            if bins is not None and not isinstance(term, ColorClasses):
                raise InputError(
                    f"task.loss.{name} compares ab, and network=colorization_classes speaks of "
                    "bins: use loss=color_classes"
                )
            if isinstance(term, ColorClasses) and bins is not None:
                term.use(bins)
        self.size = size

    def generator(self, network: Callable[..., nn.Module]) -> nn.Module:
        if (self.facts.input_channels, self.facts.image_channels) != (1, 3):
            raise InputError(
                "task=colorization needs RGB images and their lightness: use degradation=gray "
                "with data.source.mode=rgb"
            )
        return network(image_size=self.facts.image_size)

    @property
    def bins(self) -> ColorBins | None:
        """The bins of colour, where the network predicts them."""
        bins: ColorBins | None = getattr(self.network, "bins", None)
        return bins

    @property
    def judged_channels(self) -> tuple[int, int]:
        return 2, 1

    def within(self, side: int, needed: Tensor | None = None) -> AbstractContextManager[None]:
        """Predicts colour from a smaller image, not from tiles: it depends on the whole image."""
        return replace_attribute(self, "size", min(self.size or side, side))

    def check_observation(self, observation: Observation) -> None:
        operator = observation.get("operator")
        if operator is not None and not isinstance(operator, Lightness):
            raise InputError(
                "task=colorization adds colour to the lightness of CIELAB, and this grey is a "
                f"{type(operator).__name__}: use degradation=gray"
            )
        super().check_observation(observation)

    def predict(self, observation: Observation) -> tuple[Tensor, ...]:
        said = self.network(observation["input"])
        return said if isinstance(said, tuple) else (said,)

    def check_stages(self, stages: tuple[Tensor, ...], batch: Batch) -> None:
        if self.bins is None:  # which are no image
            super().check_stages(stages, batch)

    def truth(self, batch: Batch) -> Tensor:
        return lab_from_rgb(batch["target"])[:, 1:]

    def condition(self, observation: Observation) -> Tensor:
        return observation["input"]

    def result(self, observation: Observation) -> Tensor:
        """Restored RGB images, which have the lightness of the input."""
        lightness, seen = observation["input"], observation
        longest = max(lightness.shape[-2:])
        if self.size is not None and longest > self.size:
            small = [max(1, round(side * self.size / longest)) for side in lightness.shape[-2:]]
            shrunk = F.interpolate(lightness, small, mode="bilinear", antialias=True)
            seen = cast(Observation, {**observation, "input": shrunk})
        return recombine(lightness, self.stages_of(seen)[-1].float())

    @torch.no_grad()
    def on_fit_start(self) -> None:
        """Measures how frequent colours are in the training data, once in the life of a network."""
        bins = self.bins
        if bins is None or bins.distribution.any():
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        counted = torch.zeros_like(bins.distribution)
        for raw in data.samples("train").spread(_COUNTED):
            target = data.to_batch(raw)["target"].to(counted.device)
            counted += bins.histogram(lab_from_rgb(target)[:, 1:]) / target[0, 0].numel()
        bins.distribution.copy_(counted / counted.sum())
