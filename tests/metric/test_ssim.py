from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from restore.metric.ssim import MSSSIM, SSIM, ssim_terms
from restore.types import Batch, InputError

MakeBatch = Callable[..., Batch]


def unit(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def test_agrees_with_scikit_image_in_wangs_settings(pairs: list, make_batch: MakeBatch) -> None:
    for worse, image in pairs:
        expected = structural_similarity(
            image,
            worse,
            channel_axis=-1,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        value = SSIM()(unit(worse), unit(image), make_batch(unit(image)))
        assert value.item() == pytest.approx(expected, abs=1e-4)


def test_identical_images_have_one_whatever_the_batch(make_batch: MakeBatch) -> None:
    target = torch.rand(3, 3, 16, 12)
    assert SSIM()(target, target, make_batch(target)).tolist() == pytest.approx([1] * 3, abs=1e-12)
    restored = torch.rand(3, 3, 16, 12)
    together = SSIM()(restored, target, make_batch(target))
    alone = [SSIM()(restored[i, None], target[i, None], make_batch(target[:1])) for i in range(3)]
    assert together.tolist() == pytest.approx(torch.cat(alone).tolist(), abs=1e-12)


def test_constant_images_follow_the_luminance_term(make_batch: MakeBatch) -> None:
    low, high = torch.full((1, 1, 11, 11), 51 / 255), torch.full((1, 1, 11, 11), 204 / 255)
    expected = (2 * 0.2 * 0.8 + 1e-4) / (0.2**2 + 0.8**2 + 1e-4)
    assert SSIM()(low, high, make_batch(high)).item() == pytest.approx(expected, abs=1e-6)


def test_refuses_images_below_its_window(make_batch: MakeBatch) -> None:
    target = torch.rand(1, 3, 10, 64)
    with pytest.raises(InputError, match="11 px or more, got 10x64"):
        SSIM()(target, target, make_batch(target))
    with pytest.raises(InputError, match="11 px"):
        SSIM().check(3, 64, 10)
    SSIM().check(1, 11, 11)


def test_an_image_above_what_is_blurred_at_once(make_batch: MakeBatch) -> None:
    target = torch.full((1, 1, 11, 2**17 // 11 + 1), 0.4)
    assert SSIM()(target, target, make_batch(target)).tolist() == pytest.approx([1])


def test_is_a_mean_of_windows_by_definition(make_batch: MakeBatch) -> None:
    """Eq. 13 of Wang et al. 2004, window by window, on more planes than are blurred at once."""
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.rand(2, 2, 14, 13, generator=generator) * 255).round().double() / 255
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    expected = np.zeros((2, 4, 3))
    for image, row, column in np.ndindex(2, 4, 3):
        a, b = (v[image, row : row + 11, column : column + 11].numpy() for v in (x, y))
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        var_a, var_b = (window * a * a).sum() - mean_a**2, (window * b * b).sum() - mean_b**2
        covariance = (window * a * b).sum() - mean_a * mean_b
        expected[image, row, column] = (
            (2 * mean_a * mean_b + 1e-4)
            * (2 * covariance + 9e-4)
            / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))
        )
    value = SSIM()(x[:, None], y[:, None], make_batch(y[:, None]))
    assert value.tolist() == pytest.approx(expected.mean(axis=(1, 2)).tolist(), abs=1e-10)
    many = torch.rand(1, 7, 160, 170)
    together = ssim_terms(many.double() * 255, many.flip(3).double() * 255)[0]
    alone = [
        ssim_terms(one[:, None].double() * 255, one.flip(2)[:, None].double() * 255)[0]
        for one in many.unbind(1)
    ]
    assert torch.equal(together, torch.cat(alone, dim=1))


def test_ms_ssim_is_the_weighted_product_over_scales(make_batch: MakeBatch) -> None:
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(1, 1, 176, 176, generator=generator) * 255).round() / 255
    restored = ((target + 0.2 * torch.rand(1, 1, 176, 176)).clamp(0, 1) * 255).round() / 255
    value = MSSSIM()(restored, target, make_batch(target)).item()
    x, y = restored.double() * 255, target.double() * 255
    expected = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        similarity, structure = ssim_terms(x, y)
        expected *= (similarity if scale == 4 else structure).item() ** weight
        x, y = (v.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-1, -2)) for v in (x, y))
    assert value == pytest.approx(expected, abs=1e-9)


def test_ms_ssim_names_its_minimum_and_works_there(make_batch: MakeBatch) -> None:
    target = torch.rand(1, 1, 161, 161)
    assert MSSSIM()(target, target, make_batch(target)).item() == pytest.approx(1)
    with pytest.raises(InputError, match="161 px"):
        MSSSIM()(target[:, :, 1:], target[:, :, 1:], make_batch(target))


def test_ms_ssim_of_inverted_structure_is_a_number(make_batch: MakeBatch) -> None:
    target = torch.rand(1, 1, 161, 161)
    assert MSSSIM()(1 - target, target, make_batch(target)).item() == 0
