import numpy as np
import pytest
import torch

from restore.degradation.gray import Gray
from restore.image import to_unit
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
    assert Gray().input_channels(3) == 1
    with pytest.raises(InputError, match="3 channels, got 1"):
        Gray().input_channels(1)
