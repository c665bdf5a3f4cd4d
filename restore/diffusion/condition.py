"""What a network is told beside x_t: the degraded image, what is missing of it, a class.

Saharia et al. 2022 (Palette): the network sees the observation in channels of its own. One channel
more says where nothing is known. It is the hole where there is one, else 0; and 1 everywhere for
"no condition", which is then the same as a hole as large as the image, and never taken for a grey
photo.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from restore.diffusion.parameterization import Prediction, Predictor
from restore.diffusion.schedule import Schedule
from restore.stream import Stream
from restore.types import InputError, Observation


@dataclass(frozen=True)
class Condition:
    """How a network is taught to look at observations.

    dropout: the share of training samples from which the whole condition is taken, so that the
    network is a prior, too, and guidance=cfg has something to compare with (Ho & Salimans 2022,
    algorithm 1). loss: over the pixels that are missing, as in Palette's inpainting, or everywhere;
    the same where nothing is missing. The hole is the default, because known pixels are put back
    at every step of a sampler: what the network says of them is never used.
    """

    dropout: float = 0.1
    loss: Literal["hole", "everywhere"] = "hole"

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise InputError(f"task.condition.dropout={self.dropout} must be at least 0, below 1")
        if self.loss not in ("hole", "everywhere"):
            raise InputError(f"task.condition.loss={self.loss} must be hole or everywhere")

    def region(self, shown: Tensor) -> Tensor | None:
        """Where the loss of networks that are shown `shown` counts, [B, 1, H, W]; None is
        everywhere."""
        if self.loss == "everywhere":
            return None
        missing = shown[:, -1:]
        return torch.where(missing.amax((2, 3), keepdim=True) > 0, missing, 1)


def shown(observation: Observation) -> Tensor:
    """An observation as channels [B, K + 1, H, W]: its input of K channels, and what is missing."""
    image, hole = observation["input"], observation.get("hole")
    if hole is None:
        return torch.cat([image, torch.zeros_like(image[:, :1])], dim=1)
    return torch.cat([image.masked_fill(hole > 0, 0), (hole > 0).to(image)], dim=1)


def drop(shown: Tensor, which: Tensor | None = None) -> Tensor:
    """Takes the condition from samples `which` bool [B], None is all: channels [B, K + 1, H, W].

    These samples are then told nothing: 0 in the input, and 1 where something is missing.
    """
    nothing = torch.zeros_like(shown)
    nothing[:, -1] = 1
    return nothing if which is None else torch.where(which.view(-1, 1, 1, 1), nothing, shown)


class Told(NamedTuple):
    """What a network is told of its samples beside x_t and t; None is nothing to be told."""

    shown: Tensor | None = None  # [B, K + 1, H, W]
    label: Tensor | None = None  # [B]; num_classes for "no class"


NOTHING = Told()


@dataclass(frozen=True)
class Telling:
    """What a network can be told. num_classes: None where it hears of no class; label_dropout: the
    share of training samples without one."""

    condition: Condition | None
    num_classes: int | None
    label_dropout: float

    def tell(self, observation: Observation, label: Tensor | None) -> Told:
        """What the network may know of an observation, of which class `label` [B] may be known."""
        seen = None if self.condition is None else shown(observation)
        return Told(seen, None if self.num_classes is None else label)

    def teach(self, told: Told, stream: Stream) -> Told:
        """Takes the class from a share of the samples, and everything from another share."""
        seen, label = told
        if label is not None:
            label = self._no_class(label, stream.uniform() < self.label_dropout)
        if seen is not None and self.condition is not None and self.condition.dropout:
            which = stream.uniform() < self.condition.dropout
            seen = drop(seen, which)
            label = None if label is None else self._no_class(label, which)
        return Told(seen, label)

    def without(self, told: Told) -> Told | None:
        """The same samples, told nothing; None where the network never learned to do without."""
        seen, label = told
        taught = self.condition.dropout > 0 if self.condition is not None else label is not None
        if not taught:
            return None
        return Told(
            None if seen is None else drop(seen),
            None if label is None else self._no_class(label, torch.ones_like(label).bool()),
        )

    def region(self, told: Told) -> Tensor | None:
        """Where the loss counts, as `Condition.region`; None is everywhere."""
        if self.condition is None or told.shown is None:
            return None
        return self.condition.region(told.shown)

    def _no_class(self, label: Tensor, which: Tensor) -> Tensor:
        return label.masked_fill(which, self.num_classes or 0)


class Conditional:
    """A Denoise that is told something, and can be asked what it would say without.

    predictor: made for a Told. told: of the samples; without: the same samples, nothing said, or
    None for a network that was never taught to do without.
    """

    def __init__(
        self, predictor: Callable[[Told], Predictor], told: Told, without: Told | None
    ) -> None:
        self.predictor, self.told, self.without = predictor, told, without

    @property
    def schedule(self) -> Schedule:
        return self.predictor(self.told).schedule

    def __call__(self, x: Tensor, t: Tensor) -> Prediction:
        return self.predictor(self.told)(x, t)

    def both(self, x: Tensor, t: Tensor) -> tuple[Prediction, Prediction]:
        """Predicts with and without what is told, in one batch twice as large; x0 is not clipped.

        Raises:
            InputError: the network was never taught to do without.
        """
        if self.without is None:
            raise InputError(NEVER_WITHOUT)
        pairs = zip(self.told, self.without, strict=True)
        joined = (None if a is None or b is None else torch.cat([a, b]) for a, b in pairs)
        predicted = self.predictor(Told(*joined)).unclipped(x.repeat(2, 1, 1, 1), t.repeat(2))
        told, without = predicted.x0.chunk(2)
        fraction = (None, None) if predicted.fraction is None else predicted.fraction.chunk(2)
        return Prediction(told, fraction[0]), Prediction(without, fraction[1])

    def bounded(self, x0: Tensor) -> Tensor:
        """Clips x0 [B, C, H, W] to the bounds of the predictor."""
        return self.predictor(self.told).bounded(x0)


NEVER_WITHOUT = (
    "guidance=cfg compares with what the network says without its condition; this one has none, or "
    "was never trained without: train with task.condition.dropout above 0, or leave guidance out"
)
