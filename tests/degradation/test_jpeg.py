import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from restore.data.photos import Photos
from restore.degradation.jpeg import JPEG
from restore.image import from_uint8, to_uint8, to_unit
from restore.stream import Stream
from restore.types import InputError


def photos(height: int, width: int, channels: int = 3) -> Tensor:
    """[2, C, H, W] in [-1, 1] of 8 bits."""
    source = Photos(Path("/nowhere"), "train", mode="rgb" if channels == 3 else "gray")
    return from_uint8(torch.stack([source[i].image[:, :height, :width] for i in range(2)]))


def psnr(a: Tensor, b: Tensor) -> Tensor:
    return -10 * torch.log10((to_unit(a) - to_unit(b)).double().square().mean(dim=(1, 2, 3)))


SEEDS = torch.arange(2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (7, 13), (16, 16), (33, 50)])
def test_any_size_and_both_channel_numbers(size: tuple[int, int], channels: int) -> None:
    target = photos(*size, channels)
    degraded = JPEG(80)(target, SEEDS)
    assert degraded["input"].shape == target.shape and degraded["target"] is target
    assert set(degraded) == {"target", "input"}
    assert torch.equal(from_uint8(to_uint8(degraded["input"])), degraded["input"])


def test_the_pixels_are_those_of_the_codec() -> None:
    target = photos(40, 30)
    file = io.BytesIO()
    array = to_uint8(target[1]).permute(1, 2, 0).numpy()
    Image.fromarray(array).save(file, "JPEG", quality=35, subsampling=2)
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    assert torch.equal(to_uint8(JPEG(35)(target, SEEDS)["input"][1]), expected)


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_against_an_independent_codec(quality: int) -> None:
    """kornia's JPEG, which has no code in common: nearer to ours than ours to the image."""
    from kornia.enhance import jpeg_codec_differentiable

    target = photos(160, 160)
    ours = JPEG(quality)(target, SEEDS)["input"]
    theirs = jpeg_codec_differentiable(to_unit(target), torch.full((2,), float(quality))) * 2 - 1
    assert (psnr(ours, theirs) > 35).all()
    assert (psnr(ours, theirs) > psnr(ours, target) + 6).all()


def test_quality_orders_the_error() -> None:
    target = photos(64, 64)
    errors = [psnr(JPEG(q)(target, SEEDS)["input"], target).mean() for q in (5, 20, 60, 100)]
    assert errors == sorted(errors) and errors[0] < 28 < 36 < errors[-1]


def test_a_range_draws_every_quality() -> None:
    seeds = torch.arange(400)
    drawn = Stream(seeds).integers(30, 34).tolist()
    assert set(drawn) == {30, 31, 32, 33}
    target = photos(24, 24)[:1].expand(400, 3, 24, 24)
    got = JPEG([30, 33])(target, seeds)["input"]
    for index in (0, 1, 2, 3, 77):
        assert torch.equal(got[index], JPEG(drawn[index])(target[:1], seeds[:1])["input"][0])


@pytest.mark.parametrize("quality", [0, 101, [10], [50, 20], [0, 50], [10, 20, 30]])
def test_qualities_are_checked(quality: int | list[int]) -> None:
    with pytest.raises(InputError, match="quality"):
        JPEG(quality)


def test_channels_are_checked() -> None:
    assert [JPEG(50).input_channels(channels) for channels in (1, 3)] == [1, 3]
    with pytest.raises(InputError, match="1 or 3 channels"):
        JPEG(50).input_channels(4)
