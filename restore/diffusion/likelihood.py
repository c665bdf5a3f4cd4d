"""Guidance by the gradient of how likely y is: each call of the network is also differentiated."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from restore.degradation.operator import Known, LinearOperator
from restore.diffusion.measurement import (
    Measurement,
    Measuring,
    bounded,
    measurement,
    prior_variance,
    schedule_of,
)
from restore.diffusion.parameterization import Denoise, Prediction
from restore.diffusion.schedule import align
from restore.types import InputError, Observation

_LEAST_ALPHA = 0.05  # below it the score says nothing of x0, and a division by alpha only noise


class Likelihood(Measuring):
    """Differentiates denoise, also where sampling runs in inference mode.

    Pixels that are known without noise are kept bit for bit.
    """

    def guide(self, denoise: Denoise, observation: Observation) -> Denoise:
        self.check(observation)
        seen = measurement(observation, self.name)

        def guided(x: Tensor, t: Tensor) -> Prediction:
            with torch.inference_mode(False), torch.enable_grad():
                x, t = x.detach().clone().requires_grad_(), t.clone()
                predicted = denoise(x, t)
                with torch.autocast(x.device.type, enabled=False):
                    moved = self.move(denoise, predicted, x, t, seen)
            shift, fraction = moved.shift, moved.fraction
            return Prediction(
                _kept(moved.x0.detach(), seen),
                None if fraction is None else fraction.detach(),
                None if shift is None else shift.detach(),
            )

        return guided

    @abstractmethod
    def move(
        self, denoise: Denoise, predicted: Prediction, x: Tensor, t: Tensor, seen: Measurement
    ) -> Prediction:
        """Moves the prediction for x, which needs gradients, towards what was seen."""


def _kept(x0: Tensor, seen: Measurement) -> Tensor:
    """x0 with the pixels of y where a hole without noise leaves them: bit-equal in the result."""
    if not isinstance(seen.operator, Known):
        return x0
    return torch.where(seen.operator.hole | (seen.sigma > 0), x0, seen.y.to(x0.dtype))


@dataclass(frozen=True)
class DPS(Likelihood):
    """Chung et al. 2023 (Diffusion posterior sampling), algorithm 1, for any A.

    The sampler's next x is moved by -scale times the gradient of |y - A x0| by x. The paper's
    scales, 0.3 to 1, are for 1000 steps; fewer want larger ones.
    """

    scale: float = 1.0
    name: ClassVar[str] = "dps"

    def __post_init__(self) -> None:
        if not 0 < self.scale < math.inf:
            raise InputError(f"guidance.scale={self.scale} must be above 0")

    def calls(self, times: Tensor) -> int:
        """InputError for a single step, whose result is the x0 that nothing has moved yet."""
        if len(times) < 2:
            raise InputError(
                "guidance=dps leads the steps that follow, and one step has none: raise "
                "sampler.num_steps or start, or use guidance=null_space or pigdm"
            )
        return super().calls(times)

    def move(
        self, denoise: Denoise, predicted: Prediction, x: Tensor, t: Tensor, seen: Measurement
    ) -> Prediction:
        residual = seen.y - seen.operator.forward(predicted.x0.to(seen.y.dtype))
        distance = residual.flatten(1).norm(dim=1).sum()
        (slope,) = torch.autograd.grad(distance, x)
        return predicted._replace(shift=-self.scale * slope)


@dataclass(frozen=True)
class PiGDM(Likelihood):
    """Song et al. 2023 (Pseudoinverse-guided diffusion models), eq. 7, for a linear A.

    y given x_t is N(A x0, r_t^2 A A^T + sigma^2), and x0 moves by sigma_t^2 / alpha_t times the
    gradient of its logarithm: exact for white Gaussian data of deviation sigma_data. Pixels of
    photos vary together, which makes the first moves far too long, so that x0 is bounded as the
    network's own is.
    """

    sigma_data: float = 0.5
    name: ClassVar[str] = "pigdm"

    def __post_init__(self) -> None:
        if not 0 < self.sigma_data < math.inf:
            raise InputError(f"guidance.sigma_data={self.sigma_data} must be above 0")

    def check(self, observation: Observation) -> None:
        operator = measurement(observation, self.name).operator
        if not isinstance(operator, LinearOperator):
            raise InputError(
                f"guidance=pigdm needs a linear operator, and {type(operator).__name__} is none: "
                "use guidance=null_space or dps"
            )

    def move(
        self, denoise: Denoise, predicted: Prediction, x: Tensor, t: Tensor, seen: Measurement
    ) -> Prediction:
        operator, y, noise = seen
        assert isinstance(operator, LinearOperator)
        variance = prior_variance(denoise, x, t, self.sigma_data)
        x0 = predicted.x0.to(y.dtype)
        ridge, (height, width) = noise.square() / variance, x.shape[-2:]
        with torch.no_grad():
            back = operator.inverse(y - operator.forward(x0), height, width, ridge)
        (slope,) = torch.autograd.grad((x0 * back).sum(), x)
        alpha, sigma = (align(level, x) for level in schedule_of(denoise)(t.double()))
        gain = sigma.square() / (variance * alpha.clamp(min=_LEAST_ALPHA))
        return predicted._replace(x0=bounded(denoise, x0 + gain * slope))
