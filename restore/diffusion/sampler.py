"""Samplers: pure functions (denoise, x, schedule, times, stream, callback) -> x0 [B, C, H, W].

x [B, C, H, W] is noise at times[0] (`initial_noise`); times [N + 1] fall from there and end in 0;
stream: the noise of each sample; callback: sees every step, or None. The last step, to t = 0,
returns exactly what denoise predicts. Coefficients are float64 scalars on the CPU, which promote
nothing and make no device wait.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from restore.diffusion.parameterization import Denoise, Prediction, Predictor
from restore.diffusion.schedule import LinearBeta, Schedule
from restore.diffusion.walk import Callback, Variance, ancestor, batch_time, times_from, walk
from restore.stream import Stream
from restore.types import InputError, Observation

MAX_CALLS = 100_000  # of denoise for one image: more is a slip of the pen


def _ddim_step(
    schedule: Schedule, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, share: Tensor | float = 1.0
) -> Tensor:
    """Along the predicted eps, of which `share` of sigma_s is kept: Song et al. 2021, eq. 12."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    return alpha_s * x0 + (share * sigma_s / sigma_t) * (x - alpha_t * x0)


def ddpm(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    times: Tensor,
    stream: Stream,
    callback: Callback | None = None,
    *,
    variance: Variance = "small",
) -> Tensor:
    """Ancestral sampling: Ho et al. 2020, algorithm 2; learned: Nichol & Dhariwal 2021, eq. 15."""

    def advance(x: Tensor, predicted: Prediction, t: Tensor, s: Tensor) -> Tensor:
        mean, deviation = ancestor(x, predicted, schedule, t, s, variance)
        return mean + deviation * stream.normal(*x.shape[1:])

    return walk(denoise, x, times, callback, advance)


def ddim(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    times: Tensor,
    stream: Stream,
    callback: Callback | None = None,
    *,
    eta: float = 0.0,
) -> Tensor:
    """Song et al. 2021, eq. 12 and 16; eta in [0, 1], where 1 is ddpm with variance small."""
    if not 0 <= eta <= 1:
        raise InputError(f"ddim: eta must be in [0, 1], got {eta}")

    def advance(x: Tensor, predicted: Prediction, t: Tensor, s: Tensor) -> Tensor:
        if eta == 0:
            return _ddim_step(schedule, x, predicted.x0, t, s)
        (_, sigma_t), (_, sigma_s) = schedule(t), schedule(s)
        new = eta**2 * schedule.transition(t, s)[1] / sigma_t**2
        drifted = _ddim_step(schedule, x, predicted.x0, t, s, share=(1 - new).sqrt())
        return drifted + new.sqrt() * sigma_s * stream.normal(*x.shape[1:])

    return walk(denoise, x, times, callback, advance)


def dpm_solver_pp_2m(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    times: Tensor,
    stream: Stream,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M): Lu et al. 2022, arXiv 2211.01095, algorithm 2; first order at the ends.

    A DDIM step with x0 extrapolated in the half log-SNR.
    """
    previous: tuple[Tensor, Tensor] | None = None

    def advance(x: Tensor, predicted: Prediction, t: Tensor, s: Tensor) -> Tensor:
        nonlocal previous
        width = schedule.log_snr(s) - schedule.log_snr(t)
        x0 = extrapolated = predicted.x0
        if previous is not None:
            old_x0, old_width = previous
            extrapolated = x0 + width / (2 * old_width) * (x0 - old_x0)
        previous = x0, width
        return _ddim_step(schedule, x, extrapolated, t, s)

    return walk(denoise, x, times, callback, advance)


def heun(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    times: Tensor,
    stream: Stream,
    callback: Callback | None = None,
) -> Tensor:
    """Karras et al. 2022, algorithm 1, in x / alpha and sigma / alpha; up to 2N - 1 predictions.

    Written as a DDIM step and a correction, which does not cancel where alpha is small. A step
    that spans a ratio of more than 4 in sigma / alpha is DDIM's alone, one prediction less: the
    correction is a trapezoid over sigma / alpha, and from the far end of a schedule, where alpha
    is 0 or nearly so, its error grows with the ratio without bound.
    """

    def advance(x: Tensor, predicted: Prediction, t: Tensor, s: Tensor) -> Tensor:
        euler, ratio = _ddim_step(schedule, x, predicted.x0, t, s), _ratio(schedule, t, s)
        if ratio > _LARGEST_RATIO:
            return euler
        correction = denoise(euler, batch_time(s, x)).x0 - predicted.x0
        return euler + (ratio - 1) / 2 * schedule(s)[0] * correction

    return walk(denoise, x, times, callback, advance)


_LARGEST_RATIO = 4.0  # of a corrected step: 18 steps of EDM have at most 3.8, those of cosine 1761


def _ratio(schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """How much larger sigma / alpha is at t than at s; infinite where alpha(t) = 0."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    return sigma_t * alpha_s / (alpha_t * sigma_s)


