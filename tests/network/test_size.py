import numpy as np
import pytest
import torch

from restore.network.size import cap_levels, pad_to_multiple
from restore.types import InputError


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (3, 16), (9, 15), (16, 8)])
def test_pads_as_numpy_reflects(height: int, width: int) -> None:
    image = torch.rand(2, 3, height, width)
    padded = pad_to_multiple(image, 8)
    extra = [(0, 0), (0, 0), (0, -height % 8), (0, -width % 8)]
    np.testing.assert_array_equal(padded, np.pad(image.numpy(), extra, mode="reflect"))
    assert torch.equal(padded[..., :height, :width], image)


@pytest.mark.parametrize(
    ("num_levels", "image_size", "smallest", "capped"),
    [
        (8, 256, 1, 8),
        (8, 512, 1, 8),
        (8, 64, 1, 6),
        (8, 28, 1, 4),
        (7, 256, 2, 7),
        (7, 64, 2, 5),
        (3, 2, 1, 1),
        (3, 4, 2, 1),
    ],
)
def test_levels_stop_at_the_smallest_map(
    num_levels: int, image_size: int, smallest: int, capped: int
) -> None:
    assert cap_levels(num_levels, image_size, smallest) == capped
    assert cap_levels(num_levels, None, smallest) == num_levels
    assert image_size >> capped >= smallest


def test_refuses_what_cannot_be_halved() -> None:
    with pytest.raises(InputError, match="1 px"):
        cap_levels(3, 1)
    with pytest.raises(InputError, match="at least one level"):
        cap_levels(0, 64)
