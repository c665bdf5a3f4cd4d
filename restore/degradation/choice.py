"""Which of several things a sample takes, and between which bounds it draws."""

import math

import torch
from torch import Tensor

from restore.stream import Stream
from restore.types import InputError

Bounds = tuple[float, float]


def parse_bounds(value: float | list[float], name: str, most: float = math.inf) -> Bounds:
    """(low, high) of [low, high], or of a number, which is both; InputError outside [0, most].

    No bound may be infinite.
    """
    bounds = list(value) if isinstance(value, (list, tuple)) else [value, value]
    numbers = len(bounds) == 2 and all(isinstance(bound, (int, float)) for bound in bounds)
    if not numbers or not 0 <= bounds[0] <= bounds[1] <= most or math.isinf(bounds[1]):
        span = "at least 0" if math.isinf(most) else f"in [0, {most}]"
        raise InputError(f"{name} must be {span}, or [low, high] in order, got {value}")
    return bounds[0], bounds[1]


def draw(stream: Stream, bounds: Bounds) -> Tensor:
    """Float64 [B, 1, 1, 1] uniform between the bounds; of equal bounds, exactly that number."""
    low, high = bounds
    return low + (high - low) * stream.uniform(1, 1, 1).double()


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
