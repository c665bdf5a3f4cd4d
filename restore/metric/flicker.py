"""How much a restored video flickers."""

import torch
from torch import Tensor


def flicker(restored: Tensor, reference: Tensor, where: Tensor) -> Tensor:
    """mean |(r_t+1 - r_t) - (x_t+1 - x_t)| of each pair of neighbours, float64 [T - 1].

    restored r and reference x [T, C, H, W] in the same unit, which is that of the result: a
    restoration that moves as the reference does has none, whatever each frame looks like. where
    [T, 1, H, W] in {0, 1}: pixels that count, if they do in both frames; NaN for a pair without.
    """
    moved = restored.double().diff(dim=0) - reference.double().diff(dim=0)
    both = (where[1:] > 0) & (where[:-1] > 0)
    total = (moved.abs() * both).sum(dim=(1, 2, 3))
    count = both.sum(dim=(1, 2, 3)) * restored.shape[1]
    return torch.where(count > 0, total / count.clamp(min=1), torch.nan)
