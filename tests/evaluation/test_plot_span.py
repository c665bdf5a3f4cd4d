"""The axis of points."""

import math
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from restore.evaluation.plot import _span


def named(*values: float) -> Any:
    return [(str(k), SimpleNamespace(summary={"psnr[a]": v})) for k, v in enumerate(values)]


@pytest.mark.parametrize(
    "values", [(0.0,), (5.0,), (5.0, 5.0), (5.0, 5.1), (-1.0, 2.0), (math.nan,), (30.0, 31.0)]
)
def test_an_axis_has_a_length_and_holds_every_point(values: tuple[float, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = _span(named(*values), "psnr", ["a"])
    assert low < high
    assert all(low <= value <= high for value in values if not math.isnan(value))
