"""A model before and after it learnt from a folder of photos, as evaluate.py has measured it.

experiments/own_photos/ keeps results.csv and differences.csv of one evaluation, whose checkpoints
are the model that a training started from and what the training made of it.
"""

import csv
from pathlib import Path

from restore.evaluation import spelling
from restore.evaluation.markup import NONE, Table
from restore.evaluation.ranked import lower_is_better
from restore.evaluation.results import Row

FOLDER = "own_photos"
_METRICS = ("hole_psnr", "psnr", "ssim")


def before_after(folder: Path) -> list[Table]:
    """The methods of results.csv; no table where the folder keeps none."""
    if not (folder / "results.csv").is_file():
        return []
    rows = _read(folder / "results.csv")
    models = [row["method"] for row in rows if row["kind"] == "model"]
    known = dict(zip(models, ("before", "after"), strict=True))
    metrics = [name for name in _METRICS if name in rows[0]]
    cells = [
        [
            _named(row["method"], known),
            row["checkpoint"] or NONE,
            *(spelling.number(row[name]) for name in metrics),
        ]
        for row in rows
    ]
    best = {
        (_best(rows, name, lower_is_better(name)), column)
        for column, name in enumerate(metrics, start=2)
    }
    arrows = (f"{name} {'↓' if lower_is_better(name) else '↑'}" for name in metrics)
    header = ["method", "checkpoint", *arrows]
    gain = _gain(_read(folder / "differences.csv"), models, metrics[0])
    caption = f"{rows[0]['n']} photos, protocol {rows[0]['protocol']}. {gain}"
    return [Table(caption, header, cells, best)]


def _gain(differences: list[Row], models: list[str], metric: str) -> str:
    (one,) = (
        row
        for row in differences
        if (row["reference"], row["method"], row["metric"]) == (*models, metric)
    )
    mean, low, high = (float(one[name]) for name in ("difference", "low", "high"))
    return f"After less before, {metric}: {mean:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}."


def _named(method: str, known: dict[str, str]) -> str:
    name, when = method.partition("#")[0], known.get(method)
    return f"{when}: {name}" if when else name


def _best(rows: list[Row], metric: str, lower: bool) -> int:
    values = [float(row[metric]) for row in rows]
    return values.index(min(values) if lower else max(values))


def _read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
