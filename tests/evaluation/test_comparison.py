import numpy as np
import pytest

from restore.evaluation import comparison
from restore.evaluation.comparison import mean_interval, paired_difference
from restore.types import InputError


def test_covers_the_truth_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_RESAMPLES", 1000)
    generator = np.random.default_rng(0)
    trials, hits = 300, 0
    for _ in range(trials):
        interval = mean_interval(generator.normal(3.0, 2.0, size=60))
        hits += interval.low <= 3.0 <= interval.high
    # binomial(300, 0.95), four standard deviations either way, and the bootstrap's small bias
    assert 0.88 < hits / trials < 1.0


def test_width_is_that_of_a_normal_mean() -> None:
    sample = np.random.default_rng(1).normal(0, 1, size=400)
    interval = mean_interval(sample)
    half = 1.96 * sample.std() / np.sqrt(400)
    assert interval.high - interval.mean == pytest.approx(half, rel=0.05)
    assert interval.mean - interval.low == pytest.approx(half, rel=0.05)
    assert interval.mean == sample.mean() and interval.num_images == 400


def test_pairing_removes_what_both_share() -> None:
    generator = np.random.default_rng(2)
    difficulty = generator.normal(30, 5, size=100)
    better = difficulty + 0.2 + generator.normal(0, 0.3, size=100)
    difference = paired_difference(better, difficulty)
    assert difference.excludes_zero and 0 < difference.low < 0.2 < difference.high
    swapped = paired_difference(difficulty, better)
    assert swapped.excludes_zero and swapped.mean == -difference.mean
    assert not paired_difference(difficulty, difficulty).excludes_zero


def test_same_interval_each_time_and_no_global_randomness() -> None:
    values = np.random.default_rng(3).normal(size=50)
    np.random.seed(0)
    first = mean_interval(values)
    np.random.seed(1)
    assert mean_interval(values) == first


def test_many_images_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_RESAMPLES", 200)
    values = np.random.default_rng(5).normal(size=30_000)
    interval = mean_interval(values)
    assert interval.low < values.mean() < interval.high


def test_undefined_images_are_left_out_in_pairs() -> None:
    method, reference = np.array([1.0, np.nan, 3.0, 4.0]), np.array([0.0, 5.0, np.nan, 2.0])
    difference = paired_difference(method, reference)
    assert difference.num_images == 2 and difference.mean == 1.5


def test_refuses_what_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="same images"):
        paired_difference(np.zeros(3), np.zeros(4))
    with pytest.raises(InputError, match="2 images or more"):
        mean_interval(np.array([1.0, np.nan]))


def test_the_interval_of_two_images_is_both_of_them() -> None:
    """Of four equally likely draws one has the first twice, and one the second."""
    found = mean_interval(np.array([1.0, 3.0]))
    assert (found.mean, found.low, found.high) == (2, 1, 3)


def test_images_of_one_photo_are_drawn_together() -> None:
    """Of two photos in four patches each, a draw has one of them twice, or both."""
    values = np.array([1.0, 2.0, 1.0, 2.0, 5.0, 6.0, 5.0, 6.0])
    photos = ["a"] * 4 + ["b"] * 4
    found = mean_interval(values, photos)
    assert (found.mean, found.low, found.high, found.num_images) == (3.5, 1.5, 5.5, 8)
    assert paired_difference(values, np.zeros(8), photos) == found
    alone = mean_interval(values)
    assert alone.low > 1.5 and alone.high < 5.5
    assert mean_interval(values, list("hgbcdefa")) == alone


def test_photos_of_unequal_counts_weigh_as_their_images_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_RESAMPLES", 40_000)
    sums, counts = np.array([1.0, 30.0]), np.array([1, 3])
    means = comparison._resampled_means(sums, counts)
    shares = {float(value): float(np.mean(means == value)) for value in np.unique(means)}
    assert shares == pytest.approx({1.0: 0.25, 31 / 4: 0.5, 10.0: 0.25}, abs=0.01)


def test_several_patches_of_one_photo_have_no_interval() -> None:
    rows: list[comparison.Row] = [
        {"index": k, "name": "a", "bucket": "", "psnr": 20.0 + k} for k in range(4)
    ]
    assert comparison.intervals(rows) == {}
    better = [{**row, "psnr": row["psnr"] + 1} for row in rows]
    assert comparison.differences([("x", rows), ("y", better)]) == []
    two = [*rows, {**rows[0], "index": 4, "name": "b", "psnr": np.nan}]
    assert comparison.intervals(two) == {}
    two[-1]["psnr"] = 30.0
    found = comparison.intervals(two)["psnr"]
    assert (found.low, found.high, found.num_images) == (21.5, 30.0, 5)
    [one] = comparison.differences([("x", [{**row, "psnr": 1.0} for row in two]), ("y", two)])
    assert (one.interval.low, one.interval.high) == (20.5, 29.0)
    with pytest.raises(InputError, match="2 images or more"):
        mean_interval(np.array([1.0, 2.0]), ["a", "a"])
