"""The second player of a GAN: a discriminator with its optimizer and its rules."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from restore.loss.adversarial import (
    BCE,
    AdversarialLoss,
    Hinge,
    LeastSquares,
    feature_matching,
    r1_penalty,
)
from restore.network.patch_discriminator import PatchDiscriminator
from restore.stream import Stream
from restore.task.learning import OptimizerFactory, SchedulerFactory, make_optimizer
from restore.types import InputError

Label = float | list[float]
_LOSSES: dict[str, type[AdversarialLoss]] = {
    "bce": BCE,
    "hinge": Hinge,
    "least_squares": LeastSquares,
}


class Adversary(nn.Module):
    """Judges images beside their condition (Mirza & Osindero 2014) and says what it learns from.

    A turn is one optimizer step. order: simultaneous, both players get their gradients at the same
    weights and step together, so that accumulated batches are one large batch for both (but for a
    spectral norm, which comes nearer to its value with each batch: see SpectralConv2d);
    alternating, the generator answers to the discriminator that has just stepped (Goodfellow et al.
    2014, algorithm 1), without accumulation. discriminator_every: it
    steps at every n-th update of the generator; discriminator_steps: it takes n turns, each on
    fresh data, for one of the generator (WGAN's habit); one of the two is 1.

    start: updates of the generator by its content losses alone before the two meet (Ledig et al.
    2017 start from a trained regression); its best checkpoint by these losses is likely to lie
    there, so callback.best.monitor=null goes with it. The discriminator's schedule counts these
    updates, too: it begins at the rate of that point of the run, and both players' rates end
    together. weight: of the generator's adversarial term.
    real_label, fake_label: the targets; [low, high] draws one for each patch (one-sided smoothing
    is real_label=0.9, two-sided fake_label=0.1 too; Salimans et al. 2016). known_as_real: patches
    without hole count as real in restored images (Suvorov et al. 2022, section 2.3.1). input_noise:
    standard deviation, in the [-1, 1] range, of noise added to all that is judged: always, or
    falling to 0 over input_noise_updates (Sonderby et al. 2017). r1_gamma: gradient penalty on real
    images, in float32, at every r1_every-th turn with r1_every times the weight (Karras et al.
    2020, section 3.1); it stands beside the mean of real and fake losses (Isola et al. 2017),
    beside whose sum it weighs half as much. feature_matching: weight of that term. conditional:
    False judges the image alone.
    """

    def __init__(
        self,
        image_channels: int,
        condition_channels: int,
        image_size: int | None,
        network: Callable[..., PatchDiscriminator],
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
        loss: Literal["bce", "hinge", "least_squares"] = "bce",
        weight: float = 1.0,
        discriminator_every: int = 1,
        discriminator_steps: int = 1,
        real_label: Label = 1.0,
        fake_label: Label = 0.0,
        known_as_real: bool = False,
        input_noise: float = 0.0,
        input_noise_updates: int | None = None,
        r1_gamma: float = 0.0,
        r1_every: int = 16,
        feature_matching: float = 0.0,
        conditional: bool = True,
        start: int = 0,
        order: Literal["simultaneous", "alternating"] = "simultaneous",
    ) -> None:
        super().__init__()
        _check_least(0, weight=weight, input_noise=input_noise, r1_gamma=r1_gamma)
        _check_least(0, feature_matching=feature_matching, start=start)
        _check_least(1, discriminator_every=discriminator_every, r1_every=r1_every)
        _check_least(1, discriminator_steps=discriminator_steps)
        _check_turns(order, discriminator_every, discriminator_steps)
        # A 1 without noise stands in checkpoints of before null was a choice.
        if input_noise and input_noise_updates is not None and input_noise_updates < 2:
            raise InputError(
                f"task.adversary.input_noise_updates={input_noise_updates} must be 2 or more: the "
                "noise would be gone after one update; null keeps it as it is"
            )
        self.network = network(in_channels=image_channels + conditional * condition_channels)
        if image_size is not None and image_size < self.network.least_size:
            raise InputError(
                f"patches of {image_size} px are too small for the discriminator, which needs "
                f"{self.network.least_size}: use larger ones, or fewer of task.adversary.network's "
                "strides, or adversary=null"
            )
        self.factory, self.make_scheduler = optimizer, scheduler
        self.loss = _LOSSES[loss]()
        self.weight = weight
        self.every, self.steps = discriminator_every, discriminator_steps
        self.real_label = _bounds("real_label", real_label)
        self.fake_label = _bounds("fake_label", fake_label)
        self.known_as_real = known_as_real
        self.input_noise, self.input_noise_updates = input_noise, input_noise_updates
        self.r1_gamma, self.r1_every = r1_gamma, r1_every
        self.feature_matching, self.conditional = feature_matching, conditional
        self.start, self.order = start, order

    def optimizer(self) -> Optimizer:
        return make_optimizer(self.factory, self.network.parameters())

    def turns(self, window: int, updates: int) -> tuple[bool, bool]:
        """Whether generator and discriminator step at the end of the window-th window of batches,
        counted from 0, after so many updates of the generator."""
        if updates < self.start:
            return True, False
        generator = window % self.steps == self.steps - 1
        return generator, self.steps > 1 or window % self.every == 0

    def generator_turns(self, windows: int) -> int:
        """How many of the first windows of batches end with a step of the generator."""
        before = min(windows, self.start)
        return before + windows // self.steps - before // self.steps

    def generator_terms(
        self, fake: Tensor, real: Tensor, condition: Tensor, stream: Stream, updates: int
    ) -> dict[str, Tensor]:
        """What the generator minimises besides its content losses. The discriminator is frozen."""
        self.network.requires_grad_(False)
        logits, features = self._judge(fake, condition, stream, updates)
        terms = {"adversarial": self.weight * self.loss.generator(logits).mean()}
        if self.feature_matching:
            with torch.no_grad():
                _, wanted = self._judge(real, condition, stream, updates)
            distance = feature_matching(features, wanted).mean()
            terms["feature_matching"] = self.feature_matching * distance
        self.network.requires_grad_(True)
        return terms

    def discriminator_terms(
        self,
        fake: Tensor,
        real: Tensor,
        condition: Tensor,
        hole: Tensor | None,
        stream: Stream,
        updates: int,
        turn: int,
    ) -> dict[str, Tensor]:
        """What the discriminator minimises at its turn-th turn; nothing flows into `fake`."""
        logits = self._judge(real, condition, stream, updates)[0]
        label = _draw(self.real_label, logits, stream)
        loss = self.loss.discriminator(logits, label)
        logits = self._judge(fake.detach(), condition, stream, updates)[0]
        fake_label = _draw(self.fake_label, logits, stream)
        if self.known_as_real and hole is not None:
            known = F.adaptive_max_pool2d(hole, logits.shape[-2:]) == 0
            fake_label = torch.where(known, label, fake_label)
        loss = (loss + self.loss.discriminator(logits, fake_label)) / 2
        terms = {"discriminator": loss.mean()}
        if self.r1_gamma and turn % self.r1_every == 0:
            penalty = r1_penalty(lambda image: self._see(image, condition)[0], real).mean()
            terms["r1"] = self.r1_gamma * self.r1_every * penalty
        return terms

    @torch.no_grad()
    def accuracy(self, fake: Tensor, real: Tensor, condition: Tensor) -> dict[str, Tensor]:
        """The share of patches of real and of restored images that are told rightly, without noise
        on them. Both near 1: the discriminator has won; both near 0.5: it cannot tell."""
        border = self.loss.border
        return {
            "real_accuracy": (self._see(real, condition)[0] > border).float().mean(),
            "fake_accuracy": (self._see(fake, condition)[0] <= border).float().mean(),
        }

    def _judge(
        self, image: Tensor, condition: Tensor, stream: Stream, updates: int
    ) -> tuple[Tensor, list[Tensor]]:
        level = self.input_noise
        if self.input_noise_updates is not None:
            level *= max(0.0, 1 - updates / self.input_noise_updates)
        if level:
            image = image + level * stream.normal(*image.shape[1:])
        return self._see(image, condition)

    def _see(self, image: Tensor, condition: Tensor) -> tuple[Tensor, list[Tensor]]:
        seen = torch.cat([image, condition.to(image)], dim=1) if self.conditional else image
        judged: tuple[Tensor, list[Tensor]] = self.network(seen)
        return judged


def _draw(bounds: tuple[float, float], logits: Tensor, stream: Stream) -> Tensor:
    """Draws the targets [B, 1, h, w] of the patches."""
    low, high = bounds
    if low == high:
        return torch.full_like(logits, low, dtype=torch.float32)
    return stream.uniform(*logits.shape[1:], low=low, high=high)


def _bounds(name: str, label: Label) -> tuple[float, float]:
    bounds = label if isinstance(label, list) else [label, label]
    if len(bounds) != 2 or not 0 <= bounds[0] <= bounds[1] <= 1:
        raise InputError(f"task.adversary.{name}={label} must be in [0, 1], or [low, high] there")
    return bounds[0], bounds[1]


def _check_turns(order: str, every: int, steps: int) -> None:
    if order not in ("simultaneous", "alternating"):
        raise InputError(f"task.adversary.order={order}: use simultaneous or alternating")
    if every > 1 and steps > 1:
        raise InputError(
            f"task.adversary: discriminator_every={every} and discriminator_steps={steps} exclude "
            "each other: set one to 1"
        )


def _check_least(least: int, **settings: float) -> None:
    for name, value in settings.items():
        if value < least:
            raise InputError(f"task.adversary.{name}={value} must be at least {least}")
