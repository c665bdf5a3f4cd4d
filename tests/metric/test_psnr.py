from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from restore.image import from_unit
from restore.metric.psnr import CAP, PSNR, HoleL1, HolePSNR, InputPSNR, KnownError
from restore.types import Batch, InputError

MakeBatch = Callable[..., Batch]


def unit(image: np.ndarray) -> Tensor:
    """[1, C, H, W] float32 in [0, 1] of 8-bit [H, W, C]."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def test_agrees_with_scikit_image(pairs: list, make_batch: MakeBatch) -> None:
    for worse, image in pairs:
        expected = peak_signal_noise_ratio(image, worse)
        value = PSNR()(unit(worse), unit(image), make_batch(unit(image)))
        assert value.dtype == torch.float64
        assert value.item() == pytest.approx(expected, abs=1e-4)


def test_closed_form_of_a_constant_error(make_batch: MakeBatch) -> None:
    target = torch.full((1, 3, 8, 8), 100 / 255)
    value = PSNR()(target + 10 / 255, target, make_batch(target))
    assert value.item() == pytest.approx(20 * np.log10(255 / 10), abs=1e-5)


def test_identical_images_are_capped_and_do_not_poison_a_mean(make_batch: MakeBatch) -> None:
    target = torch.rand(2, 3, 8, 8)
    assert PSNR()(target, target, make_batch(target)).tolist() == [CAP, CAP] == [100, 100]


def test_photos_without_colour_count_in_no_mean_of_coloured_ones(make_batch: MakeBatch) -> None:
    grey = torch.rand(1, 1, 4, 4).expand(1, 3, 4, 4)
    tinted = grey.clone()
    tinted[0, 2, 1, 3] = 1 - tinted[0, 2, 1, 3].round()  # one pixel's blue is enough
    target = torch.cat([grey, tinted])
    restored = torch.rand(2, 3, 4, 4)
    for channels in ("rgb", "y"):  # luma has one channel, of whatever colours
        everything = PSNR(channels)(restored, target, make_batch(target))
        colored = PSNR(channels, colored=True)(restored, target, make_batch(target))
        assert colored[0].isnan()
        assert colored[1] == everything[1]
    assert PSNR(colored=True).definition != PSNR().definition


def test_coloured_photos_have_three_channels() -> None:
    with pytest.raises(InputError, match="coloured photos needs RGB images, not 1 channels"):
        PSNR(colored=True).check(1, 8, 8)


def test_is_a_mean_of_images_not_of_pooled_errors(make_batch: MakeBatch) -> None:
    target = torch.full((2, 1, 4, 4), 0.4)
    restored = target + torch.tensor([1 / 255, 100 / 255]).view(2, 1, 1, 1)
    values = PSNR()(restored, target, make_batch(target))
    alone = [PSNR()(restored[i : i + 1], target[i : i + 1], make_batch(target[:1])) for i in (0, 1)]
    assert values.tolist() == torch.cat(alone).tolist()
    assert PSNR()(restored.flip(0), target, make_batch(target)).tolist() == values.flip(0).tolist()


def test_clamps_and_rounds_the_prediction_as_a_file_would(make_batch: MakeBatch) -> None:
    target = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    overshoot = torch.tensor([-0.7, 1.4]).view(1, 1, 1, 2)
    for metric in (PSNR(), PSNR(rounding=False)):
        assert metric(overshoot, target, make_batch(target)).item() == CAP
    between = torch.full((1, 1, 2, 2), 0.5)
    assert PSNR(rounding=False)(between, between, make_batch(between)).item() == CAP
    below_half_a_level = target + torch.tensor([0.4, -0.4]).view(1, 1, 1, 2) / 255
    assert PSNR()(below_half_a_level, target, make_batch(target)).item() == CAP
    exact = PSNR(rounding=False)(below_half_a_level, target, make_batch(target)).item()
    assert exact == pytest.approx(20 * np.log10(255 / 0.4), abs=1e-4)


def test_border_is_left_out(make_batch: MakeBatch) -> None:
    target = torch.zeros(1, 1, 8, 8)
    framed = torch.ones(1, 1, 8, 8)
    framed[:, :, 2:-2, 2:-2] = 0
    assert PSNR(border=2)(framed, target, make_batch(target)).item() == CAP
    assert PSNR(border=1)(framed, target, make_batch(target)).item() < 10
    with pytest.raises(InputError, match="border=4"):
        PSNR(border=4)(framed, target, make_batch(target))


def test_luma_is_bt601(make_batch: MakeBatch) -> None:
    target = torch.full((1, 3, 4, 4), 128 / 255)
    for channel, weight in enumerate((65.481, 128.553, 24.966)):
        error = torch.zeros(3, 1, 1)
        error[channel] = 4 / 255
        value = PSNR(channels="y")(target + error, target, make_batch(target)).item()
        assert value == pytest.approx(-20 * np.log10(weight / 255 * 4 / 255), abs=1e-4)
    with pytest.raises(InputError, match="RGB"):
        PSNR(channels="y")(target[:, :1], target[:, :1], make_batch(target[:, :1]))


def test_definition_names_the_protocol() -> None:
    assert PSNR().definition == "psnr/rgb/uint8/per-image/v1"
    variants = [PSNR("y"), PSNR(rounding=False), PSNR(border=4), PSNR()]
    assert len({metric.definition for metric in variants}) == 4


def test_input_psnr_is_of_the_unclipped_input(make_batch: MakeBatch) -> None:
    target = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    noisy = target + torch.tensor([-0.3, 0.3]).view(1, 1, 1, 2)
    batch = make_batch(target, input=from_unit(noisy))
    expected = -20 * np.log10(0.3)
    assert InputPSNR()(target, target, batch).item() == pytest.approx(expected, abs=1e-4)


def test_input_psnr_refuses_what_is_no_image_of_that_kind(make_batch: MakeBatch) -> None:
    target = torch.rand(1, 3, 4, 4)
    with pytest.raises(InputError, match="input_psnr"):
        InputPSNR()(target, target, make_batch(target, input=target[:, :1]))


def test_hole_metrics_see_the_hole_alone(make_batch: MakeBatch) -> None:
    target = torch.full((2, 3, 4, 4), 0.4)
    hole = torch.zeros(2, 1, 4, 4)
    hole[0, :, :1], hole[1, :, :, :3] = 1, 1
    step = torch.tensor([51 / 255, 102 / 255]).view(2, 1, 1, 1)
    restored = torch.where(hole == 1, target + step, target * 0)
    batch = make_batch(target, hole=hole)
    assert HoleL1()(restored, target, batch).tolist() == pytest.approx([0.2, 0.4], abs=1e-6)
    expected = [-20 * np.log10(0.2), -20 * np.log10(0.4)]
    assert HolePSNR()(restored, target, batch).tolist() == pytest.approx(expected, abs=1e-4)


def test_hole_metrics_are_of_eight_bits(make_batch: MakeBatch) -> None:
    """An error that a file rounds or clips away is none."""
    target = torch.tensor([100 / 255, 1.0]).view(1, 1, 1, 2)
    restored = target + torch.tensor([0.4 / 255, 0.5]).view(1, 1, 1, 2)
    batch = make_batch(target, hole=torch.ones(1, 1, 1, 2))
    assert HolePSNR()(restored, target, batch).tolist() == [CAP]
    assert HoleL1()(restored, target, batch).tolist() == [0]


def test_empty_hole_is_undefined_not_perfect(make_batch: MakeBatch) -> None:
    target = torch.rand(1, 3, 4, 4)
    batch = make_batch(target, hole=torch.zeros(1, 1, 4, 4))
    assert HolePSNR()(target, target, batch).isnan().all()
    assert HoleL1()(target, target, batch).isnan().all()


def test_known_error_is_raw_and_blind_to_the_hole(make_batch: MakeBatch) -> None:
    target = torch.full((3, 1, 4, 4), 0.5)
    hole = torch.zeros(3, 1, 4, 4)
    hole[:, :, 0] = 1
    restored = torch.where(hole == 1, 0.9, target)
    restored[1, 0, 2, 2] += 2**-13
    batch = make_batch(target, hole=hole)
    assert KnownError()(restored, target, batch).tolist() == [0, 2**-13, 0]
    full = make_batch(target, hole=torch.ones(3, 1, 4, 4))
    assert KnownError()(restored, target, full).tolist() == [0, 0, 0]


@pytest.mark.parametrize("metric", [HolePSNR(), HoleL1(), KnownError()])
def test_hole_metrics_refuse_a_batch_without_hole(metric: HoleL1, make_batch: MakeBatch) -> None:
    target = torch.rand(1, 3, 4, 4)
    with pytest.raises(InputError, match=metric.name):
        metric(target, target, make_batch(target))
