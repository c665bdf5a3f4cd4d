"""A loss of edges."""

from collections.abc import Sequence

from torch import Tensor

from restore.types import InputError


class Edges:
    """L1 between the differences of neighbouring pixels, of the last stage."""

    def __init__(self, weight: float = 1.0) -> None:
        if weight <= 0:
            raise InputError(f"task.loss.edges.weight={weight} must be positive")
        self.weight = weight

    def __call__(
        self, stages: Sequence[Tensor], target: Tensor, hole: Tensor | None
    ) -> dict[str, Tensor]:
        return {"edges": self.weight * edge_distance(stages[-1], target)}


def edge_distance(image: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error [B] of the forward differences along both axes."""
    error = image - target
    down, right = error.diff(dim=-2), error.diff(dim=-1)
    return down.abs().mean(dim=(1, 2, 3)) + right.abs().mean(dim=(1, 2, 3))
