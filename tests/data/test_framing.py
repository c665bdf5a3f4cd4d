import numpy as np
import pytest
import torch

from restore.data.framing import (
    CenterSquare,
    RandomPatch,
    RandomSquare,
    Resized,
    Whole,
    area_resize,
)
from restore.stream import Stream
from restore.types import InputError


def photo(height: int, width: int, channels: int = 3) -> torch.Tensor:
    return (
        Stream(torch.tensor([height * 1000 + width]))
        .integers(0, 256, channels, height, width)[0]
        .to(torch.uint8)
    )


def area_mean(image: np.ndarray, top: float, left: float, bottom: float, right: float) -> float:
    """Mean over a rectangle, fractions of pixels included, pixel by pixel."""
    total = 0.0
    for row in range(int(top), int(np.ceil(bottom - 1e-9))):
        for column in range(int(left), int(np.ceil(right - 1e-9))):
            height = min(bottom, row + 1) - max(top, row)
            width = min(right, column + 1) - max(left, column)
            total += height * width * image[row, column]
    return total / ((bottom - top) * (right - left))


@pytest.mark.parametrize("old,new", [((7, 5), (3, 4)), ((6, 9), (4, 2)), ((3, 2), (5, 7))])
def test_area_resize_against_a_loop(old: tuple[int, int], new: tuple[int, int]) -> None:
    image = photo(*old, channels=1)
    scale = (old[0] / new[0], old[1] / new[1])
    expected = [
        [
            area_mean(image[0].numpy(), r * scale[0], c * scale[1], (r + 1) * scale[0],
                      (c + 1) * scale[1])
            for c in range(new[1])
        ]
        for r in range(new[0])
    ]  # fmt: skip
    np.testing.assert_allclose(area_resize(image, *new)[0].numpy(), expected, rtol=1e-9)


def test_area_resize_by_a_whole_factor_is_the_block_mean() -> None:
    image = photo(12, 20)
    blocks = image.double().view(3, 3, 4, 5, 4).mean(dim=(2, 4))
    assert torch.equal(area_resize(image, 3, 5), blocks)


def test_center_square_keeps_the_middle_and_rounds() -> None:
    image = photo(10, 16)
    assert torch.equal(CenterSquare(10)(image, 0), image[:, :, 3:13])
    half = CenterSquare(5)(image, 0)
    assert half.dtype == torch.uint8
    expected = image[:, :, 3:13].double().view(3, 5, 2, 5, 2).mean(dim=(2, 4))
    assert (half.double() - expected).abs().max() <= 0.5


def test_center_square_keeps_a_constant_at_any_size() -> None:
    for side in (1, 7, 64, 200):
        framed = CenterSquare(side)(torch.full((1, 61, 47), 201, dtype=torch.uint8), 0)
        assert framed.shape == (1, side, side) and (framed == 201).all()


def test_random_patch_is_a_window_of_the_photo() -> None:
    image, size = photo(9, 12), 8
    windows = {
        tuple(image[:, top : top + size, left : left + size].flatten().tolist())
        for top in range(2)
        for left in range(5)
    }
    seen = {tuple(RandomPatch(size)(image, seed).flatten().tolist()) for seed in range(300)}
    assert seen == windows


def test_random_patch_depends_on_the_seed_alone() -> None:
    frame, image = RandomPatch(4), photo(30, 30)
    assert torch.equal(frame(image, 5), frame(image.clone(), 5))


@pytest.mark.parametrize("height,width", [(5, 20), (3, 3), (1, 1), (1, 40), (2, 9)])
def test_random_patch_reflects_a_small_photo(height: int, width: int) -> None:
    image, size = photo(height, width), 16
    mode = "reflect" if min(height, width) > 1 else "symmetric"
    tall, wide = max(size - height, 0), max(size - width, 0)
    padded = np.pad(image.numpy(), ((0, 0), (0, tall), (0, 0)), mode=mode)
    padded = np.pad(padded, ((0, 0), (0, 0), (0, wide)), mode="reflect" if width > 1 else mode)
    patch = RandomPatch(size)(image, 3)
    lefts = range(padded.shape[2] - size + 1)
    assert any(np.array_equal(padded[:, :, left : left + size], patch) for left in lefts)


def test_whole_is_the_photo() -> None:
    image = photo(3, 5)
    assert Whole()(image, 1) is image and Whole().size is None


@pytest.mark.parametrize("framing", [CenterSquare, RandomPatch])
@pytest.mark.parametrize("size", [0, -3])
def test_sizes_below_one_are_refused(framing: type, size: int) -> None:
    with pytest.raises(InputError, match=f"{size}"):
        framing(size)


def test_random_square_shows_a_place_of_the_photo_at_a_scale_of_its_range() -> None:
    """Where every pixel says its row and column, the framing can be read off the result."""
    height, width = 100, 120
    rows = torch.arange(height)[:, None].expand(height, width)
    columns = torch.arange(width)[None, :].expand(height, width)
    image = torch.stack([rows, columns]).to(torch.uint8)
    sides = []
    for seed in range(200):
        framed = RandomSquare(20, smallest=0.5)(image, seed).double()
        assert framed.shape == (2, 20, 20)
        steps = framed.diff(dim=1)[0].mean(), framed.diff(dim=2)[1].mean()
        side = 20 * steps[0].item()
        assert side == pytest.approx(20 * steps[1].item(), abs=2)
        assert framed[0].min() >= 0 and framed[1].max() <= width - 1
        sides.append(side)
    assert 48 <= min(sides) < 56 and 94 < max(sides) <= 102
    again = [RandomSquare(20)(image, 3) for _ in range(2)]
    assert torch.equal(*again)


def test_random_square_of_the_whole_square_is_the_center_square() -> None:
    image = photo(40, 40)
    assert torch.equal(RandomSquare(8, smallest=1.0)(image, 5), CenterSquare(8)(image, 5))


def test_random_square_reaches_every_place() -> None:
    """The largest square of a photo of 4 x 6 px begins in column 0, 1 or 2, and in row 0."""
    image = torch.arange(24, dtype=torch.uint8).view(1, 4, 6)
    firsts = {int(RandomSquare(4, smallest=1.0)(image, seed)[0, 0, 0]) for seed in range(60)}
    assert firsts == {0, 1, 2}


@pytest.mark.parametrize("smallest", [0.0, 1.1])
def test_random_square_of_an_impossible_share(smallest: float) -> None:
    with pytest.raises(InputError, match="smallest"):
        RandomSquare(8, smallest)


def test_resized_is_the_whole_photo() -> None:
    image = torch.arange(2 * 6 * 4, dtype=torch.uint8).view(2, 6, 4)
    means = image.double().view(2, 2, 3, 2, 2).mean(dim=(2, 4))
    assert torch.equal(Resized(2)(image, 0), means.round().to(torch.uint8))
    assert torch.equal(Resized(4)(image[:, :4], 0), image[:, :4])


def test_the_largest_size_is_allowed_and_no_larger_one() -> None:
    assert RandomPatch(8192).size == 8192
    with pytest.raises(InputError, match="at most 8192 pixels, got 8193"):
        RandomPatch(8193)
