"""The picture of a sweep: a line a setting, across its parameters to what was measured; beside it
what each parameter alone goes with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.sweep.found import Found, Group, group, labels

Values = NDArray[np.float64]
BEST = 0.1  # the share that stands out
_FEW = 7  # values that all get a tick
_GAP = 0.06  # the share of an axis that a tick's text covers
_STRONG, _FAINT = "#c0392b", "#7f8c8d"


@dataclass(frozen=True)
class Axis:
    """The places of a parameter's values: places [n] in [0, 1], ticks (place, text)."""

    title: str
    places: Values
    ticks: list[tuple[float, str]]


def draw(path: Path, found: Found, by: str, over: Sequence[str]) -> None:
    """A PNG of mean values over the keys `over`; the best tenth stands out, the rest is faint."""
    from matplotlib.figure import Figure

    keys, groups = group(found, by, over)
    names = labels(keys)
    axes = [
        axis(names[key], [one.settings[place] for one in groups]) for place, key in enumerate(keys)
    ]
    means = np.array([one.mean for one in groups])
    averaged = f", mean over {', '.join(labels(over).values())}" if over else ""
    title = f"{by} ({'higher' if found.high[by] else 'lower'} is better{averaged})"
    width = max(1.6 * (len(axes) + 1), 4.5)
    figure = Figure(figsize=(width + 3.4, max(4.4, 2.3 * len(axes))), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=[width, 3.4])
    left, right = halves
    best = max(1, round(BEST * len(groups)))
    _parallel(left, axes, axis(title, [repr(float(value)) for value in means], wide=True), best)
    panels = right.subplots(len(axes), 1, squeeze=False).flatten()
    for panel, made in zip(panels, axes, strict=True):
        _effect(panel, made, groups, best, by)
    figure.savefig(path, dpi=130)


def axis(title: str, column: Sequence[str], wide: bool = False) -> Axis:
    """Numbers to scale, by logarithm (which the title then says) where they span a decade; whole
    numbers have whole ticks; other values stand in the order of the alphabet. wide: of a
    measurement, whose ticks are spread evenly."""
    try:
        numbers = np.array([float(value) for value in column])
    except ValueError:
        names = sorted(set(column))
        places = {name: k / max(len(names) - 1, 1) for k, name in enumerate(names)}
        ticks = [(place, name or "default") for name, place in places.items()]
        return Axis(title, np.array([places[value] for value in column]), ticks)
    low, high = float(numbers.min()), float(numbers.max())
    log = not wide and low > 0 and high / low >= 10
    scaled = np.log10(numbers) if log else numbers
    start, span = float(scaled.min()), float(np.ptp(scaled)) or 1.0
    whole = all(float(value).is_integer() for value in column)
    shown = _ticks(sorted(set(numbers.tolist())), whole, log)
    if wide:
        shown = [*map(float, np.linspace(low, high, 5))] if high > low else [low]
    spelled = [f"{value:.0f}" if whole and not wide else f"{value:.4g}" for value in shown]
    at = [((np.log10(value) if log else value) - start) / span for value in shown]
    named = f"{title} (log)" if log else title
    ticks = _apart(list(zip(map(float, at), spelled, strict=True)))
    return Axis(named, (scaled - start) / span, ticks)


def _apart(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Rising ticks less those whose text would lie on that of another; both ends stay."""
    kept = ticks[:1]
    for one in ticks[1:-1]:
        if one[0] - kept[-1][0] >= _GAP and ticks[-1][0] - one[0] >= _GAP:
            kept.append(one)
    return [*kept, *ticks[1:][-1:]]


def _ticks(values: list[float], whole: bool, log: bool) -> list[float]:
    if len(values) <= _FEW:
        return values
    low, high = values[0], values[-1]
    made = np.geomspace(low, high, 5) if log else np.linspace(low, high, 5)
    ticks = made.round() if whole else made
    return [low, *(float(value) for value in ticks[1:-1]), high]


def _parallel(figure: Any, axes: list[Axis], measured: Axis, best: int) -> None:
    """Parallel coordinates; the first `best` rows stand out and lie on top."""
    every = [*axes, measured]
    heights = np.stack([one.places for one in every], axis=1)
    plot = figure.subplots()
    faint = max(0.06, min(0.5, 20 / len(heights)))
    for row in reversed(range(len(heights))):
        strong = row < best
        look = {"color": _STRONG, "lw": 1.8} if strong else {"color": _FAINT, "lw": 0.8}
        plot.plot(range(len(every)), heights[row], alpha=0.95 if strong else faint, **look)
    for place, one in enumerate(every):
        plot.axvline(place, color="black", lw=0.8)
        for height, text in one.ticks:
            plot.plot([place - 0.02, place + 0.02], [height, height], color="black", lw=0.8)
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
            settings = {"textcoords": "offset points", "fontsize": 8, "bbox": box, "va": "center"}
            plot.annotate(text, (place, height), (5, 0), **settings)
    titles = [one.title.replace(" (", "\n(").replace(", ", ",\n") for one in every]
    plot.set_xticks(range(len(every)), titles, fontsize=8)
    plot.set_xlim(-0.15, len(every) - 0.5)
    plot.set_yticks([])
    for side in plot.spines.values():
        side.set_visible(False)


def _effect(plot: Any, one: Axis, groups: list[Group], best: int, by: str) -> None:
    """What was measured against the values of one parameter, with the deviation of each mean."""
    means = np.array([group.mean for group in groups])
    deviations = np.nan_to_num([group.deviation for group in groups])
    faint = max(0.15, min(0.6, 60 / len(groups)))
    for part, colour, alpha in (
        (slice(best, None), _FAINT, faint),
        (slice(0, best), _STRONG, 0.95),
    ):
        if len(means[part]):
            look = {"color": colour, "alpha": alpha, "ms": 4, "lw": 0.8}
            plot.errorbar(one.places[part], means[part], deviations[part], fmt="o", **look)
    ticks = one.ticks
    slanted: Any = {"fontsize": 7, "rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    plot.set_xticks([at for at, _ in ticks], [text for _, text in ticks], **slanted)
    plot.tick_params(axis="y", labelsize=7)
    plot.set_xlabel(one.title, fontsize=8)
    plot.set_ylabel(by, fontsize=8)
