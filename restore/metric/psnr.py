"""Peak signal-to-noise ratio, 10 log10(1 / MSE) dB, per image: of all of it, or of its hole."""

from typing import Literal

import torch
from torch import Tensor

from restore.image import to_unit
from restore.metric.base import Metric, eight_bit, hole_of
from restore.types import Batch, InputError

CAP = 100.0  # dB, of identical images, so that one of them cannot make a mean infinite


def psnr_from_mse(mse: Tensor) -> Tensor:
    """PSNR in dB for a peak of 1, at most CAP."""
    return (-10 * mse.clamp(min=1e-30).log10()).clamp(max=CAP)


def luma(image: Tensor) -> Tensor:
    """Y [B, 1, H, W] in [16, 235] / 255 of RGB in [0, 1] (ITU-R BT.601, as rgb2ycbcr)."""
    if image.shape[1] != 3:
        raise InputError(f"psnr of Y needs RGB images, not {image.shape[1]} channels")
    weights = image.new_tensor([65.481, 128.553, 24.966])[:, None, None]
    return ((image * weights).sum(1, keepdim=True) + 16) / 255


class PSNR(Metric):
    """Squared error pooled over the pixels and channels of an image; identical images: 100 dB.

    channels "rgb" takes the channels as they are (a grey image has one), "y" the BT.601 luma of
    RGB. `border` pixels are left out on each side. colored: NaN for photos without any colour,
    which count in no mean: to colorize one is to copy it, and its 100 dB outweigh ten others.
    """

    higher_is_better = True

    def __init__(
        self,
        channels: Literal["rgb", "y"] = "rgb",
        rounding: bool = True,
        border: int = 0,
        colored: bool = False,
    ) -> None:
        if border < 0:
            raise InputError(f"border={border}: it counts pixels, use 0 or more")
        self.channels, self.colored = channels, colored
        self.takes_levels = rounding
        self.border = border
        self.name = "psnr" if channels == "rgb" else "psnr_y"
        levels = "uint8" if rounding else "float-clamped"
        crop = f"border{border}/" if border else ""
        kept = "colored/" if colored else ""
        self.definition = f"psnr/{channels}/{levels}/{crop}{kept}per-image/v1"

    def check(self, channels: int, height: int, width: int) -> None:
        if 2 * self.border >= min(height, width):
            raise InputError(f"border={self.border} leaves nothing of {height}x{width} px")
        if (self.channels == "y" or self.colored) and channels != 3:
            wanted = "Y" if self.channels == "y" else "coloured photos"
            raise InputError(f"psnr of {wanted} needs RGB images, not {channels} channels")

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        peak = 255 if self.takes_levels else 1
        if not self.takes_levels:
            restored, target = restored.double().clamp(0, 1), target.double()
        grey = (target == target[:, :1]).all(dim=(1, 2, 3))
        if self.channels == "y":
            restored, target = luma(restored / peak) * peak, luma(target / peak) * peak
        inside = slice(self.border, -self.border or None)
        error = (restored - target)[:, :, inside, inside]
        psnr = psnr_from_mse(error.square_().mean(dim=(1, 2, 3)) / peak**2)
        return torch.where(grey, torch.nan, psnr) if self.colored else psnr


class InputPSNR(Metric):
    """PSNR of the degraded input as it is: float, neither clipped nor rounded."""

    name = "input_psnr"
    definition = "input_psnr/rgb/float/unclipped/per-image/v1"
    higher_is_better = True

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        degraded = to_unit(batch["input"].double())
        if degraded.shape != target.shape:
            raise InputError(
                f"metric input_psnr: input {list(degraded.shape)} is no image like the "
                f"target {list(target.shape)}; leave it out for this degradation"
            )
        return psnr_from_mse((degraded - target).square().mean(dim=(1, 2, 3)))


class HolePSNR(Metric):
    """PSNR of the hole's pixels alone, on 8-bit values; NaN where the hole is empty."""

    name = "hole_psnr"
    definition = "hole_psnr/rgb/uint8/per-image/v1"
    higher_is_better = True

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        hole = hole_of(batch, self.name)
        return psnr_from_mse(_hole_mean((eight_bit(restored) - eight_bit(target)).square(), hole))


class HoleL1(Metric):
    """Mean absolute error of the hole's pixels, in units of [0, 1]; NaN where it is empty."""

    name = "hole_l1"
    definition = "hole_l1/rgb/uint8/per-image/v1"
    higher_is_better = False

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        hole = hole_of(batch, self.name)
        return _hole_mean((eight_bit(restored) - eight_bit(target)).abs(), hole)


class KnownError(Metric):
    """Largest absolute error of a known pixel, raw: anything but 0 is a fault of the method."""

    name = "known_error"
    definition = "known_error/rgb/float/max/per-image/v1"
    higher_is_better = False

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        error = (restored - target).abs().double()
        return torch.where(hole_of(batch, self.name), 0.0, error).amax(dim=(1, 2, 3))


def _hole_mean(value: Tensor, hole: Tensor) -> Tensor:
    """Mean [B] of value [B, C, H, W] over the hole [B, 1, H, W]; 0 / 0 = NaN for an empty hole."""
    count = hole.sum(dim=(1, 2, 3)) * value.shape[1]
    return torch.where(hole, value, 0.0).sum(dim=(1, 2, 3)) / count
