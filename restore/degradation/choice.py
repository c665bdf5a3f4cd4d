"""Which of several things a sample takes."""

import torch
from torch import Tensor

from restore.stream import Stream
from restore.types import InputError


class Choice:
    """A number below `num_parts` for each of seeds [B], drawn by weight (equal where None)."""

    def __init__(self, num_parts: int, weights: list[float] | None) -> None:
        weights = [1.0] * num_parts if weights is None else weights
        if num_parts < 1 or len(weights) != num_parts:
            raise InputError(
                f"a mixture takes one part or more and as many weights, got {num_parts} parts and "
                f"{len(weights)} weights"
            )
        if min(weights) < 0 or sum(weights) == 0:
            raise InputError(f"mixture weights must be >= 0 and not all 0, got {weights}")
        shares = torch.tensor(weights, dtype=torch.float64) / sum(weights)
        self.bounds = shares.cumsum(0)[:-1]

    def __call__(self, seeds: Tensor) -> Tensor:
        draw = Stream(seeds).uniform().double()
        return torch.bucketize(draw, self.bounds.to(seeds.device), right=True)
