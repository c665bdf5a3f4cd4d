"""The learning curve of a run: its loss and its validations against updates, as one picture."""

import math
from collections.abc import Mapping, Sequence

from PIL import Image

from restore.evaluation.plot import drawn

LOSS = "train/loss"
FEWEST = 2  # points of a line
COLUMNS = 3
_WINDOW = 20  # a mean is of this part of all points of a loss

Points = list[tuple[float, float]]  # update and value


def curves(rows: Sequence[Mapping[str, str]]) -> dict[str, Points]:
    """Name -> its points, of the training's loss and of every validated value that has a line.

    rows: those of metrics.csv. Values that are no finite numbers have no point.
    """
    names = [LOSS, *sorted({name for row in rows for name in row if name.startswith("val/")})]
    found = {name: [point for row in rows if (point := _point(row, name))] for name in names}
    return {name: points for name, points in found.items() if len(points) >= FEWEST}


def _point(row: Mapping[str, str], name: str) -> tuple[float, float] | None:
    try:
        point = float(row.get("step") or "nan"), float(row.get(name) or "nan")
    except ValueError:  # a cell that a person has edited
        return None
    return point if all(map(math.isfinite, point)) else None


def running_mean(points: Points, window: int) -> Points:
    """Means of `window` points in a row, each at the last of them; of fewer at the beginning."""
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    firsts = [max(0, end - window) for end in range(1, len(sums))]
    return [
        (update, (sums[end] - sums[first]) / (end - first))
        for end, (first, (update, _)) in enumerate(zip(firsts, points, strict=True), start=1)
    ]


def learning_curve(rows: Sequence[Mapping[str, str]]) -> Image.Image | None:
    """RGB: a panel for each of `curves`; None where no value has a line.

    The loss of single batches is pale below its running mean.
    """
    found = curves(rows)
    if not found:
        return None
    from matplotlib.figure import Figure

    height = math.ceil(len(found) / COLUMNS)
    figure = Figure(figsize=(3.2 * COLUMNS, 2.4 * height), layout="constrained")
    axes = figure.subplots(height, COLUMNS, squeeze=False).flatten()
    for axis, (name, points) in zip(axes, found.items(), strict=False):
        style = "o-"
        if name == LOSS:
            axis.plot(*zip(*points, strict=True), color="C0", linewidth=0.5, alpha=0.4)
            points, style = running_mean(points, math.ceil(len(points) / _WINDOW)), "-"
        axis.plot(*zip(*points, strict=True), style, color="C0", linewidth=1, markersize=3)
        axis.grid(linewidth=0.4, alpha=0.5)
        axis.tick_params(labelsize=7)
        axis.ticklabel_format(axis="y", useOffset=False)  # one would lie below the title
        axis.set_title(name, fontsize=8)
        axis.set_xlabel("updates", fontsize=7)
    for axis in axes[len(found) :]:
        axis.remove()
    return drawn(figure)
