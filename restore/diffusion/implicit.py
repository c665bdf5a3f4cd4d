"""Sampling from the prior that a blind denoiser implies: Kadkhodaie & Simoncelli 2021.

"Stochastic solutions for linear inverse problems using the prior implicit in a denoiser" (NeurIPS
2021), algorithm 2. No schedule is given: every step is as large as the noise that the denoiser
still sees, so that the levels fall, coarse to fine, as they will.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from restore.diffusion.sampler import check_calls
from restore.stream import Stream
from restore.types import InputError

Map = Callable[[Tensor], Tensor]  # [B, C, H, W] to [B, C, H, W]


@dataclass(frozen=True)
class ImplicitPrior:
    """Algorithm 2, with the paper's names and values: h_0, beta, sigma_0 and sigma_L.

    step: h_0 in (0, 1], the first share of the way to the denoised image; the share of step t is
    h_t = h_0 t / (1 + h_0 (t - 1)). beta: in (0, 1], 1 adds no noise. sigma_first, sigma_last:
    levels in units of [0, 1] images, where the walk begins and at which it ends. max_calls: of the
    denoiser, the last one included, which takes the rest of the noise away.
    """

    step: float = 0.01
    beta: float = 0.01
    sigma_first: float = 1.0
    sigma_last: float = 0.01
    max_calls: int = 500

    def __post_init__(self) -> None:
        if not 0 < self.step <= 1 or not 0 < self.beta <= 1:
            raise InputError(f"step={self.step}, beta={self.beta}: both are in (0, 1]")
        if not 0 < self.sigma_last < self.sigma_first:
            raise InputError(
                f"sigma_last={self.sigma_last} must be above 0 and below sigma_first="
                f"{self.sigma_first}"
            )
        check_calls("max_calls", self.max_calls)

    def __call__(
        self, denoise: Map, nearest: Map, like: Tensor, generator: Stream
    ) -> tuple[Tensor, Tensor]:
        """Samples [B, C, H, W] in units of [0, 1], and the calls [B] of `denoise` for each.

        nearest: the closest of all images that were measured as this one was; with an orthonormal M
        it is x + M (x_c - M^T x), and the paper's direction d is nearest(denoise(y)) - y. like: of
        the samples' shape and device.
        """
        shape = like.shape[1:]
        y = nearest(torch.full_like(like, 0.5)) + self.sigma_first * generator.normal(*shape)
        calls = torch.ones(len(y), dtype=torch.int64, device=y.device)
        active = torch.ones(len(y), dtype=torch.bool, device=y.device)
        for t in range(1, self.max_calls):
            direction = nearest(denoise(y)) - y
            level = direction.square().mean(dim=(1, 2, 3)).sqrt()
            share, added = self.shares(t)
            noise = added * _per_image(level) * generator.normal(*shape)
            # An image that has arrived waits for the others, so that none depends on another.
            y = torch.where(_per_image(active), y + share * direction + noise, y)
            calls += active
            active = active & (level > self.sigma_last)
            if not active.any():
                break
        return nearest(denoise(y)), calls

    def shares(self, t: int) -> tuple[float, float]:
        """h_t, and gamma_t / sigma_t, so that a step leaves 1 - beta h_t of the noise's level."""
        share = self.step * t / (1 + self.step * (t - 1))
        return share, ((1 - self.beta * share) ** 2 - (1 - share) ** 2) ** 0.5


def _per_image(values: Tensor) -> Tensor:
    """[B] as [B, 1, 1, 1]."""
    return values.view(-1, 1, 1, 1)
