import pytest
import torch

from restore.image import from_uint8, from_unit, to_uint8, to_unit

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
