"""The walk of a sampler along falling times, and where it begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from restore.diffusion.parameterization import Denoise, Prediction
from restore.diffusion.schedule import Schedule
from restore.stream import Stream
from restore.types import InputError


@dataclass(frozen=True)
class Step:
    """One step of a sampler, as a callback sees it."""

    number: int  # 1 .. total
    total: int
    t: float
    x: Tensor  # [B, C, H, W] at t
    x0: Tensor  # [B, C, H, W], predicted from x


Callback = Callable[[Step], None]
_ROUNDING = 1e-9  # of a grid of times, on which a start such as 0.3 may lie


def initial_noise(schedule: Schedule, t: Tensor, shape: Sequence[int], stream: Stream) -> Tensor:
    """Noise [B, *shape] of variance alpha(t)^2 + sigma(t)^2 for a scalar t; shape [C, H, W]."""
    return torch.hypot(*schedule(t.cpu().double())) * stream.normal(*shape)


def times_from(times: Tensor, start: float) -> Tensor:
    """The part of falling times [N + 1] that begins at or below `start` in (0, 1].

    Meng et al. 2022 (SDEdit), algorithm 1. InputError where no step would be left.
    """
    left = times[times <= start + _ROUNDING]
    if len(left) < 2:
        raise InputError(
            f"start={start} leaves none of the sampler's {len(times) - 1} steps: raise it to at "
            f"least {float(times[-2]):.3g}, or take more steps"
        )
    return left


def _pairs(times: Tensor) -> list[tuple[Tensor, Tensor]]:
    assert times[-1] == 0, "times must end in 0"
    return list(pairwise(times.cpu().double()))


def batch_time(t: Tensor, x: Tensor) -> Tensor:
    """t [B] float32 for x [B, ...] from a scalar."""
    return torch.full((len(x),), float(t), device=x.device)


def walk(
    denoise: Denoise,
    x: Tensor,
    times: Tensor,
    callback: Callback | None,
    advance: Callable[[Tensor, Prediction, Tensor, Tensor], Tensor],
) -> Tensor:
    """Predicts once at each time, and calls advance(x, predicted, t, s) -> x at s, where s > 0."""
    pairs = _pairs(times)
    for number, (t, s) in enumerate(pairs, start=1):
        predicted = denoise(x, batch_time(t, x))
        if callback is not None:
            callback(Step(number, len(pairs), float(t), x, predicted.x0))
        x = predicted.x0 if s == 0 else predicted.shifted(advance(x, predicted, t, s))
    return x


Variance = Literal["small", "large", "learned"]


def ancestor(
    x: Tensor, predicted: Prediction, schedule: Schedule, t: Tensor, s: Tensor, variance: Variance
) -> tuple[Tensor, Tensor]:
    """Mean [B, C, H, W] and standard deviation of x_s, for x at t and scalars s < t.

    Ho et al. 2020, eq. 6 and 7; learned: Nichol & Dhariwal 2021, eq. 15. InputError for learned
    where the network was not trained to say it.
    """
    mean, small, large = schedule.posterior(x, predicted.x0, t, s)
    if variance != "learned":
        return mean, (small if variance == "small" else large).sqrt()
    if predicted.fraction is None:
        raise InputError(
            "variance=learned needs a network that was trained with task.learned_variance=true; "
            "use small or large"
        )
    log_small, log_large = schedule.log_variances(t, s)
    return mean, ((log_small + predicted.fraction * (log_large - log_small)) / 2).exp()
