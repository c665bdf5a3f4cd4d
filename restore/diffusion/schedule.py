"""Noise schedules: x_t = alpha(t) x_0 + sigma(t) eps, t in [0, 1], alpha(0) = 1, sigma(0) = 0."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from restore.types import InputError


def align(value: Tensor, x: Tensor) -> Tensor:
    """value [B] as [B, 1, 1, 1] in the dtype of x; a scalar broadcasts, and promotes nothing."""
    return value.to(x.dtype).view(-1, 1, 1, 1) if value.ndim else value


class Posterior(NamedTuple):
    """q(x_s | x_t, x_0) and the upper bound of its variance; variances [B, 1, 1, 1] or scalar."""

    mean: Tensor  # [B, C, H, W]
    small: Tensor  # the variance of q, Ho et al. 2020, eq. 7
    large: Tensor  # sigma2_ts, the beta_t of Ho et al. 2020, section 3.2


class Schedule(ABC):
    """t of any shape -> (alpha, sigma), of that shape, in the dtype of t but float32 at least.

    All is computed in float64, because neighbouring levels differ by less than float32 resolves.
    Wherever two times appear, 0 <= s < t <= 1, and both have the same shape.
    """

    @abstractmethod
    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma for t in float64, in float64."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self.levels(t.double())
        return _cast(alpha, t), _cast(sigma, t)

    def times(self, num_steps: int) -> Tensor:
        """Falling times [num_steps + 1] from 1 to 0, uniform, float64."""
        return torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)

    def training_times(self, uniform: Tensor) -> Tensor:
        """t in (0, 1] that training draws, from uniform numbers in (0, 1] of the same shape."""
        return uniform

    def snr(self, t: Tensor) -> Tensor:
        """alpha^2 / sigma^2, infinite at t = 0."""
        alpha, sigma = self.levels(t.double())
        return _cast((alpha / sigma).square(), t)

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha^2 / sigma^2), infinite at t = 0 and, with zero terminal SNR, at t = 1."""
        alpha, sigma = self.levels(t.double())
        return _cast(2 * (alpha / sigma).log(), t)

    def time_at(self, snr: Tensor) -> Tensor:
        """The t in [0, 1], float64, at which alpha^2 / sigma^2 falls to snr, by bisection."""
        t = torch.zeros_like(snr, dtype=torch.float64)
        for bit in range(1, 54):  # of a float64
            t = torch.where(self.snr(t + 0.5**bit) > snr, t + 0.5**bit, t)
        return t + 0.5**53

    def transition(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_ts, sigma2_ts) of q(x_t | x_s) = N(alpha_ts x_s, sigma2_ts)."""
        alpha_t, sigma_t = self.levels(t.double())
        alpha_s, sigma_s = self.levels(s.double())
        alpha_ts = alpha_t / alpha_s
        shrunk = alpha_ts * sigma_s
        sigma2_ts = (sigma_t - shrunk).clamp(min=0) * (sigma_t + shrunk)
        return _cast(alpha_ts, t), _cast(sigma2_ts, t)

    def posterior(self, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor) -> Posterior:
        """Ho et al. 2020, eq. 6 and 7, for any alpha and sigma. t and s: [B] or scalars."""
        _, sigma_t = self.levels(t.double())
        alpha_s, sigma_s = self.levels(s.double())
        alpha_ts, sigma2_ts = self.transition(t.double(), s.double())
        keep = (sigma_s / sigma_t).square()
        new = sigma2_ts / sigma_t.square()
        mean = align(alpha_ts * keep, x_t) * x_t + align(alpha_s * new, x_t) * x_0
        return Posterior(mean, align(sigma2_ts * keep, x_t), align(sigma2_ts, x_t))

    def log_variances(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithms of Posterior's small and large variance, of the shape of t.

        At s = 0, where the small one is 0, it is that of the interval before, (2t, t), as
        Nichol & Dhariwal 2021 do at their first level.
        """
        upper = torch.where(s == 0, (2 * t).clamp(max=1), t).double()
        lower = torch.where(s == 0, t, s).double()
        (_, sigma_upper), (_, sigma_lower) = self.levels(upper), self.levels(lower)
        small = self.transition(upper, lower)[1] * (sigma_lower / sigma_upper).square()
        large = self.transition(t.double(), s.double())[1]
        return _cast(small.log(), t), _cast(large.log(), t)


def _cast(value: Tensor, t: Tensor) -> Tensor:
    return value.to(torch.promote_types(t.dtype, torch.float32))


class Discrete(Schedule):
    """num_steps variance-preserving steps: level k at t = k / num_steps, alpha linear between.

    betas [num_steps] float64 in (0, 1]; alpha_bar [num_steps + 1] float64 begins with 1.
    """

    def __init__(self, betas: Tensor) -> None:
        self.betas = betas
        log_alpha_bar = torch.cat([betas.new_zeros(1), torch.log1p(-betas).cumsum(0)])
        self.alpha_bar = log_alpha_bar.exp()
        # 1 - alpha is tabulated, not alpha: sigma^2 = (1 - alpha) (1 + alpha) then cancels nowhere.
        complement = -torch.expm1(log_alpha_bar / 2)
        self._complements = {complement.device: complement}

    def times(self, num_steps: int) -> Tensor:
        """InputError for more steps than there are levels."""
        most = len(self.betas)
        if num_steps > most:
            raise InputError(
                f"sampler: num_steps={num_steps} is more than the {most} levels of the schedule "
                f"{type(self).__name__}: use at most {most}"
            )
        return super().times(num_steps)

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        if t.device not in self._complements:
            self._complements[t.device] = next(iter(self._complements.values())).to(t.device)
        table = self._complements[t.device]
        position = t * len(self.betas)
        below = position.floor().clamp(0, len(self.betas) - 1).long()
        complement = torch.lerp(table[below], table[below + 1], position - below)
        return 1 - complement, (complement * (2 - complement)).sqrt()


