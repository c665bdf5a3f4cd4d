"""Structural similarity on 8-bit values: Wang et al. 2004, and over scales, Wang et al. 2003."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.metric.base import Metric, check_size
from restore.types import Batch

_WINDOW = 11
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # (K L)^2 for a range L of 255
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2
_AT_ONCE = 2**17  # pixels that are blurred at once: what a processor's cache holds


def _window() -> list[float]:
    weights = [math.exp(-((k - _WINDOW // 2) ** 2) / (2 * _SIGMA**2)) for k in range(_WINDOW)]
    return [weight / sum(weights) for weight in weights]


def _blur(planes: Tensor) -> Tensor:
    """The Gaussian window where it fits entirely: [N, H, W] to [N, H - 10, W - 10].

    As shifted sums along columns, then rows: faster than a convolution, and the sum of a pixel
    does not depend on the other images of a batch.
    """
    for dim in (1, 2):
        length = planes.shape[dim] - _WINDOW + 1
        weights = _window()
        total = planes.narrow(dim, 0, length) * weights[0]
        for offset in range(1, _WINDOW):
            total.add_(planes.narrow(dim, offset, length), alpha=weights[offset])
        planes = total
    return planes


def ssim_terms(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM (eq. 13) and its contrast-structure factor, means [B, C] over the valid region.

    x and y [B, C, H, W] float64 in grey levels of 255, H and W >= 11.
    """
    at_once = max(1, _AT_ONCE // (x.shape[2] * x.shape[3]))
    pairs = zip(*(torch.split(v.flatten(0, 1), at_once) for v in (x, y)), strict=True)
    terms = torch.cat([_terms(a, b) for a, b in pairs])
    similarity, structure = terms.view(*x.shape[:2], 2).unbind(dim=2)
    return similarity, structure


def _terms(x: Tensor, y: Tensor) -> Tensor:
    """Both terms [N, 2] of planes [N, H, W]."""
    mean_x, mean_y = _blur(x), _blur(y)
    both, squares = mean_x * mean_y, mean_x.square_().add_(mean_y.square_())
    structure = _blur(x * y).sub_(both).mul_(2).add_(_C2)
    structure.div_(_blur((x * x).add_(y * y)).sub_(squares).add_(_C2))
    luminance = both.mul_(2).add_(_C1).div_(squares.add_(_C1))
    similarity = luminance.mul_(structure)
    return torch.stack([similarity.mean(dim=(1, 2)), structure.mean(dim=(1, 2))], dim=1)


class SSIM(Metric):
    """Gaussian window 11x11 of sigma 1.5, valid region, mean over the channels' values."""

    name = "ssim"
    definition = "ssim/rgb/uint8/gaussian11-1.5/valid/per-image/v1"
    higher_is_better = True
    takes_levels = True

    def check(self, channels: int, height: int, width: int) -> None:
        check_size(self.name, height, width, _WINDOW, "leave it out, or the small images")

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        similarity, _ = ssim_terms(restored, target)
        return similarity.mean(dim=1)


class MSSSIM(Metric):
    """Eq. 7 over five scales, halved by 2x2 means; a negative factor counts as 0."""

    name = "ms_ssim"
    definition = "ms_ssim/rgb/uint8/gaussian11-1.5/5-scales/per-image/v1"
    higher_is_better = True
    takes_levels = True

    def check(self, channels: int, height: int, width: int) -> None:
        smallest = (_WINDOW - 1) * 2 ** (len(_SCALE_WEIGHTS) - 1) + 1
        check_size(self.name, height, width, smallest, "use ssim")

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        x, y = restored, target
        product = x.new_ones(x.shape[:2])
        for weight in _SCALE_WEIGHTS[:-1]:
            product = product * ssim_terms(x, y)[1].clamp(min=0) ** weight
            # ceil_mode: the last pixel of an odd side is kept, as in the authors' code
            x, y = (F.avg_pool2d(image, 2, ceil_mode=True) for image in (x, y))
        product = product * ssim_terms(x, y)[0].clamp(min=0) ** _SCALE_WEIGHTS[-1]
        return product.mean(dim=1)
