"""Linear operators A: how an image became what was measured, and the way back.

x is an image [B, C, H, W] in [-1, 1], y = A x + n what was measured of it.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.types import InputError

ZERO = 1e-4  # of the largest singular value: what is smaller than this share counts as 0
Ridge = float | Tensor  # scalar, or [B, 1, 1, 1]


class Operator(ABC):
    """What a guidance and a classical method ask of a degradation that is known.

    keeps_size: y has the height and width of x. mixes_pixels: a pixel of y depends on several.
    """

    keeps_size, mixes_pixels = True, False

    def channels(self, image_channels: int) -> int:
        """Channels of y; InputError for images that it cannot take."""
        return image_channels

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """A x."""

    @abstractmethod
    def nearest(self, x: Tensor, y: Tensor, ridge: Ridge = 0.0) -> Tensor:
        """The z that minimises |z - x|^2 + |y - A z|^2 / ridge; with 0, the closest to x of all
        with A z = y."""

    def shown(self, y: Tensor, height: int, width: int) -> Tensor:
        """y as an input of the image's size."""
        return y

    def shown_channels(self, image_channels: int) -> int:
        """Channels of what is shown; InputError for images that it cannot take."""
        measured = self.channels(image_channels)
        return measured if self.keeps_size else image_channels

    def measured(self, shown: Tensor) -> Tensor:
        """y of what is shown: nothing is lost."""
        return shown


class LinearOperator(Operator):
    """An operator with a transpose and an inverse, of the arguments' dtype and device."""

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of y."""
        return height, width

    @abstractmethod
    def adjoint(self, y: Tensor, height: int, width: int) -> Tensor:
        """A^T y, for images of height x width."""

    @abstractmethod
    def inverse(self, y: Tensor, height: int, width: int, ridge: Ridge = 0.0) -> Tensor:
        """A^T (A A^T + ridge)^-1 y; with 0 the pseudo-inverse A+ y (Moore & Penrose)."""

    def nearest(self, x: Tensor, y: Tensor, ridge: Ridge = 0.0) -> Tensor:
        """Wang et al. 2023 (DDNM), eq. 13, for ridge = 0."""
        return x + self.inverse(y - self.forward(x), x.shape[-2], x.shape[-1], ridge)

    def shown(self, y: Tensor, height: int, width: int) -> Tensor:
        """y itself, or A+ y where it has another size."""
        return y if self.keeps_size else self.inverse(y, height, width)

    def measured(self, shown: Tensor) -> Tensor:
        return shown if self.keeps_size else self.forward(shown)


class IdentityOperator(LinearOperator):
    """All of the image, with noise."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor, height: int, width: int) -> Tensor:
        return y

    def inverse(self, y: Tensor, height: int, width: int, ridge: Ridge = 0.0) -> Tensor:
        return y / (1 + ridge)


class Known(LinearOperator):
    """The pixels outside the hole [B, 1, H, W], where 1 is to be filled; the others are 0."""

    def __init__(self, hole: Tensor) -> None:
        self.hole = hole > 0

    def forward(self, x: Tensor) -> Tensor:
        return x.masked_fill(self.hole, 0)

    def adjoint(self, y: Tensor, height: int, width: int) -> Tensor:
        return y.masked_fill(self.hole, 0)

    def inverse(self, y: Tensor, height: int, width: int, ridge: Ridge = 0.0) -> Tensor:
        return y.masked_fill(self.hole, 0) / (1 + ridge)

    def nearest(self, x: Tensor, y: Tensor, ridge: Ridge = 0.0) -> Tensor:
        """Known pixels are bit-equal to y where ridge is 0, whatever x is in them."""
        exact = torch.as_tensor(ridge == 0, device=x.device)
        return torch.where(self.hole, x, torch.where(exact, y, x + (y - x) / (1 + ridge)))


