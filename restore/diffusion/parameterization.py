"""What a network predicts (eps, x0 or v), turned into x0, and the target it is trained on.

With y = x_t / r, a = alpha / r, b = sigma / r and r^2 = alpha^2 + sigma^2 (1 on every
variance-preserving schedule) y = a x0 + b eps, a^2 + b^2 = 1, whatever the schedule.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from restore.diffusion.schedule import Schedule, align
from restore.loss.diffusion import Parameterization
from restore.types import InputError

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x [B, C, H, W], t [B] in [0, 1]) -> x0
Network = Callable[[Tensor, Tensor], Tensor]  # (y [B, C, H, W], t [B]) -> [B, C or 2C, H, W]


@runtime_checkable
class VarianceDenoise(Protocol):
    """A Denoise that also knows the variance of the step it is asked for."""

    def __call__(self, x: Tensor, t: Tensor) -> Tensor: ...

    def with_variance(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]: ...


def denoise_with_variance(denoise: Denoise, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(x0, fraction) of Denoiser.with_variance; InputError where denoise has no such method."""
    if isinstance(denoise, VarianceDenoise):
        return denoise.with_variance(x, t)
    raise InputError("variance=learned needs a denoiser that predicts it; use small or large")


class Denoiser:
    """denoise(x [B, C, H, W], t [B] in [0, 1]) -> x0 [B, C, H, W], clipped to [-1, 1] if clip.

    The network gets y = x / r and t as it is: in [0, 1], float32; multiplying it (by 1000, say) is
    the network's affair. If it returns 2C channels, the last C are the learned variance.
    InputError for eps on a schedule with alpha(1) = 0, where eps tells nothing of x0.
    """

    def __init__(
        self,
        network: Network,
        parameterization: Parameterization,
        schedule: Schedule,
        clip: bool = True,
    ) -> None:
        if parameterization == "eps" and schedule(torch.ones(()))[0] == 0:
            raise InputError(
                f"parameterization=eps cannot be used with {type(schedule).__name__}, "
                "where alpha(1) = 0; use v or x0"
            )
        self.network = network
        self.parameterization = parameterization
        self.schedule = schedule
        self.clip = clip

    def _levels(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma = self.schedule(t.double())
        r = torch.hypot(alpha, sigma)
        return align(alpha / r, x), align(sigma / r, x), align(r, x)

    def output(self, x: Tensor, t: Tensor) -> Tensor:
        """The network's own output [B, C or 2C, H, W], in the dtype of x."""
        _, _, r = self._levels(x, t)
        return self.network(x / r, t.float()).to(x.dtype)

    def target(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the first C channels of `output` are trained to be, [B, C, H, W]."""
        if self.parameterization == "eps":
            return eps
        if self.parameterization == "x0":
            return x_0
        a, b, _ = self._levels(x_0, t)
        return a * eps - b * x_0  # Salimans & Ho 2022, appendix D

    def x0(self, output: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """x0 [B, C, H, W] from `output` of x and t."""
        predicted = output[:, : x.shape[1]]
        a, b, r = self._levels(x, t)
        if self.parameterization == "eps":
            predicted = (x / r - b * predicted) / a
        elif self.parameterization == "v":
            predicted = a * (x / r) - b * predicted
        return predicted.clamp(-1, 1) if self.clip else predicted

    def fraction(self, output: Tensor) -> Tensor:
        """Nichol & Dhariwal 2021, eq. 15: v in [0, 1] from the last C of 2C channels in [-1, 1].

        The variance is exp(v log large + (1 - v) log small).
        """
        return ((output[:, output.shape[1] // 2 :] + 1) / 2).clamp(0, 1)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return self.x0(self.output(x, t), x, t)

    def with_variance(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x0 and `fraction`, both [B, C, H, W]. InputError if the network has not 2C channels."""
        output = self.output(x, t)
        if output.shape[1] != 2 * x.shape[1]:
            raise InputError(
                f"variance=learned needs a network with {2 * x.shape[1]} output channels, this has "
                f"{output.shape[1]}; train it with learned variance, or use small or large"
            )
        return self.x0(output, x, t), self.fraction(output)
