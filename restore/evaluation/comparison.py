"""How sure a difference between two methods is: bootstrap over images (Efron & Tibshirani 1993)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.evaluation.header import IMAGE
from restore.types import InputError

Values = NDArray[np.float64]
Row = dict[str, Any]
_RESAMPLES = 10_000
_BLOCK = 1 << 20  # resampled values in memory at a time


def image_metrics(rows: Sequence[Row]) -> list[str]:
    """Metrics of an image, by the rows of a report; none where there is no row."""
    return [key for key in rows[0] if key not in IMAGE] if rows else []


@dataclass(frozen=True)
class Interval:
    """A mean over `num_images` images and the percentile interval around it."""

    mean: float
    low: float
    high: float
    num_images: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def mean_interval(values: Values, photos: Sequence[str] | None = None) -> Interval:
    """The mean of per-image values [n] with its interval of coverage 0.95; NaN are left out.

    photos: the name of each image's photo. Images of one photo are alike, and so photos are drawn
    again, each with all of its images (the cluster bootstrap of Davison and Hinkley 1997, 3.8).
    """
    values = np.asarray(values, dtype=np.float64)
    names = range(len(values)) if photos is None else photos
    sums: dict[Any, float] = {}
    counts: dict[Any, int] = {}
    for name, value in zip(names, values, strict=True):
        if not math.isnan(value):
            sums[name] = sums.get(name, 0.0) + value
            counts[name] = counts.get(name, 0) + 1
    if len(sums) < 2:
        raise InputError(f"an interval needs 2 images or more with a value, got {len(sums)}")
    means = _resampled_means(np.array([*sums.values()]), np.array([*counts.values()]))
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(np.nanmean(values)), float(low), float(high), sum(counts.values()))


def paired_difference(
    method: Values, reference: Values, photos: Sequence[str] | None = None
) -> Interval:
    """The mean of method - reference [n], image by image in the same order, with its interval.

    Images on which either is NaN are left out. photos: as of `mean_interval`.
    """
    method, reference = np.asarray(method), np.asarray(reference)
    if method.shape != reference.shape or method.ndim != 1:
        raise InputError(
            f"a paired comparison needs the same images in both, got {method.shape} and "
            f"{reference.shape} values"
        )
    return mean_interval(method - reference, photos)


def _resampled_means(sums: Values, counts: NDArray[np.int64]) -> Values:
    """Means [_RESAMPLES] of as many draws with replacement of all photos, which are given by the
    sum and the count of their values."""
    generator = np.random.default_rng(0)
    means = np.empty(_RESAMPLES)
    block = max(1, _BLOCK // len(sums))
    for start in range(0, _RESAMPLES, block):
        rows = min(block, _RESAMPLES - start)
        draws = generator.integers(0, len(sums), size=(rows, len(sums)))
        means[start : start + rows] = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    return means


@dataclass(frozen=True)
class Difference:
    """The mean of method - reference over the images that both restored, for one metric."""

    metric: str
    method: str
    reference: str
    interval: Interval


def differences(named: Sequence[tuple[str, list[Row]]]) -> list[Difference]:
    """Every method against the first, for every metric that both have on 2 photos or more.

    named: methods with their rows per image on one benchmark. Images are paired by index and name.
    """
    if len(named) < 2:
        return []
    reference, rows = named[0]
    paired = {(row["index"], row["name"]): row for row in rows}
    found = []
    for method, others in named[1:]:
        shared = [row for row in others if (row["index"], row["name"]) in paired]
        partners = [paired[row["index"], row["name"]] for row in shared]
        photos = [row["name"] for row in shared]
        for metric in [key for key in image_metrics(rows) if key in others[0]]:
            ours = np.array([row[metric] for row in shared], dtype=np.float64)
            theirs = np.array([row[metric] for row in partners], dtype=np.float64)
            if _num_photos(ours - theirs, photos) >= 2:
                interval = paired_difference(ours, theirs, photos)
                found.append(Difference(metric, method, reference, interval))
    return found


def intervals(rows: Sequence[Row]) -> dict[str, Interval]:
    """Metric -> its mean over all images with its interval; without those of less than 2 photos."""
    found = {}
    photos = [row["name"] for row in rows]
    for metric in image_metrics(rows):
        values = np.array([row[metric] for row in rows], dtype=np.float64)
        if _num_photos(values, photos) >= 2:
            found[metric] = mean_interval(values, photos)
    return found


def _num_photos(values: Values, photos: Sequence[str]) -> int:
    """How many photos have a value."""
    return len({name for name, value in zip(photos, values, strict=True) if not math.isnan(value)})
