"""Averages of weights whose length is chosen after training (Karras et al. 2024, section 3.2).

An average of weights theta(1), theta(2) ... theta(t) with exponent g weighs them by tau^g. Its
length is stated as a share of the training so far: std, the standard deviation of that profile over
t. From a few snapshots of two such averages any other is rebuilt by least squares, because a sum of
profiles is the profile of the sum.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Differences of snapshots below this share are those of float16, in which snapshots are kept.
_RESOLVED = 1e-4


def exponent(std: float) -> float:
    """The exponent of an average of relative length std, above 0 and at most 0.288: the inverse of
    `length`, which falls as the exponent grows, by bisection."""
    if not 0 < std <= 12**-0.5:
        raise ValueError(f"an average's length must be above 0 and at most 0.288, got {std}")
    low, high = 0.0, std**-2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if length(middle) > std else (low, middle)
    return (low + high) / 2


def length(exponent: float) -> float:
    """Standard deviation of the profile tau^exponent on [0, 1] (appendix C)."""
    return math.sqrt((exponent + 1) / ((exponent + 2) ** 2 * (exponent + 3)))


def decay(exponent: float, updates: int) -> float:
    """What the average keeps of itself at the updates-th update, counted from 1.

    Makes the weight of theta(tau) exactly (tau^(g + 1) - (tau - 1)^(g + 1)) / t^(g + 1).
    """
    return float((1 - 1 / updates) ** (exponent + 1))


def combination(snapshots: Sequence[tuple[float, int]], wanted: tuple[float, int]) -> Tensor:
    """Weights [N] of N snapshots, (exponent, updates) each, whose sum is nearest to `wanted`.

    Least squares between profiles as functions of training time (appendix C), of those sums whose
    integral is 1: of weights that never change, every average is those weights. float64. Negative
    ones are right, too.
    """
    names = [torch.tensor(column, dtype=torch.float64) for column in zip(*snapshots, strict=True)]
    exponents, updates = names
    goal = [torch.full_like(exponents, float(value)) for value in wanted]
    gram = _inner(exponents[:, None], updates[:, None], exponents[None], updates[None])
    right = _inner(exponents, updates, *goal)
    scale = gram.diagonal().rsqrt()
    inverse = torch.linalg.pinv(gram * scale * scale[:, None], rtol=_RESOLVED, hermitian=True)
    inverse = inverse * scale * scale[:, None]
    nearest, along = inverse @ right, inverse.sum(1)
    weights: Tensor = nearest + along * (1 - nearest.sum()) / along.sum()
    return weights


def _inner(g_a: Tensor, t_a: Tensor, g_b: Tensor, t_b: Tensor) -> Tensor:
    """The integral of the product of two profiles, each of integral 1 on [0, its t]."""
    early, late = torch.minimum(t_a, t_b), torch.maximum(t_a, t_b)
    power = torch.where(t_a < t_b, g_b, g_a)  # of the one that goes on longer
    return (g_a + 1) * (g_b + 1) / (g_a + g_b + 1) * (early / late) ** power / late
