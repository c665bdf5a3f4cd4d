"""What a network predicts (eps, x0 or v), turned into x0, and the target it is trained on.

With y = x_t / r, a = alpha / r, b = sigma / r and r^2 = alpha^2 + sigma^2 (1 on every
variance-preserving schedule) y = a x0 + b eps, a^2 + b^2 = 1, whatever the schedule.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from restore.diffusion.schedule import Schedule, align
from restore.loss.diffusion import Parameterization
from restore.types import InputError


class Prediction(NamedTuple):
    """What denoise says of x [B, C, H, W] at t."""

    x0: Tensor  # [B, C, H, W]
    fraction: Tensor | None = None  # [B, C, H, W], of the learned variance: Predictor.fraction


Denoise = Callable[[Tensor, Tensor], Prediction]  # of x [B, C, H, W] and t [B] in [0, 1]
Network = Callable[[Tensor, Tensor], Tensor]  # (y [B, C, H, W], t [B]) -> [B, C or 2C, H, W]


class Predictor:
    """A Denoise; x0 is clipped to [-1, 1] if clip.

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
                f"task.parameterization=eps cannot be used with {type(schedule).__name__}, "
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
        """Nichol & Dhariwal 2021, eq. 15: v, 0 and 1 for the last C of 2C channels at -1 and 1.

        The variance is exp(v log large + (1 - v) log small). As in the paper nothing keeps v in
        [0, 1]: a clamp would give no gradient outside, and no way back.
        """
        return (output[:, output.shape[1] // 2 :] + 1) / 2

    def __call__(self, x: Tensor, t: Tensor) -> Prediction:
        output = self.output(x, t)
        learned = output.shape[1] == 2 * x.shape[1]
        return Prediction(self.x0(output, x, t), self.fraction(output) if learned else None)
