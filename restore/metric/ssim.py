"""Structural similarity on 8-bit values: Wang et al. 2004, and over scales, Wang et al. 2003."""

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.metric.base import Metric, eight_bit
from restore.types import Batch, InputError

_WINDOW = 11
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # (K L)^2 for a range L of 1
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2


def _blur(image: Tensor) -> Tensor:
    """The Gaussian window where it fits entirely: [B, C, H, W] to [B, C, H - 10, W - 10].

    As products with banded matrices, several times faster than a convolution in float64.
    """
    height, width = image.shape[2:]
    return _band(height, image) @ image @ _band(width, image).T


def _band(length: int, like: Tensor) -> Tensor:
    """[length - 10, length]: the window in row i begins at column i."""
    offsets = torch.arange(length, dtype=like.dtype, device=like.device) - _WINDOW // 2
    distance = offsets[None, :] - offsets[: length - _WINDOW + 1, None] - _WINDOW // 2
    window = torch.exp(-distance.square() / (2 * _SIGMA**2)) * (distance.abs() <= _WINDOW // 2)
    return window / window.sum(dim=1, keepdim=True)


def ssim_terms(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM (eq. 13) and its contrast-structure factor, means [B, C] over the valid region.

    x and y [B, C, H, W] in units of [0, 1], unclipped and unrounded, H and W >= 11.
    """
    if min(x.shape[2:]) < _WINDOW:
        raise InputError(f"ssim of {list(x.shape[2:])} px: its window needs {_WINDOW} px or more")
    x, y = x.double().contiguous(), y.double().contiguous()
    mean_x, mean_y, square, product = _blur(
        torch.stack([x, y, x * x + y * y, x * y]).flatten(0, 1)
    ).view(4, *x.shape[:2], x.shape[2] - _WINDOW + 1, x.shape[3] - _WINDOW + 1)
    variances = square - mean_x**2 - mean_y**2
    covariance = product - mean_x * mean_y
    structure = (2 * covariance + _C2) / (variances + _C2)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return (luminance * structure).mean(dim=(2, 3)), structure.mean(dim=(2, 3))


class SSIM(Metric):
    """Gaussian window 11x11 of sigma 1.5, valid region, mean over the channels' values."""

    name = "ssim"
    definition = "ssim/rgb/uint8/gaussian11-1.5/valid/per-image/v1"
    higher_is_better = True

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        similarity, _ = ssim_terms(eight_bit(restored), eight_bit(target))
        return similarity.mean(dim=1)


class MSSSIM(Metric):
    """Eq. 7 over five scales, halved by 2x2 means; a negative factor counts as 0."""

    name = "ms_ssim"
    definition = "ms_ssim/rgb/uint8/gaussian11-1.5/5-scales/per-image/v1"
    higher_is_better = True

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        smallest = (_WINDOW - 1) * 2 ** (len(_SCALE_WEIGHTS) - 1) + 1
        if min(target.shape[2:]) < smallest:
            raise InputError(
                f"ms_ssim of {list(target.shape[2:])} px: its five scales need {smallest} px "
                "or more, use ssim"
            )
        x, y = eight_bit(restored), eight_bit(target)
        product = x.new_ones(x.shape[:2])
        for weight in _SCALE_WEIGHTS[:-1]:
            product = product * ssim_terms(x, y)[1].clamp(min=0) ** weight
            # ceil_mode: the last pixel of an odd side is kept, as in the authors' code
            x, y = (F.avg_pool2d(image, 2, ceil_mode=True) for image in (x, y))
        product = product * ssim_terms(x, y)[0].clamp(min=0) ** _SCALE_WEIGHTS[-1]
        return product.mean(dim=1)
