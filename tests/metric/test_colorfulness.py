from collections.abc import Callable

import numpy as np
import pytest
import torch

from restore.metric.colorfulness import Colorfulness, ColorfulnessDifference, colorfulness
from restore.types import Batch, InputError

MakeBatch = Callable[..., Batch]


def test_agrees_with_the_papers_formula_in_numpy() -> None:
    image = torch.rand(2, 3, 9, 7, dtype=torch.float64)
    for one, value in zip(image.numpy() * 255, colorfulness(image).tolist(), strict=True):
        rg, yb = one[0] - one[1], 0.5 * (one[0] + one[1]) - one[2]
        spread = np.sqrt(np.std(rg) ** 2 + np.std(yb) ** 2)
        expected = spread + 0.3 * np.sqrt(np.mean(rg) ** 2 + np.mean(yb) ** 2)
        assert value == pytest.approx(expected, abs=1e-9)


def test_opponent_axes_are_signed() -> None:
    red_green = torch.zeros(1, 3, 2, 2)
    red_green[:, 0, 0], red_green[:, 1, 1] = 1, 1
    # rg is +255 and -255, yb 127.5 throughout; with |rg| its deviation would be 0
    assert colorfulness(red_green).item() == pytest.approx(255 + 0.3 * 127.5)


def test_grey_has_none_and_the_difference_is_absolute(make_batch: MakeBatch) -> None:
    target = torch.zeros(1, 3, 2, 2)
    target[:, 0] = 1
    grey = torch.full((1, 3, 2, 2), 0.4)
    vivid = Colorfulness()(target, target, make_batch(target)).item()
    assert vivid == pytest.approx(0.3 * np.hypot(255, 127.5))
    assert Colorfulness()(grey, target, make_batch(target)).item() == 0
    assert ColorfulnessDifference()(grey, target, make_batch(target)).item() == vivid
    assert ColorfulnessDifference()(target, grey, make_batch(grey)).item() == vivid


def test_refuses_grey_images(make_batch: MakeBatch) -> None:
    target = torch.rand(1, 1, 4, 4)
    with pytest.raises(InputError, match="RGB"):
        Colorfulness()(target, target, make_batch(target))


def test_colours_are_those_of_a_file(make_batch: Callable[..., Batch]) -> None:
    target = torch.tensor([1.0, 0.4, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    restored = target + torch.tensor([30, 0.4, -30]).view(1, 3, 1, 1) / 255
    batch = make_batch(target)
    for metric in (Colorfulness(), ColorfulnessDifference()):
        assert torch.equal(metric(restored, target, batch), metric(target, target, batch))
