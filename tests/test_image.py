import numpy as np
import pytest
import torch

from restore.image import from_uint8, from_unit, lab_from_rgb, rgb_from_lab, to_uint8, to_unit
from restore.stream import Stream

LEVELS = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)


def test_all_levels_survive_the_round_trip() -> None:
    assert torch.equal(to_uint8(from_uint8(LEVELS)), LEVELS)


def test_all_levels_survive_half_precision() -> None:
    assert torch.equal(to_uint8(from_uint8(LEVELS).half()), LEVELS)


def test_ends_of_the_range() -> None:
    image = from_uint8(LEVELS).flatten()
    assert image[0] == -1 and image[255] == 1
    torch.testing.assert_close(image, torch.linspace(-1, 1, 256))


def test_to_uint8_clamps_and_rounds() -> None:
    image = torch.tensor([-5.0, -1.0, 0.0, 1.0, 1.001, 5.0])
    assert to_uint8(image).tolist() == [0, 0, 128, 255, 255, 255]
    step = 1 / 127.5
    assert to_uint8(torch.tensor([-1 + 9.49 * step, -1 + 9.51 * step])).tolist() == [9, 10]


def test_unit_range_is_neither_clamped_nor_rounded() -> None:
    image = torch.tensor([-2.0, -1.0, 0.25, 1.0, 3.0])
    assert to_unit(image).tolist() == [-0.5, 0.0, 0.625, 1.0, 2.0]
    assert torch.equal(from_unit(to_unit(image)), image)


def test_scaling_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        from_uint8(from_uint8(LEVELS))


COLOURS = Stream(torch.arange(4)).uniform(3, 9, 11, low=-1.0)


def test_lab_against_scikit_image() -> None:
    from skimage.color import rgb2lab

    lab = rgb2lab(to_unit(COLOURS).double().numpy(), channel_axis=1)
    scale = np.array([50, 110, 110]).reshape(3, 1, 1)
    expected = lab / scale - np.array([1, 0, 0]).reshape(3, 1, 1)
    np.testing.assert_allclose(lab_from_rgb(COLOURS), expected, atol=1e-4)


def test_lab_of_all_corners_is_in_range() -> None:
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).view(8, 3, 1, 1)
    assert lab_from_rgb(corners).abs().max() <= 1 + 1e-4


def test_lab_round_trip_is_lossless_at_eight_bits() -> None:
    colours = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(to_uint8(rgb_from_lab(lab_from_rgb(from_uint8(colours)))), colours)


def test_lab_that_is_no_colour_is_clipped_and_gradients_stay_finite() -> None:
    lab = torch.tensor([[0.0, 1.0, -1.0], [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]).view(3, 3, 1, 1)
    lab.requires_grad_()
    rgb = rgb_from_lab(lab)
    rgb.sum().backward()
    assert rgb.abs().max() <= 1
    assert lab.grad is not None and lab.grad.isfinite().all()


def test_lab_is_computed_in_float32_under_autocast() -> None:
    expected = lab_from_rgb(COLOURS)
    with torch.autocast("cpu", torch.bfloat16):
        lab = lab_from_rgb(COLOURS)
        rgb = rgb_from_lab(lab)
    assert torch.equal(lab, expected) and torch.equal(rgb, rgb_from_lab(expected))
