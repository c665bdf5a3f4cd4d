"""A prior in closed form: white Gaussian data, and what is known of it."""

from typing import NamedTuple

import torch
from torch import Tensor

from restore.degradation.operator import LinearOperator
from restore.diffusion.parameterization import Prediction
from restore.diffusion.schedule import Cosine, Schedule
from restore.types import Observation

SIDE = 4


class White:
    """The exact denoiser of data N(0, deviation^2)."""

    def __init__(self, deviation: float, schedule: Schedule | None = None) -> None:
        self.variance, self.schedule = deviation**2, schedule or Cosine()

    def __call__(self, x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in self.schedule(t.double()))
        return Prediction(self.variance * alpha * x / (self.variance * alpha**2 + sigma**2))

    def posterior(
        self, operator: LinearOperator, y: Tensor, noise: float, x: Tensor, t: Tensor
    ) -> Tensor:
        """E[x0 | x_t, y] by a dense solve of the normal equations; t a scalar."""
        alpha, sigma = (float(level) for level in self.schedule(t.double()))
        matrix = dense(operator)
        identity = torch.eye(matrix.shape[1], dtype=torch.float64)
        precision = identity / self.variance + alpha**2 / sigma**2 * identity
        precision = precision + matrix.T @ matrix / noise**2
        right = alpha / sigma**2 * x.flatten(1) + y.flatten(1) @ matrix / noise**2
        solved: Tensor = torch.linalg.solve(precision, right.T)
        return solved.T.reshape(x.shape)


class Seen(NamedTuple):
    operator: LinearOperator
    observation: Observation
    y: Tensor


def dense(operator: LinearOperator) -> Tensor:
    basis = torch.eye(3 * SIDE * SIDE, dtype=torch.float64).view(-1, 3, SIDE, SIDE)
    return operator.forward(basis).flatten(1).T


def seen(operator: LinearOperator, noise: float, count: int = 2) -> Seen:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(count, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    y = operator.forward(image)
    y = y + noise * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    observation = Observation(
        input=operator.shown(y, SIDE, SIDE),
        index=torch.arange(count),
        name=[],
        operator=operator,
        sigma=torch.full((count,), noise, dtype=torch.float64),
    )
    return Seen(operator, observation, y)
