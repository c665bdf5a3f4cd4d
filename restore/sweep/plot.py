"""The picture of a sweep: a line a job, across its settings, to its objective."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Axis = tuple[NDArray[np.float64], list[tuple[float, str]]]  # heights in [0, 1]; ticks


def parallel(
    path: Path, settings: dict[str, list[str]], objective: str, values: list[float], direction: str
) -> None:
    """Parallel coordinates as a PNG. settings: a value a job, by key; the best job lies on top."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    axes = {_short(key): axis(column) for key, column in settings.items()}
    axes[f"{objective} ({direction})"] = axis([repr(value) for value in values])
    heights = np.stack([made[0] for made in axes.values()], axis=1)
    good = heights[:, -1] if direction == "maximize" else 1 - heights[:, -1]
    figure = Figure(figsize=(max(4.0, 2.2 * len(axes)), 4.2), layout="constrained")
    plot: Any = figure.add_subplot()
    for row in np.argsort(good):
        colour = colormaps["viridis"](1 - 0.9 * good[row])
        best = row == np.argmax(good)
        plot.plot(range(len(axes)), heights[row], color=colour, lw=3 if best else 1.2, alpha=0.9)
    for place, (_, ticks) in enumerate(axes.values()):
        plot.axvline(place, color="black", lw=0.8)
        for height, text in ticks:
            plot.plot([place - 0.02, place + 0.02], [height, height], color="black", lw=0.8)
            plot.annotate(text, (place, height), (4, 2), textcoords="offset points", fontsize=8)
    plot.set_xticks(range(len(axes)), list(axes), fontsize=8)
    plot.set_xlim(-0.15, len(axes) - 0.5)
    plot.set_yticks([])
    for side in plot.spines.values():
        side.set_visible(False)
    figure.savefig(path, dpi=150)


def _short(key: str) -> str:
    """The last two names of a dotted key are enough to tell it."""
    return ".".join(key.split(".")[-2:])


def axis(column: list[str]) -> Axis:
    """Where values lie: numbers to scale, by logarithm if they span a decade; names in order."""
    try:
        numbers = np.array([float(value) for value in column])
    except ValueError:
        names = sorted(set(column))
        places = {name: k / max(len(names) - 1, 1) for k, name in enumerate(names)}
        ticks = [(place, name or "default") for name, place in places.items()]
        return np.array([places[value] for value in column]), ticks
    low, high = float(numbers.min()), float(numbers.max())
    log = low > 0 and high / low >= 10
    scaled = np.log10(numbers) if log else numbers
    start, stop = float(scaled.min()), float(scaled.max())
    span = (stop - start) or 1.0
    distinct = sorted(set(scaled.tolist()))
    if len(distinct) > 6:
        distinct = np.linspace(start, stop, 5).tolist()
    ticks = [((at - start) / span, f"{10**at if log else at:.3g}") for at in distinct]
    return (scaled - start) / span, ticks
