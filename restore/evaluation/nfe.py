"""Quality against network calls and seconds: a page and a plot of measured rows."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from restore.evaluation import results
from restore.evaluation.results import Row
from restore.folder import write_whole
from restore.types import InputError

RESULTS, PLOT, PAGE = "results.csv", "nfe.png", "README.md"
_METRICS = {
    "hole_psnr": "↑",
    "original_label_share": "↑",
    "diversity": "",
    "fid_flowers": "↓",
    "fid_scenes": "↓",
}


class CurvePoint(NamedTuple):
    calls: int
    seconds: float  # of an image, all its samples; NaN on another machine than most rows'
    value: float


def family(row: Row) -> str:
    """The name of a curve: experiment, sampler and guidance, without the number of steps."""
    settings = [one for one in row["sampler_settings"].split(";") if one and "num_steps" not in one]
    if row["sampler"] == "RePaint":
        settings = []
    spelled = row["sampler"] + (f" ({', '.join(settings)})" if settings else "")
    # Without RePaint and without a guidance, only a network that is shown its input fills holes.
    lead = "" if row["sampler"] == "RePaint" else "conditional"
    guidance = row["guidance"].replace(";", ", ").removesuffix("()") or lead
    return ", ".join(filter(None, (row["experiment"], spelled, guidance)))


def curves(rows: Sequence[Row], metric: str) -> dict[str, list[CurvePoint]]:
    """Points of each family in the order of calls; rows that lack the metric are left out."""
    found: dict[str, list[CurvePoint]] = {}
    own = machine(rows)
    for row in rows:
        value = float(row.get(metric) or math.nan)
        if not math.isnan(value):
            seconds = float(row["seconds_per_image"]) if row["device"] == own else math.nan
            point = CurvePoint(int(row["nfe"]), seconds, value)
            found.setdefault(family(row), []).append(point)
    return {name: sorted(points) for name, points in sorted(found.items())}


def machine(rows: Sequence[Row]) -> str:
    """The device of most rows: seconds of two machines compare nothing."""
    return Counter(row["device"] for row in rows).most_common(1)[0][0] if rows else ""


def measured(rows: Sequence[Row]) -> list[str]:
    return [name for name in _METRICS if any(row.get(name) for row in rows)]


def table(rows: Sequence[Row], metric: str) -> str:
    """A Markdown table: a line for each family, a column for each number of calls, best bold."""
    found = curves(rows, metric)
    calls = sorted({point.calls for points in found.values() for point in points})
    sign = -1 if _METRICS[metric] == "↓" else 1
    best = {
        count: max(
            sign * point.value for points in found.values() for point in points
            if point.calls == count
        )
        for count in calls
    }  # fmt: skip
    lines = [
        "| | " + " | ".join(map(str, calls)) + " |",
        "| :-- |" + " --: |" * len(calls),
    ]
    for name, points in found.items():
        values = {point.calls: point.value for point in points}
        cells = []
        for count in calls:
            text = f"{values[count]:.4g}" if count in values else "–"
            is_best = count in values and sign * values[count] == best[count]
            cells.append(f"**{text}**" if is_best and _METRICS[metric] else text)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(rows: Sequence[Row], command: str) -> str:
    benchmarks = sorted({f"{row['benchmark']}, n = {row['n']}" for row in rows})
    tables = [
        f"## {metric} {_METRICS[metric]}\n\n{table(rows, metric)}\n" for metric in measured(rows)
    ]
    heads = [
        "# Quality against network calls",
        "Samplers and guidances on the same images, holes and noise "
        f"({'; '.join(benchmarks)}). Made by `{command}` from [{RESULTS}]({RESULTS}); seconds "
        f"are of {machine(rows)} alone.",
        f"![quality against calls and seconds]({PLOT})",
    ]
    return "\n\n".join([*heads, *tables])


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draws a PNG: panels of each metric, against calls on the left and seconds on the right."""
    from matplotlib.figure import Figure

    names = measured(rows)
    figure = Figure(figsize=(11, 3.2 * len(names)), layout="constrained")
    axes: Any = figure.subplots(len(names), 2, squeeze=False)
    for (left, right), metric in zip(axes, names, strict=True):
        for name, points in curves(rows, metric).items():
            for axis, across in ((left, "calls"), (right, "seconds")):
                places = [getattr(point, across) for point in points]
                axis.plot(places, [p.value for p in points], marker="o", markersize=3, label=name)
        for axis, title in ((left, "network calls"), (right, "seconds an image")):
            axis.set_xscale("log")
            axis.set_xlabel(title, fontsize=8)
            axis.set_ylabel(f"{metric} {_METRICS[metric]}", fontsize=8)
            axis.tick_params(labelsize=7)
            axis.grid(alpha=0.3)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=7)
    figure.savefig(path, dpi=110)


def write(folder: Path, command: str) -> None:
    """Page and plot of the rows in a folder; InputError where there are none."""
    _, rows = results.read(folder / RESULTS)
    if not rows or not measured(rows):
        raise InputError(f"{folder / RESULTS} holds no rows to draw: run {command}")
    draw(rows, folder / PLOT)
    write_whole(folder / PAGE, page(rows, command) + "\n")
