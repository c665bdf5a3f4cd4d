"""One linear operator after another, as one."""

import torch
from torch import Tensor

from restore.degradation.operator import LinearOperator, Operator, Ridge
from restore.types import InputError

_ITERATIONS = 300


class Product(LinearOperator):
    """A = A_n ... A_1, for operators in the order in which they act.

    A product has no pseudo-inverse in closed form: conjugate gradients (CGLS, Hestenes & Stiefel
    1952) from 0 find it, to the accuracy of the dtype or by 300 steps.
    """

    def __init__(self, operators: list[Operator]) -> None:
        if not operators:
            raise InputError("a product of operators takes one or more, got none")
        self.operators: list[LinearOperator] = []
        for one in operators:
            if not isinstance(one, LinearOperator):
                raise InputError(f"{type(one).__name__} is not linear: take it out of the product")
            self.operators.append(one)
        self.keeps_size = all(one.keeps_size for one in operators)
        self.mixes_pixels = any(one.mixes_pixels for one in operators)

    def channels(self, image_channels: int) -> int:
        for one in self.operators:
            image_channels = one.channels(image_channels)
        return image_channels

    def size(self, height: int, width: int) -> tuple[int, int]:
        for one in self.operators:
            height, width = one.size(height, width)
        return height, width

    def forward(self, x: Tensor) -> Tensor:
        for one in self.operators:
            x = one.forward(x)
        return x

    def adjoint(self, y: Tensor, height: int, width: int) -> Tensor:
        sizes = [(height, width)]
        for one in self.operators[:-1]:
            sizes.append(one.size(*sizes[-1]))
        for one, size in zip(reversed(self.operators), reversed(sizes), strict=True):
            y = one.adjoint(y, *size)
        return y

    def inverse(self, y: Tensor, height: int, width: int, ridge: Ridge = 0.0) -> Tensor:
        residual, gradient = y, self.adjoint(y, height, width)
        x, direction, power = torch.zeros_like(gradient), gradient, _inner(gradient, gradient)
        least = power * (4 * torch.finfo(y.dtype).eps) ** 2
        for _ in range(_ITERATIONS):
            image = self.forward(direction)
            curvature = _inner(image, image) + ridge * _inner(direction, direction)
            # The minimum along the direction: power / curvature is that, too, until nothing but
            # rounding is left of the gradient, and leads away from there, without bound.
            step = torch.where(curvature > 0, _inner(gradient, direction) / curvature, 0)
            x = x + step * direction
            residual = residual - step * image
            gradient = self.adjoint(residual, height, width) - ridge * x
            new = _inner(gradient, gradient)
            if bool((new <= least).all()):
                break
            direction = gradient + torch.where(power > 0, new / power, 0) * direction
            power = new
        return x


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """<one, other> of each sample, [B, 1, 1, 1]."""
    return (one * other).sum(dim=(1, 2, 3), keepdim=True)
