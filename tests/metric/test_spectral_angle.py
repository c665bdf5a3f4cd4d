"""The angle between colours, by vectors of known angles and by a loop."""

import math

import pytest
import torch
from torch import Tensor

from restore.metric.spectral_angle import SpectralAngle, spectral_angle
from restore.types import Batch, InputError


def pixel(*color: float) -> Tensor:
    return torch.tensor(color, dtype=torch.float64).view(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("first", "second", "angle"),
    [
        ((1, 0, 0), (0, 1, 0), math.pi / 2),
        ((1, 0, 0), (0.5, 0.5, 0), math.pi / 4),
        ((1, 1, 1), (0.2, 0.2, 0.2), 0.0),
        ((1, 1, 1), (1, 0, 0), math.acos(1 / math.sqrt(3))),
        ((1, 0, 0), (1, 1e-9, 0), 1e-9),  # whose cosine is 1 to the last digit
        ((0, 0, 0), (0, 0, 0), 0.0),
        ((0, 0, 0), (0.5, 0, 0), math.pi / 2),
        ((0.5, 0, 0), (0, 0, 0), math.pi / 2),
    ],
)
def test_angles_that_are_known(
    first: tuple[float, ...], second: tuple[float, ...], angle: float
) -> None:
    found = float(spectral_angle(pixel(*first), pixel(*second)))
    assert found == pytest.approx(angle, rel=1e-7, abs=1e-15)


def test_an_image_has_the_mean_over_its_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (2, 2, 3, 5, 4), generator=generator)
    levels[0, 0, :, 0, 0] = 0
    restored, target = levels / 255
    batch = Batch(target=target, input=target, index=torch.arange(2), name=["a", "b"])
    for k, value in enumerate(SpectralAngle()(restored, target, batch)):
        angles = []
        for row in range(5):
            for column in range(4):
                a, b = (one[k, :, row, column].double() for one in (restored, target))
                cosine = float(a @ b / (a.norm() * b.norm())) if a.any() else 0.0
                angles.append(math.acos(min(cosine, 1.0)))
        assert float(value) == pytest.approx(sum(angles) / 20, abs=1e-6)
    assert SpectralAngle()(target, target, batch).tolist() == [0.0, 0.0]


def test_colours_are_those_of_eight_bits() -> None:
    """What is rounded or clipped away turns no colour."""
    target = torch.tensor([0.2, 0.4, 1.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    off = torch.tensor([0.4, -0.4, 30.0]).view(1, 3, 1, 1) / 255
    batch = Batch(target=target, input=target, index=torch.arange(1), name=["a"])
    assert SpectralAngle()(target + off, target, batch).tolist() == [0.0]


def test_grey_images_have_no_colours() -> None:
    with pytest.raises(InputError, match="1 channel"):
        SpectralAngle().check(1, 8, 8)
    SpectralAngle().check(3, 8, 8)
