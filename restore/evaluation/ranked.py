"""Which rows of a benchmark are compared, and in which order."""

import math
from collections.abc import Sequence

from restore.evaluation.header import LOWER
from restore.evaluation.results import Row

_LOWER = {
    *("hole_l1", "known_error", "colorfulness_difference", "sam", "squeezenet1_0"),
    *("fid", "kid"),
}
_LOWER_OF = ("lpips_", "fid_", "kid_")  # the name of a network follows
PLACE = "#"  # the key of a row's number in the file, by which later measurements are known
# What a benchmark is about, in the order in which its methods are ranked.
RANKED = (
    "original_label_share",
    "hole_psnr",
    "fid_flowers",
    "fid_scenes",
    "fid",
    "psnr",
    "ssim",
)


def lower_is_better(metric: str, rows: Sequence[Row] = ()) -> bool:
    """Of this metric, or of its bucket; rows: what was measured may say so of metrics of users."""
    named = {one for row in rows for one in row.get(LOWER, "").split(";")}
    name = metric.partition("[")[0]
    return name.startswith(_LOWER_OF) or name in _LOWER | named


def latest(rows: list[Row]) -> list[Row]:
    """Those of most images, and of the protocol that was measured last."""
    most = max(int(row["n"]) for row in rows if row["kind"] == "model")
    rows = [row for row in rows if int(row["n"]) == most]
    last = max((row for row in rows if row["kind"] == "model"), key=lambda row: int(row[PLACE]))
    return [row for row in rows if row["protocol"] == last["protocol"]]


def best_first(rows: list[Row], ranked: tuple[str, ...]) -> list[Row]:
    """Best first, by the first of the metrics that any row has."""
    metric = next((m for m in ranked if any(row.get(m) for row in rows)), None)
    if metric is None:
        return rows
    sign = 1 if lower_is_better(metric, rows) else -1

    def key(row: Row) -> float:
        value = float(row[metric] or "nan")
        return math.inf if math.isnan(value) else sign * value

    return sorted(rows, key=key)
