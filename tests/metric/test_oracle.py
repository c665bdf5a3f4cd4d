"""The published denoising protocol on CBSD68: numbers that any right implementation gives."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from restore.image import from_unit
from restore.metric.colorfulness import Colorfulness, colorfulness
from restore.metric.psnr import PSNR, InputPSNR
from restore.metric.ssim import SSIM, ssim_terms
from restore.types import Batch

pytestmark = pytest.mark.data
MakeBatch = Callable[..., Batch]


@cache
def photos() -> list[Tensor]:
    """The 68 photos [1, 3, H, W] float64 in [0, 1]."""
    paths = sorted(Path(os.environ["RESTORE_DATA"], "cbsd68").glob("*.png"))
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    assert len(arrays) == 68
    return [
        torch.from_numpy(np.ascontiguousarray(a.transpose(2, 0, 1))[None] / 255.0) for a in arrays
    ]


def noisy(image: Tensor, sigma: int) -> Tensor:
    """NumPy's legacy generator seeded with 0 before every image, float64 noise in H, W, C order."""
    _, channels, height, width = image.shape
    noise = np.random.RandomState(0).normal(0, sigma / 255, (height, width, channels))
    return image + torch.from_numpy(noise).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("sigma", "unclipped", "eight_bit"),
    [(15, 24.6188, 24.8438), (25, 20.1818, 20.5426), (50, 14.1612, 15.0034)],
)
def test_psnr(sigma: int, unclipped: float, eight_bit: float, make_batch: MakeBatch) -> None:
    raw, stored = [], []
    for target in photos():
        degraded = noisy(target, sigma)
        batch = make_batch(target.float(), input=from_unit(degraded))
        raw.append(InputPSNR()(degraded, target, batch))
        stored.append(PSNR()(degraded.float(), target.float(), batch))
    assert torch.cat(raw).mean().item() == pytest.approx(unclipped, abs=6e-5)
    assert torch.cat(stored).mean().item() == pytest.approx(eight_bit, abs=6e-5)


def test_luma_psnr(make_batch: MakeBatch) -> None:
    values = [PSNR("y")(noisy(x, 25), x, make_batch(x)) for x in photos()]
    assert torch.cat(values).mean().item() == pytest.approx(25.2608, abs=6e-4)


def test_ssim(make_batch: MakeBatch) -> None:
    unclipped, stored = [], []
    for target in photos():
        degraded = noisy(target, 25)
        unclipped.append(ssim_terms(degraded * 255, target * 255)[0].mean())
        stored.append(SSIM()(degraded, target, make_batch(target)))
    assert torch.stack(unclipped).mean().item() == pytest.approx(0.3818, abs=6e-5)
    assert torch.cat(stored).mean().item() == pytest.approx(0.3949, abs=6e-5)


def test_colorfulness(make_batch: MakeBatch) -> None:
    values = torch.cat([Colorfulness()(x, x, make_batch(x)) for x in photos()])
    assert values.mean().item() == pytest.approx(37.51, abs=6e-3)
    assert torch.allclose(values[0], colorfulness(photos()[0]))
