import numpy as np
import pytest
import torch

from restore.degradation.gray import Gray, Lightness
from restore.image import lab_from_rgb, to_unit
from restore.stream import Stream
from restore.types import InputError

TARGET = Stream(torch.arange(4)).uniform(3, 9, 11, low=-1.0)


def test_lightness_against_scikit_image() -> None:
    from skimage.color import rgb2lab

    degraded = Gray()(TARGET, torch.arange(4))
    lightness = rgb2lab(to_unit(TARGET).double().numpy(), channel_axis=1)[:, :1]
    np.testing.assert_allclose(degraded["input"], lightness / 50 - 1, atol=1e-5)
    assert degraded["target"] is TARGET


def test_black_white_and_grey() -> None:
    levels = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    lightness = Gray()(levels, torch.arange(2))["input"]
    torch.testing.assert_close(lightness[:, 0, 0, 0], torch.tensor([-1.0, 1.0]), atol=1e-4, rtol=0)


def test_channels() -> None:
    assert Gray().input_channels(3) == Lightness().channels(3) == 1
    for channels in (Gray().input_channels, Lightness().channels):
        for wrong in (1, 4):
            with pytest.raises(InputError, match=f"3 channels, got {wrong}"):
                channels(wrong)


def test_the_nearest_image_weighs_lightness_by_its_noise() -> None:
    """z minimises |z - x|^2 + |y - z|^2 / ridge: at 1 half the way, at 3 a quarter; ab stays."""
    x = TARGET * 0.3
    lab = lab_from_rgb(x)
    y = lab[:, :1] + 0.2
    for ridge, share in ((0.0, 1.0), (1.0, 1 / 2), (3.0, 1 / 4)):
        found = lab_from_rgb(Lightness().nearest(x, y, ridge))
        expected = torch.cat([lab[:, :1] + share * 0.2, lab[:, 1:]], dim=1)
        torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)
