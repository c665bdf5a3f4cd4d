"""What an observation says of the image, y = A x + noise, and how much the prior knows by then."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from restore.degradation.operator import IdentityOperator, Known, Operator
from restore.diffusion.guidance import Guidance
from restore.diffusion.parameterization import Denoise
from restore.diffusion.schedule import Schedule, align
from restore.types import InputError, Observation


class Measurement(NamedTuple):
    operator: Operator
    y: Tensor
    sigma: Tensor  # [B, 1, 1, 1], standard deviation of white noise in y

    @property
    def is_exact(self) -> bool:
        return not bool(self.sigma.any())


def measurement(observation: Observation, name: str) -> Measurement:
    """Raises InputError, in the name of a guidance, where nobody says what A is.

    Its tensors are no inference tensors, so that gradients may pass through A.
    """
    operator = observation.get("operator")
    with torch.inference_mode(False):
        image = observation["input"].clone()
        if operator is None and "hole" in observation:
            operator = Known(observation["hole"].clone())
        elif operator is None and "sigma" in observation:
            operator = IdentityOperator()
        if not isinstance(operator, Operator):
            raise InputError(
                f"guidance={name} must know how the input came from the image: use a degradation "
                "with a mask, gray, noise, downsample or blur, and none that is blind"
            )
        sigma = observation.get("sigma", image.new_zeros(len(image))).clone()
        return Measurement(operator, operator.measured(image), sigma.view(-1, 1, 1, 1))


class Measuring(Guidance):
    """A guidance that knows A, and so takes what A leaves, whatever its size or channels."""

    name: ClassVar[str]

    def check(self, observation: Observation) -> None:
        measurement(observation, self.name)

    def reads(self, observation: Observation, channels: int) -> bool:
        """Raises InputError for an operator that takes no image of that many channels."""
        operator = observation.get("operator")
        if isinstance(operator, Operator):
            channels = operator.shown_channels(channels)
        return super().reads(observation, channels)

    def image(self, observation: Observation, channels: int) -> Tensor:
        """The input; of other channels, the image nearest to grey of all that fit to it."""
        shown = observation["input"]
        if shown.shape[1] == channels:
            return shown
        seen = measurement(observation, self.name)
        grey = shown.new_zeros(len(shown), channels, *shown.shape[-2:])
        return seen.operator.nearest(grey, seen.y)


def prior_variance(denoise: Denoise, x: Tensor, t: Tensor, sigma_data: float) -> Tensor:
    """r_t^2 [B, 1, 1, 1], of x0 given x_t for white data of deviation sigma_data.

    Song et al. 2023 (Pseudoinverse-guided diffusion models), section 3.2, for sigma_data = 1.
    """
    alpha, sigma = (align(level, x) for level in schedule_of(denoise)(t.double()))
    data = sigma_data**2
    return data * sigma.square() / (data * alpha.square() + sigma.square())


def schedule_of(denoise: Denoise) -> Schedule:
    schedule = getattr(denoise, "schedule", None)
    assert isinstance(schedule, Schedule), f"{denoise} knows no schedule"
    return schedule


def bounded(denoise: Denoise, x0: Tensor) -> Tensor:
    """x0 within the bounds that denoise keeps for its own, if it has some."""
    bound = getattr(denoise, "bounded", None)
    return x0 if bound is None else bound(x0)
