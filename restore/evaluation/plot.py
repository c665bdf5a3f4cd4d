"""Pictures of reports: the images side by side, and metrics against the buckets of a benchmark."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from restore.evaluation.runner import Report
from restore.picture import GIVEN, add_titles

Named = Sequence[tuple[str, Report]]  # reports of one benchmark and what to call their methods


def comparison(named: Named) -> Image.Image | None:
    """RGB: a row for each image; given | methods | target below their names. None without images.

    A single method shows all its samples, several show their first one.
    """
    named = [(name, report) for name, report in named if report.pictures.numel()]
    if not named:
        return None
    count = min(len(report.pictures) for _, report in named)
    rows, samples = named[0][1].pictures[:count], named[0][1].benchmark.num_samples
    shown = rows.shape[1] - samples - 1  # columns before the results
    names = [name for name, _ in named]
    if len(named) > 1:
        results = [report.pictures[:count, shown : shown + 1] for _, report in named]
        rows = torch.cat([rows[:, :shown], *results, rows[:, -1:]], dim=1)
    elif samples > 1:
        names = [f"{names[0]} {k}" for k in range(1, samples + 1)]
    return add_titles(rows, [*(GIVEN if shown > 1 else ["input"]), *names, "target"])


def uncertainty(named: Named) -> Image.Image | None:
    """RGB: a row for each image; given | mean and deviation of each method's samples | target.

    The deviation of a pixel over the samples, from black for none to white for the largest of all
    methods, which the title names in units of [0, 1]. None where no method draws several samples.
    """
    drawn = [
        (name, report)
        for name, report in named
        if report.pictures.numel() and report.benchmark.num_samples > 1 and report.method.num_calls
    ]
    if not drawn:
        return None
    rows, samples = drawn[0][1].pictures, drawn[0][1].benchmark.num_samples
    count, shown = min(len(one.pictures) for _, one in drawn), rows.shape[1] - samples - 1
    spread = {name: one.pictures[:count, shown:-1].clamp(-1, 1) for name, one in drawn}
    deviation = {name: one.std(dim=1).mean(dim=1, keepdim=True) for name, one in spread.items()}
    top = max(float(one.max()) for one in deviation.values()) or 1.0
    columns, names = [rows[:count, :shown]], [*(GIVEN if shown > 1 else ["input"])]
    for name, one in spread.items():
        shade = (deviation[name] / top * 2 - 1).expand_as(one[:, 0])
        columns += [one.mean(dim=1)[:, None], shade[:, None]]
        names += [f"{name} mean of {samples}", f"{name} deviation to {top / 2:.2g}"]
    return add_titles(torch.cat([*columns, rows[:count, -1:]], dim=1), [*names, "target"])


def buckets_of(summary: Sequence[str]) -> dict[str, list[str]]:
    """Metric -> its buckets in ascending order, from names such as `hole_psnr[10-20]`."""
    found: dict[str, list[str]] = {}
    for key in summary:
        if key.endswith("]"):
            metric, _, bucket = key[:-1].partition("[")
            found.setdefault(metric, []).append(bucket)
    return {metric: sorted(set(buckets), key=_bucket_order) for metric, buckets in found.items()}


def _bucket_order(bucket: str) -> tuple[float, str]:
    """ "<1" before "1-10" before "10-20" before ">60"; other names behind, by the alphabet."""
    number = re.match(r"([<>]?)(\d+)", bucket)
    if number is None:
        return math.inf, bucket
    return int(number[2]) + {"<": -0.5, "": 0.0, ">": 0.5}[number[1]], bucket


def bucket_plot(named: Named) -> Image.Image | None:
    """RGB: a panel a metric, points of a method over the buckets. None where there are no buckets.

    Points and not bars, whose lengths would lie on an axis that does not begin at 0.
    """
    panels = buckets_of([key for _, report in named for key in report.summary])
    if not panels:
        return None
    from matplotlib.figure import Figure

    num_columns = min(3, len(panels))
    num_rows = math.ceil(len(panels) / num_columns)
    figure = Figure(figsize=(3.2 * num_columns, 2.4 * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for axis, (metric, buckets) in zip(axes, panels.items(), strict=False):
        wide = 0.8 / len(named)
        for k, (name, report) in enumerate(named):
            values = [report.summary.get(f"{metric}[{bucket}]", math.nan) for bucket in buckets]
            lefts = [place - 0.4 + (k + 0.5) * wide for place in range(len(buckets))]
            axis.plot(lefts, values, "o", markersize=4, clip_on=False, label=name)
        axis.grid(axis="y", linewidth=0.4, alpha=0.5)
        axis.set_xlim(-0.5, len(buckets) - 0.5)
        axis.set_ylim(*_span(named, metric, buckets))
        axis.set_xticks(range(len(buckets)), buckets, rotation=45, fontsize=7)
        axis.tick_params(axis="y", labelsize=7)
        axis.set_title(metric, fontsize=8)
    for axis in axes[len(panels) :]:
        axis.remove()
    axes[0].legend(fontsize=6)
    return drawn(figure)


def drawn(figure: Any) -> Image.Image:
    """RGB of a figure of matplotlib, drawn without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _span(named: Named, metric: str, buckets: list[str]) -> tuple[float, float]:
    """From 0, or from below the smallest value where points above 0 would all look alike."""
    keys = [f"{metric}[{bucket}]" for bucket in buckets]
    values = [report.summary.get(key, math.nan) for _, report in named for key in keys]
    defined = [value for value in values if not math.isnan(value)] or [0.0]
    low, high = min(0.0, *defined, 0.0), max(0.0, *defined, 0.0)
    least = min(defined)
    if 0 < least < high and high - least < 0.5 * high:
        low = least - 0.3 * (high - least)
    return low, high + 0.05 * (high - low) or 1.0
