"""What a network predicts, turned into x0, and the target it is trained on.

With r = hypot(alpha, sigma), y = x_t / r, a = alpha / r and b = sigma / r (r is 1 on every
variance-preserving schedule) y = a x0 + b eps and a^2 + b^2 = 1, whatever the schedule. The network
sees y; eps, x0, v = a eps - b x0 and velocity = eps - x0 are what it may predict.

edm is the preconditioning of Karras et al. 2022 (section 5, table 1) for data of deviation d =
sigma_data: the same with r = hypot(d alpha, sigma), a = d alpha / r, b = sigma / r and x0 / d in
the place of x0, which makes y = c_in x_t of variance 1; it predicts b x0 / d - a eps, whose plain
squared error is their loss with its weight lambda.
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
    shift: Tensor | None = None  # [B, C, H, W], that a guidance adds to the next x of a sampler

    def shifted(self, x: Tensor) -> Tensor:
        """The next x of a sampler, at s > 0, with what a guidance adds."""
        return x if self.shift is None else x + self.shift


Denoise = Callable[[Tensor, Tensor], Prediction]  # of x [B, C, H, W] and t [B] in [0, 1]
Network = Callable[[Tensor, Tensor], Tensor]  # (y [B, C, H, W], t [B]) -> [B, C or 2C, H, W]


class Predictor:
    """A Denoise; x0 is clipped to [-1, 1] if clip.

    The network gets y and t as it is: in [0, 1], float32; multiplying it (by 1000, say) is the
    network's affair. If it returns 2C channels, the last C are the learned variance. InputError for
    eps on a schedule with alpha(1) = 0, where eps tells nothing of x0.
    """

    def __init__(
        self,
        network: Network,
        parameterization: Parameterization,
        schedule: Schedule,
        clip: bool = True,
        sigma_data: float = 0.5,
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
        self.scale = sigma_data if parameterization == "edm" else 1.0  # d; of images of mean 0

    def _levels(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """a, b and r."""
        alpha, sigma = self.schedule(t.double())
        alpha = self.scale * alpha
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
        if self.parameterization == "velocity":
            return eps - x_0  # Liu et al. 2023 (rectified flow), eq. 1, with t from data to noise
        a, b, _ = self._levels(x_0, t)
        v = a * eps - b * (x_0 / self.scale)  # Salimans & Ho 2022, appendix D
        return -v if self.parameterization == "edm" else v

    def x0(self, output: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """x0 [B, C, H, W] from `output` of x and t."""
        return self.bounded(self._unbounded(output, x, t))

    def bounded(self, x0: Tensor) -> Tensor:
        """x0 in [-1, 1] if clip."""
        return x0.clamp(-1, 1) if self.clip else x0

    def _unbounded(self, output: Tensor, x: Tensor, t: Tensor) -> Tensor:
        predicted = output[:, : x.shape[1]]
        if self.parameterization == "x0":
            return predicted
        a, b, r = self._levels(x, t)
        y = x / r
        if self.parameterization == "eps":
            return (y - b * predicted) / a
        if self.parameterization == "velocity":
            return (y - b * predicted) / (a + b)
        v = -predicted if self.parameterization == "edm" else predicted
        return (a * y - b * v) * self.scale

    def fraction(self, output: Tensor) -> Tensor:
        """Nichol & Dhariwal 2021, eq. 15: v, 0 and 1 for the last C of 2C channels at -1 and 1.

        The variance is exp(v log large + (1 - v) log small). As in the paper nothing keeps v in
        [0, 1]: a clamp would give no gradient outside, and no way back.
        """
        return (output[:, output.shape[1] // 2 :] + 1) / 2

    def unclipped(self, x: Tensor, t: Tensor) -> Prediction:
        """What the network says, without bounds of x0."""
        output = self.output(x, t)
        learned = output.shape[1] == 2 * x.shape[1]
        x0 = self._unbounded(output, x, t)
        return Prediction(x0, self.fraction(output) if learned else None)

    def __call__(self, x: Tensor, t: Tensor) -> Prediction:
        predicted = self.unclipped(x, t)
        return predicted._replace(x0=self.bounded(predicted.x0))