class Luminance(LinearOperator):
    """One weighted sum of the channels; by default the luma of ITU-R 601."""

    def __init__(self, weights: list[float] | None = None) -> None:
        self.weights = [0.299, 0.587, 0.114] if weights is None else list(weights)
        if not any(self.weights):
            raise InputError(f"luminance weights={self.weights} are all 0: one must not be")

    def channels(self, image_channels: int) -> int:
        if image_channels != len(self.weights):
            raise InputError(
                f"luminance of {len(self.weights)} weights takes images of as many channels, got "
                f"{image_channels}: give as many weights, or choose data.source.mode"
            )
        return 1

    def _row(self, like: Tensor) -> Tensor:
        return like.new_tensor(self.weights).view(1, -1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self._row(x)).sum(dim=1, keepdim=True)

    def adjoint(self, y: Tensor, height: int, width: int) -> Tensor:
        return y * self._row(y)

    def inverse(self, y: Tensor, height: int, width: int, ridge: Ridge = 0.0) -> Tensor:
        row = self._row(y)
        return row * (y / (row.square().sum() + ridge))


class Downsample(LinearOperator):
    """Every factor x factor pixels become one; sides must be multiples of the factor.

    box: their mean. bicubic: Keys 1981 with a = -0.5, widened by the factor, as Pillow and
    `interpolate(antialias=True)` do. Separable, so that A+ is exact by two small decompositions.
    """

    keeps_size, mixes_pixels = False, True

    def __init__(self, factor: int, kernel: Literal["bicubic", "box"] = "bicubic") -> None:
        if factor < 2:
            raise InputError(f"down-sampling factor={factor} must be at least 2")
        self.factor, self.kernel = factor, kernel
        self._decomposed: dict[Any, tuple[Tensor, Tensor, Tensor]] = {}

    def size(self, height: int, width: int) -> tuple[int, int]:
        return height // self.factor, width // self.factor

    def forward(self, x: Tensor) -> Tensor:
        (u, s, v), (p, q, r) = self._axis(x, x.shape[-2]), self._axis(x, x.shape[-1])
        with _exact(x):
            return (u * s @ v.T) @ x @ (p * q @ r.T).T

    def adjoint(self, y: Tensor, height: int, width: int) -> Tensor:
        (u, s, v), (p, q, r) = self._axis(y, height), self._axis(y, width)
        with _exact(y):
            return (u * s @ v.T).T @ y @ (p * q @ r.T)

    def inverse(self, y: Tensor, height: int, width: int, ridge: Ridge = 0.0) -> Tensor:
        (u, s, v), (p, q, r) = self._axis(y, height), self._axis(y, width)
        with _exact(y):
            return v @ filtered(u.T @ y @ p, s[:, None] * q, ridge) @ r.T

    def _axis(self, like: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
        """U, S and V with U S V^T = R [length / factor, length], in the dtype of `like`."""
        if length % self.factor:
            raise InputError(
                f"down-sampling by {self.factor} takes sides that are multiples of it, got "
                f"{length} px: crop the images"
            )
        key = length, like.dtype, like.device
        if key not in self._decomposed:
            u, s, v = torch.linalg.svd(self._rows(length), full_matrices=False)
            self._decomposed[key] = u.to(like), s.to(like), v.T.to(like)
        return self._decomposed[key]

    def _rows(self, length: int) -> Tensor:
        """R of one axis, float64."""
        eye = torch.eye(length, dtype=torch.float64)[None, None]
        if self.kernel == "box":
            return F.avg_pool2d(eye, (self.factor, 1))[0, 0]
        size = (length // self.factor, length)
        return F.interpolate(eye, size, mode="bicubic", antialias=True)[0, 0]


def _exact(like: Tensor) -> torch.autocast:
    """While it lasts, products are of the dtype of their factors: where a network computes in bf16
    by autocast, what was measured is not rounded with it."""
    return torch.autocast(like.device.type, enabled=False)


def filtered(coefficients: Tensor, singular: Tensor, ridge: Ridge) -> Tensor:
    """Coefficients times s / (s^2 + ridge), and 0 where s is 0 of the largest or nearly so."""
    power = singular.square() + ridge
    kept = singular > ZERO * singular.max()
    return coefficients * torch.where(kept, singular / power, 0)