def renoise(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    times: Tensor,
    stream: Stream,
    callback: Callback | None = None,
) -> Tensor:
    """x_s = alpha_s x0 + sigma_s z with fresh z: Song et al. 2023 (consistency), algorithm 1.

    Quick, but spreads less than the data: denoise gives means, not consistent samples.
    """

    def advance(x: Tensor, predicted: Prediction, t: Tensor, s: Tensor) -> Tensor:
        alpha_s, sigma_s = schedule(s)
        return alpha_s * predicted.x0 + sigma_s * stream.normal(*x.shape[1:])

    return walk(denoise, x, times, callback, advance)


def check_calls(name: str, value: int) -> None:
    """Raises InputError for a number of steps or calls that no sampler should be given."""
    if not 1 <= value <= MAX_CALLS:
        raise InputError(f"sampler: {name} must be at least 1 and at most {MAX_CALLS}, got {value}")


@dataclass(frozen=True)
class Sampling:
    """A sampler of this file, with its own arguments bound, on num_steps times of the schedule."""

    method: Callable[..., Tensor]
    num_steps: int

    def __post_init__(self) -> None:
        check_calls("num_steps", self.num_steps)
        # One step on one pixel: wrong arguments of the method show now, not after an epoch.
        probe = Predictor(lambda x, t: torch.cat([x, x], dim=1), "x0", LinearBeta())
        noise, stream = torch.zeros(1, 1, 1, 1), Stream(torch.zeros(1, dtype=torch.int64))
        self.method(probe, noise, probe.schedule, torch.tensor([1.0, 0.0]), stream)

    def check(self, observation: Observation, is_led: bool) -> None:
        """Raises InputError where nothing leads to the observation: no condition, guidance or
        start."""
        if not is_led:
            raise InputError(
                "this sampler would ignore what is known: use sampler=repaint_fast, or "
                "guidance=replacement with any sampler"
            )

    def num_calls(self, schedule: Schedule) -> int:
        """How often denoise is called; InputError for more steps than the schedule has."""
        return len(self.calls(schedule))

    def calls(self, schedule: Schedule, start: float = 1.0) -> Tensor:
        """The times at which denoise is called, [num_calls], in no order; see `times_from`."""
        times = times_from(schedule.times(self.num_steps), start)
        method = self.method.func if isinstance(self.method, partial) else self.method
        if method is not heun:
            return times[:-1]
        corrected = _ratio(schedule, times[:-2], times[1:-1]) <= _LARGEST_RATIO
        return torch.cat([times[:-1], times[1:-1][corrected]])

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        schedule: Schedule,
        stream: Stream,
        callback: Callback | None = None,
        *,
        start: float = 1.0,
        observation: Observation | None = None,
    ) -> Tensor:
        """x [B, C, H, W] at the first of `times_from(times, start)`; the observation is not seen:
        a guidance leads to it."""
        times = times_from(schedule.times(self.num_steps), start)
        return self.method(denoise, x, schedule, times, stream, callback)