def _check_num_steps(num_steps: int) -> None:
    if num_steps < 2:
        raise InputError(f"schedule: num_steps must be at least 2, got {num_steps}")


class LinearBeta(Discrete):
    """Ho et al. 2020, section 4."""

    def __init__(
        self, beta_start: float = 1e-4, beta_end: float = 0.02, num_steps: int = 1000
    ) -> None:
        _check_num_steps(num_steps)
        if not 0 < beta_start <= beta_end < 1:
            raise InputError(
                f"schedule: 0 < beta_start <= beta_end < 1 is needed, got {beta_start}, {beta_end}"
            )
        super().__init__(torch.linspace(beta_start, beta_end, num_steps, dtype=torch.float64))


class Cosine(Discrete):
    """Nichol & Dhariwal 2021, eq. 17, every beta at most max_beta."""

    def __init__(
        self, offset: float = 0.008, max_beta: float = 0.999, num_steps: int = 1000
    ) -> None:
        _check_num_steps(num_steps)
        if offset < 0 or not 0 < max_beta < 1:
            raise InputError(
                f"schedule: offset >= 0 and 0 < max_beta < 1 are needed, got {offset}, {max_beta}"
            )
        t = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)
        alpha_bar = ((t + offset) / (1 + offset) * (math.pi / 2)).cos().square()
        super().__init__((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta))


class Given(Discrete):
    """Any betas, from the first step to the last."""

    def __init__(self, betas: list[float]) -> None:
        _check_num_steps(len(betas))
        if not all(0 < beta <= 1 for beta in betas):
            raise InputError("schedule: betas must be above 0 and at most 1")
        super().__init__(torch.tensor(betas, dtype=torch.float64))


class ZeroTerminalSNR(Discrete):
    """base, rescaled so that alpha(1) = 0 exactly: Lin et al. 2023, algorithm 1."""

    def __init__(self, base: Discrete) -> None:
        alpha = base.alpha_bar[1:].sqrt()
        alpha = (alpha - alpha[-1]) * (alpha[0] / (alpha[0] - alpha[-1]))
        alpha_bar = torch.cat([alpha.new_ones(1), alpha.square()])
        super().__init__(1 - alpha_bar[1:] / alpha_bar[:-1])


class EDM(Schedule):
    """Karras et al. 2022: alpha = 1, sigma = sigma_max t^rho, sigma in units of [-1, 1].

    Uniform t are then the steps of their eq. 5, which end at sigma_min before 0. Training draws
    ln(sigma) from a normal distribution (their table 1: P_mean, P_std): of uniform t 22 % would lie
    below sigma_min.
    """

    def __init__(
        self,
        sigma_max: float = 80.0,
        sigma_min: float = 0.002,
        rho: float = 7.0,
        log_sigma_mean: float = -1.2,
        log_sigma_std: float = 1.2,
    ) -> None:
        if not 0 < sigma_min < sigma_max or rho <= 0 or log_sigma_std <= 0:
            raise InputError(
                "schedule: 0 < sigma_min < sigma_max, rho > 0 and log_sigma_std > 0 are needed, "
                f"got {sigma_min}, {sigma_max}, {rho} and {log_sigma_std}"
            )
        self.sigma_max, self.sigma_min, self.rho = sigma_max, sigma_min, rho
        self.log_sigma_mean, self.log_sigma_std = log_sigma_mean, log_sigma_std

    def training_times(self, uniform: Tensor) -> Tensor:
        """A quantile of the log-normal sigma each; those above sigma_max (2e-6) are set to it."""
        normal = torch.special.ndtri(uniform.double())
        log_sigma = self.log_sigma_mean + self.log_sigma_std * normal
        t = ((log_sigma - math.log(self.sigma_max)) / self.rho).exp().clamp(max=1)
        return _cast(t, uniform)

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.sigma_max * t**self.rho

    def times(self, num_steps: int) -> Tensor:
        """Falling times [num_steps + 1], uniform from 1 to that of sigma_min, then 0, float64."""
        last = (self.sigma_min / self.sigma_max) ** (1 / self.rho)
        positive = torch.linspace(1, last, num_steps, dtype=torch.float64)
        return torch.cat([positive, positive.new_zeros(1)])


class Rectified(Schedule):
    """Rectified flow: alpha = 1 - t, sigma = t (Liu et al. 2023), straight lines to the noise.

    alpha(1) = 0: the first step sees nothing but noise. Training draws logit-normal t (Esser et
    al. 2024, section 3.1), most of them in the middle, where a velocity is hard to tell.
    """

    def __init__(self, logit_mean: float = 0.0, logit_std: float = 1.0) -> None:
        if logit_std <= 0:
            raise InputError(f"schedule: logit_std must be above 0, got {logit_std}")
        self.logit_mean, self.logit_std = logit_mean, logit_std

    def training_times(self, uniform: Tensor) -> Tensor:
        normal = torch.special.ndtri(uniform.double())
        return _cast(torch.sigmoid(self.logit_mean + self.logit_std * normal), uniform)

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t
