"""Guidance by projection: what was measured is kept, the prior says the rest."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from restore.diffusion.measurement import Measuring, measurement, prior_variance
from restore.diffusion.parameterization import Denoise, Prediction
from restore.types import InputError, Observation


@dataclass(frozen=True)
class NullSpace(Measuring):
    """x0 becomes the nearest image that fits to what was measured: x0 + A+ (y - A x0).

    Wang et al. 2023 (DDNM), eq. 13; of a hole it is the replacement of known pixels. Where y has
    noise of deviation sigma, x0 moves as far as y is worth more than the prior's guess:
    x0 + A^T (A A^T + sigma^2 / r^2)^-1 (y - A x0), the proximal step of Zhu et al. 2023 (DiffPIR,
    eq. 13), which for white Gaussian data and confidence 1 is the exact posterior mean. r^2 is the
    error of the best linear denoiser of data of deviation sigma_data, divided by `confidence`: a
    network is so many times better. Of holes the prior hears through x_t alone, which leaves
    samples too wide: jumps of RePaint, or `PiGDM`, carry what is known into them.
    """

    sigma_data: float = 0.5
    confidence: float = 7.0
    name: ClassVar[str] = "null_space"

    def __post_init__(self) -> None:
        for name in ("sigma_data", "confidence"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise InputError(f"guidance.{name}={value} must be above 0")

    def guide(self, denoise: Denoise, observation: Observation) -> Denoise:
        operator, y, sigma = seen = measurement(observation, self.name)

        def guided(x: Tensor, t: Tensor) -> Prediction:
            predicted = denoise(x, t)
            ridge: Tensor | float = 0.0
            if not seen.is_exact:
                error = prior_variance(denoise, x, t, self.sigma_data) / self.confidence
                ridge = sigma.square() / error
            with torch.autocast(x.device.type, enabled=False):
                x0 = operator.nearest(predicted.x0.to(y.dtype), y, ridge)
            return predicted._replace(x0=x0.to(predicted.x0.dtype))

        return guided
