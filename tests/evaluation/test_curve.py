"""A learning curve says what metrics.csv has, at the updates at which it was measured."""

import numpy as np
import pytest

from restore.evaluation.curve import curves, learning_curve, running_mean

ROWS = [
    {"step": "10", "train/loss": "4.0", "val/psnr": "", "optimizer/learning_rate": "1"},
    {"step": "20", "train/loss": "2.0", "val/psnr": "", "optimizer/learning_rate": "1"},
    {"step": "20", "train/loss": "", "val/psnr": "25.5", "val/fid": "3", "val/ssim": "nan"},
    {"step": "30", "train/loss": "inf", "val/psnr": "edited", "optimizer/learning_rate": "1"},
    {"step": "40", "train/loss": "1.0", "val/psnr": "26.0", "val/ssim": "0.5"},
]


def test_points_stand_at_their_updates_and_a_single_one_is_no_curve() -> None:
    assert curves(ROWS) == {
        "train/loss": [(10, 4), (20, 2), (40, 1)],
        "val/psnr": [(20, 25.5), (40, 26)],
    }


@pytest.mark.parametrize("window", [1, 3, 50])
def test_a_running_mean_is_the_mean_of_the_last_points(window: int) -> None:
    values = np.random.default_rng(0).normal(size=40)
    points = [(float(k), float(value)) for k, value in enumerate(values)]
    wanted = [values[max(0, k + 1 - window) : k + 1].mean() for k in range(40)]
    found = running_mean(points, window)
    assert [update for update, _ in found] == [update for update, _ in points]
    np.testing.assert_allclose([value for _, value in found], wanted)


def test_the_picture_has_a_panel_for_each_and_there_is_none_of_nothing() -> None:
    assert learning_curve(ROWS[:1]) is None
    two = learning_curve(ROWS)
    four = learning_curve([*ROWS, {"step": "50", "val/fid": "2", "val/ssim": "0.6"}])
    assert two is not None and four is not None
    assert four.height == 2 * two.height and four.width == two.width
    columns = np.asarray(two.convert("L")).min(axis=0)
    assert columns[two.width * 3 // 4 :].min() == 255  # no third panel
