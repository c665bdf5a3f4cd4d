"""Guidance by projection: what was measured is kept, the prior says the rest."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from restore.degradation.operator import IdentityOperator
from restore.diffusion.measurement import Measuring, measurement, schedule_of
from restore.diffusion.parameterization import Denoise, Prediction
from restore.diffusion.schedule import align
from restore.types import InputError, Observation


@dataclass(frozen=True)
class NullSpace(Measuring):
    """x0 becomes the nearest image that fits to what was measured: x0 + A+ (y - A x0).

    Wang et al. 2023 (DDNM), eq. 13; of a hole it is the replacement of known pixels. Where y has
    noise of deviation sigma, x0 moves as far as y is worth more than the prior's guess:
    x0 + A^T (A A^T + sigma^2 / r^2)^-1 (y - A x0), the proximal step of Zhu et al. 2023 (DiffPIR,
    eq. 13), which for white Gaussian data and confidence 1 is the exact posterior mean: r^2 is the
    error of the best linear denoiser of data of deviation sigma_data, to which x_t counts
    `confidence` times its precision. Of noise alone neither is assumed, see `fused`. Of holes the
    prior hears through x_t alone, which leaves samples too wide: jumps of RePaint, or `PiGDM`,
    carry what is known into them.
    """

    sigma_data: float = 0.5
    confidence: float = 1.0
    name: ClassVar[str] = "null_space"

    def __post_init__(self) -> None:
        for name in ("sigma_data", "confidence"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise InputError(f"guidance.{name}={value} must be above 0")

    def guide(self, denoise: Denoise, observation: Observation) -> Denoise:
        operator, y, sigma = seen = measurement(observation, self.name)
        if isinstance(operator, IdentityOperator) and not seen.is_exact:
            return fused(denoise, y, sigma)

        def guided(x: Tensor, t: Tensor) -> Prediction:
            predicted = denoise(x, t)
            ridge: Tensor | float = 0.0
            if not seen.is_exact:
                told = self.confidence * align(schedule_of(denoise).snr(t.double()), x)
                ridge = sigma.square() * (self.sigma_data**-2 + told)
            x0 = operator.nearest(predicted.x0.to(y.dtype), y, ridge)
            return predicted._replace(x0=x0.to(predicted.x0.dtype))

        return guided


def fused(denoise: Denoise, y: Tensor, sigma: Tensor) -> Denoise:
    """E[x0 | x_t, y] for y = x0 + sigma noise, exact whatever the prior is.

    x_t / alpha and y are two views of one image with white noise. Weighted by their precisions they
    are one view of the summed precision, which is what the network sees at an earlier t: no
    approximation is left (Kawar et al. 2022, DDRM, and Wang et al. 2023, DDNM+, reach it at the t
    where the two noises are equal). sigma: [B, 1, 1, 1]; where it is 0, y is the image.
    """
    schedule = schedule_of(denoise)

    def guided(x: Tensor, t: Tensor) -> Prediction:
        alpha, deviation = (align(level, x.double()) for level in schedule(t.double()))
        told = sigma.double().clamp(min=1e-6).square().reciprocal()
        precision = (alpha / deviation).square() + told
        mean = (alpha / deviation.square() * x + told * y) / precision
        earlier = schedule.time_at(precision.flatten())
        view = align(schedule(earlier)[0], mean) * mean
        predicted = denoise(view.to(x.dtype), earlier)
        return predicted._replace(x0=torch.where(sigma > 0, predicted.x0, y.to(x.dtype)))

    return guided
