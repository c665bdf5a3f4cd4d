"""Classifier-free guidance (Ho & Salimans 2022), with its two remedies against too much of it."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from restore.diffusion.condition import NEVER_WITHOUT, Conditional
from restore.diffusion.guidance import Guidance
from restore.diffusion.parameterization import Denoise, Prediction
from restore.types import InputError, Observation


@dataclass(frozen=True)
class ClassifierFree(Guidance):
    """x0 = x0_without + weight (x0_with - x0_without); 1 is no guidance.

    Their eq. 6 in terms of x0, with weight = 1 + w. rescale: the share, in [0, 1], of the guided x0
    that is replaced by itself at the contrast of the conditional one (Lin et al. 2023, eq. 15 and
    16, there for the output of the network), against overexposure. interval: guidance acts at
    low < t <= high (Kynkaanniemi et al. 2024), elsewhere the condition alone, at half the cost.
    """

    weight: float = 2.0
    rescale: float = 0.0
    interval: list[float] = field(default_factory=lambda: [0.0, 1.0])

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise InputError(f"guidance.weight={self.weight} must be at least 0; 1 is no guidance")
        if not 0 <= self.rescale <= 1:
            raise InputError(f"guidance.rescale={self.rescale} must be in [0, 1]")
        ends = self.interval
        if len(ends) != 2 or not 0 <= ends[0] < ends[1] <= 1:
            raise InputError(f"guidance.interval={ends} must be [low, high] in [0, 1], low < high")

    def check(self, observation: Observation) -> None:
        """Accepts every observation, because the condition can show each."""

    def check_prior(self, denoise: Denoise) -> None:
        """Raises InputError for what was never trained without its condition, or has none."""
        if not isinstance(denoise, Conditional) or denoise.without is None:
            raise InputError(NEVER_WITHOUT)

    def acts(self, t: Tensor) -> Tensor:
        """Whether guidance acts at times t, bool of its shape."""
        low, high = self.interval
        return (low < t) & (t <= high)

    def calls(self, times: Tensor) -> int:
        """Twice where guidance acts."""
        return len(times) + int(self.acts(times.float()).sum())  # t is float32 for denoise, too

    def guide(self, denoise: Denoise, observation: Observation) -> Denoise:
        self.check_prior(denoise)
        assert isinstance(denoise, Conditional)
        conditional, hole = denoise, observation.get("hole")

        def guided(x: Tensor, t: Tensor) -> Prediction:
            acts = self.acts(t)
            if not acts.any():
                return conditional(x, t)
            told, without = conditional.both(x, t)
            x0 = without.x0 + self.weight * (told.x0 - without.x0)
            if self.rescale:
                share = contrast(told.x0, hole) / contrast(x0, hole)
                x0 = self.rescale * share * x0 + (1 - self.rescale) * x0
            x0 = torch.where(acts.view(-1, 1, 1, 1), x0, told.x0)
            return Prediction(conditional.bounded(x0), told.fraction)

        return guided


def contrast(x0: Tensor, hole: Tensor | None) -> Tensor:
    """Standard deviation [B, 1, 1, 1] over the hole, the rest being known; over all without one."""
    weight = torch.ones_like(x0) if hole is None else (hole > 0).to(x0).expand_as(x0)
    count = weight.sum((1, 2, 3), keepdim=True).clamp(min=1)
    mean = (weight * x0).sum((1, 2, 3), keepdim=True) / count
    variance = (weight * (x0 - mean).square()).sum((1, 2, 3), keepdim=True) / count
    return variance.sqrt().clamp(min=torch.finfo(x0.dtype).eps)
