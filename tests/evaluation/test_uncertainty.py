"""The picture of what samples agree on."""

from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from restore.evaluation import plot
from restore.evaluation.method import SamplingRecord
from restore.picture import GAP


def drawn(make_report: Any, size: tuple[int, int, int] = (3, 128, 128)) -> Any:
    """Two images, four samples: the left half of all is alike, in the right half two are 0.8."""
    made = make_report("prior", size=size, num_samples=4, num_calls=7)
    pictures = torch.zeros(2, 6, *size)
    pictures[:, 1:3, ..., size[2] // 2 :] = 0.8
    pictures[:, -1] = 1.0
    made.pictures = pictures
    return made


def test_mean_and_deviation_stand_beside_the_target(make_report: Any) -> None:
    picture = plot.uncertainty([("prior", drawn(make_report))])
    assert picture is not None
    pixels = np.asarray(picture)
    header = pixels.shape[0] - (2 * (128 + GAP) + GAP)
    columns = [
        pixels[header + GAP + 64, GAP + k * (128 + GAP) + 32 :][[0, 64], 0] for k in range(4)
    ]
    assert columns[0].tolist() == [128, 128]  # the input
    assert columns[1].tolist() == [128, round((0.4 + 1) * 127.5)]  # the mean of 0, 0, 0.8, 0.8
    assert columns[2].tolist() == [0, 255]  # all alike is black, the largest deviation is white
    assert columns[3].tolist() == [255, 255]


def test_the_largest_deviation_is_told_in_units_of_0_to_1(
    make_report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 0, 0, 0.8 and 0.8 in units of [-1, 1] it is the root of 4 * 0.4^2 / 3, half of it here."""
    titled = Mock(wraps=plot.add_titles)
    monkeypatch.setattr(plot, "add_titles", titled)
    plot.uncertainty([("prior", drawn(make_report))])
    names = ["input", "prior mean of 4", "prior deviation to 0.23", "target"]
    assert titled.call_args.args[1] == names


def test_methods_share_the_scale_and_others_are_left_out(make_report: Any) -> None:
    one, other = drawn(make_report), drawn(make_report)
    other.pictures = other.pictures * torch.tensor([1, 0.5, 0.5, 0.5, 0.5, 1]).view(1, 6, 1, 1, 1)
    baseline = make_report("telea", size=(3, 128, 128), num_samples=4)
    picture = plot.uncertainty([("a", one), ("telea", baseline), ("b", other)])
    assert picture is not None and picture.width == 6 * (128 + GAP) + GAP
    pixels = np.asarray(picture)
    assert abs(int(pixels[-20, GAP + 4 * (128 + GAP) + 96, 0]) - 128) <= 1  # half of white


def test_one_sample_or_a_baseline_has_no_uncertainty(make_report: Any) -> None:
    alone = make_report("prior", num_samples=1, num_calls=7, sampling=SamplingRecord("ddim"))
    assert plot.uncertainty([("prior", alone)]) is None
    assert plot.uncertainty([("telea", make_report("telea", num_samples=2))]) is None


def test_samples_that_are_all_alike_are_black(make_report: Any) -> None:
    made = drawn(make_report, (1, 128, 128))
    made.pictures = torch.zeros(2, 6, 1, 128, 128)
    pixels = np.asarray(plot.uncertainty([("prior", made)]))
    assert pixels[-64, GAP + 2 * (128 + GAP) + 64, 0] == 0
