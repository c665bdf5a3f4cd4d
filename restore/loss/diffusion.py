"""Losses of denoising diffusion, one number per sample; schedules enter as tensors."""

import math
from typing import Literal

import torch
from torch import Tensor

from restore.types import InputError

Parameterization = Literal["eps", "x0", "v", "velocity", "edm"]


def min_snr_weight(snr: Tensor, gamma: float, parameterization: Parameterization) -> Tensor:
    """Weights [B] of the squared error of eps, x0, v or velocity: Hang et al. 2023, section 3.4.

    snr [B] in [0, inf], both ends included: alpha^2 / sigma^2. At 0, where a schedule of zero
    terminal SNR begins to sample, v has a weight of 0 and is hardly trained. Of edm, whose weight
    is 1 by its scaling (Karras et al. 2022, table 1), InputError.
    """
    if gamma <= 0:
        raise InputError(f"min-SNR: gamma must be positive, got {gamma}; null for no weighting")
    if parameterization == "edm":
        raise InputError("min-SNR: parameterization=edm has weights of its own: use null")
    if parameterization == "eps":
        return (gamma / snr).clamp(max=1)
    weight = snr.clamp(max=gamma)
    if parameterization == "x0":
        return weight
    # An error of velocity is (1 + alpha / sigma) times that of x0.
    return weight / (snr + 1 if parameterization == "v" else (snr.sqrt() + 1).square())


def mean_over(error: Tensor, region: Tensor | None) -> Tensor:
    """Mean [B] of error [B, C, H, W] over region [B, 1, H, W] in {0, 1}, which is empty nowhere;
    None is everywhere."""
    if region is None:
        return error.flatten(1).mean(1)
    return (error.mean(1, keepdim=True) * region).flatten(1).sum(1) / region.flatten(1).sum(1)


def denoising_loss(
    output: Tensor,
    target: Tensor,
    snr: Tensor,
    parameterization: Parameterization,
    gamma: float | None = None,
    region: Tensor | None = None,
) -> Tensor:
    """Mean squared error [B] of output and target [B, C, H, W], with min-SNR weights if gamma.

    region: as `mean_over` takes it.
    """
    error = mean_over((output - target).square(), region)
    return error if gamma is None else min_snr_weight(snr, gamma, parameterization) * error


def gaussian_kl(mean_1: Tensor, log_var_1: Tensor, mean_2: Tensor, log_var_2: Tensor) -> Tensor:
    """KL(N(mean_1, var_1) || N(mean_2, var_2)) in nats, elementwise."""
    difference = log_var_1 - log_var_2
    squared = (mean_1 - mean_2).square() * torch.exp(-log_var_2)
    return 0.5 * (torch.expm1(difference) - difference + squared)


def discretized_nll(x_0: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """-log p(x_0) in nats, elementwise, of a Gaussian over 256 levels: Ho et al. 2020, eq. 13.

    x_0 in [-1, 1] on the 8-bit grid. The end bins reach to infinity.
    """
    scale = torch.exp(-log_variance / 2)
    upper, lower = (x_0 - mean + 1 / 255) * scale, (x_0 - mean - 1 / 255) * scale
    # Mirrored into the left tail, where the difference of two CDFs does not cancel.
    right = upper + lower > 0
    upper, lower = torch.where(right, -lower, upper), torch.where(right, -upper, lower)
    log_upper = torch.special.log_ndtr(upper)
    inside = log_upper + torch.log(-torch.expm1(torch.special.log_ndtr(lower) - log_upper))
    first = torch.special.log_ndtr((x_0 - mean + 1 / 255) * scale)
    last = torch.special.log_ndtr((mean - x_0 + 1 / 255) * scale)
    return -torch.where(x_0 < -0.999, first, torch.where(x_0 > 0.999, last, inside))


def variational_bound(
    x_0: Tensor,
    true_mean: Tensor,
    true_log_variance: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    is_last: Tensor,
    region: Tensor | None = None,
) -> Tensor:
    """The term L_t of Nichol & Dhariwal 2021, eq. 4 to 6, in bits per dimension, [B].

    All [B, C, H, W] or broadcasting to it; is_last [B] bool: this is the step to t = 0, whose term
    is the discretised likelihood of x_0. region: as `mean_over` takes it. No gradient reaches mean
    (section 3.1). L_vlb of T levels is T times the expectation over uniform t; the paper weights
    it with 0.001.
    """
    mean = mean.detach()
    kl = gaussian_kl(true_mean, true_log_variance, mean, log_variance)
    nll = discretized_nll(x_0, mean, log_variance)
    nats = torch.where(is_last.view(-1, 1, 1, 1), nll, kl)
    return mean_over(nats, region) / math.log(2)
