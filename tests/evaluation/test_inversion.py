from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from restore.degradation.blur import Blur, GaussianBlur, MotionBlur
from restore.degradation.linear import Linear
from restore.degradation.operator import Downsample
from restore.evaluation.baseline import Baseline
from restore.evaluation.inversion import Bicubic, RichardsonLucy, Wiener
from restore.image import to_unit
from restore.metric.psnr import PSNR
from restore.types import Batch, InputError


def waves(side: int = 32) -> Tensor:
    """Two images [2, 3, side, side] with periods that fit, so that borders meet."""
    place = torch.arange(side) / side * 2 * torch.pi
    rows, columns = torch.meshgrid(place, place, indexing="ij")
    one = torch.stack([torch.sin(3 * rows) + torch.cos(2 * columns + c) for c in range(3)]) / 2.2
    return torch.stack([one, -one.flip(1)])


def observed(degradation: Linear, target: Tensor) -> Batch:
    made = degradation(target, torch.arange(len(target)))
    return cast(Batch, {**made, "index": torch.arange(len(target)), "name": ["a", "b"]})


def psnr(restored: Tensor, batch: Batch) -> Tensor:
    return PSNR()(to_unit(restored), to_unit(batch["target"]), batch)


def test_bicubic_enlarges_what_was_measured() -> None:
    batch = observed(Linear(Downsample(4)), waves())
    enlarged = Bicubic()(batch)
    small = Image.fromarray(batch["operator"].measured(batch["input"])[0, 0].numpy())
    expected = np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(enlarged[0, 0].numpy(), expected, atol=1e-5)
    assert (psnr(enlarged, batch) > 20).all()


@pytest.mark.parametrize("method", [Wiener(), RichardsonLucy()], ids=lambda one: one.name)
@pytest.mark.parametrize("channels", [1, 3])
def test_deconvolution_beats_the_blurred_image_up_to_the_borders(
    method: Baseline, channels: int
) -> None:
    """Beyond the borders the blur has seen the opposite side, and so does its inverse."""
    batch = observed(Linear(GaussianBlur(1.6), 1.0), waves()[:, :channels])
    restored = method(batch)
    assert restored.dtype == torch.float32 and restored.shape == batch["target"].shape
    assert (psnr(restored, batch) > psnr(batch["input"], batch) + 3).all()
    error = (restored - batch["target"]).abs()
    assert error[..., 0, :].mean() < 2 * error.mean() + 0.01


LOPSIDED = Blur(torch.tensor([[0.0, 0.1, 0.0], [0.0, 0.3, 0.4], [0.0, 0.0, 0.2]]))


@pytest.mark.parametrize("blur", [GaussianBlur(3.0), MotionBlur(15), LOPSIDED])
@pytest.mark.parametrize("size", [(32, 32), (21, 40)])
def test_richardson_lucy_is_that_of_a_periodic_blur(blur: Blur, size: tuple[int, int]) -> None:
    """Whose matrix is written out, one column for each pixel of an image."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(1, 1, *size, generator=generator, dtype=torch.float64)
    pixels = size[0] * size[1]
    columns = torch.eye(pixels, dtype=torch.float64).view(pixels, 1, *size)
    matrix = blur.forward(columns).flatten(1).T
    seen = matrix @ target.flatten()
    found = torch.full_like(seen, 0.5)
    for _ in range(30):
        found = found * (matrix.T @ (seen / (matrix @ found)))
    made = RichardsonLucy().deconvolve(seen.view(1, 1, *size), blur)
    torch.testing.assert_close(made.flatten(), found, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("method", [Bicubic(), Wiener(), RichardsonLucy()], ids=lambda m: m.name)
def test_an_unknown_operator_is_refused(method: Baseline) -> None:
    other = GaussianBlur(1.0) if isinstance(method, Bicubic) else Downsample(2)
    for degradation in (Linear(other), Linear(other, blind=True)):
        with pytest.raises(InputError, match=f"baseline={method.name} .*degradation="):
            method(observed(degradation, waves()))


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="balance=0"):
        Wiener(0.0)
    with pytest.raises(InputError, match="iterations=0"):
        RichardsonLucy(0)
