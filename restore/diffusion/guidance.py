"""Guidance: what is known of the image, worked into denoise; any sampler then uses it."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from restore.diffusion.parameterization import Denoise, Prediction
from restore.types import InputError, Observation, path_of


class Guidance(ABC):
    """A wrapper of denoise."""

    @abstractmethod
    def check(self, observation: Observation) -> None:
        """Raises InputError where it is not defined for such observations."""

    def check_prior(self, denoise: Denoise) -> None:  # noqa: B027 (most wrap any)
        """Raises InputError where it cannot wrap this one."""

    def reads(self, observation: Observation, channels: int) -> bool:
        """Whether it takes the input for a prior whose images have that many channels."""
        return observation["input"].shape[1] == channels

    def image(self, observation: Observation, channels: int) -> Tensor:
        """What a sampler noises that starts from the observation, [B, channels, H, W]."""
        return observation["input"]

    def calls(self, times: Tensor) -> int:
        """How often the network is called where denoise is, at times [N]; InputError where that
        is too seldom to lead."""
        return len(times)

    @abstractmethod
    def guide(self, denoise: Denoise, observation: Observation) -> Denoise:
        """Wraps denoise, so that it is led to what the observation says."""


def checked(guidance: Guidance | None) -> Guidance | None:
    """InputError for what only looks like a guidance."""
    if guidance is None or isinstance(guidance, Guidance):
        return guidance
    raise InputError(
        f"task.guidance {path_of(guidance)} is no restore.diffusion.guidance.Guidance: make it a "
        "subclass of it"
    )


class Replacement(Guidance):
    """Known pixels of every predicted x0 are the image's own.

    Samplers end in a predicted x0, so known pixels of the result are bit-equal to the image.
    """

    def check(self, observation: Observation) -> None:
        if "hole" not in observation:
            raise InputError(
                "guidance=replacement fills holes: use a degradation with a mask, another "
                "guidance, or guidance=null"
            )

    def guide(self, denoise: Denoise, observation: Observation) -> Denoise:
        image, hole = observation["input"], observation["hole"] > 0

        def guided(x: Tensor, t: Tensor) -> Prediction:
            predicted = denoise(x, t)
            return predicted._replace(x0=torch.where(hole, predicted.x0, image))

        return guided
