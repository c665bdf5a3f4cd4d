"""Pictures of reports: the images side by side, and metrics against the buckets of a benchmark."""

import math
import re
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from restore.evaluation.runner import Report
from restore.image import to_uint8
from restore.picture import grid

Named = Sequence[tuple[str, Report]]  # reports of one benchmark and what to call their methods
SMALL = 64  # pixels; smaller images are enlarged
GAP = 2  # pixels between images, before enlarging
_FONT_SIZE = 11


def comparison(named: Named) -> Image.Image | None:
    """RGB: a row an image; input | methods | target, with their names on top. None without images.

    A single method shows all its samples, several show their first one.
    """
    named = [(name, report) for name, report in named if report.pictures.numel()]
    if not named:
        return None
    count = min(len(report.pictures) for _, report in named)
    rows = named[0][1].pictures[:count]
    names = [name for name, _ in named]
    if len(named) > 1:
        results = [report.pictures[:count, 1:2] for _, report in named]
        rows = torch.cat([rows[:, :1], *results, rows[:, -1:]], dim=1)
    elif rows.shape[1] > 3:
        names = [f"{names[0]} {k}" for k in range(1, rows.shape[1] - 1)]
    return _titled(rows, ["input", *names, "target"])


def _titled(rows: Tensor, titles: list[str]) -> Image.Image:
    """Images [R, N, C, H, W] in [-1, 1] below N titles."""
    scale = max(1, SMALL // rows.shape[-1])
    pixels = to_uint8(grid(rows, GAP, scale)).cpu().permute(1, 2, 0).numpy()
    body = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    font = ImageFont.load_default(_FONT_SIZE)
    width = rows.shape[-1] * scale
    wrapped = [_wrap(title, font, width) for title in titles]
    line = _FONT_SIZE + 3
    header = line * max(map(len, wrapped)) + GAP
    picture = Image.new("RGB", (body.width, body.height + header), "white")
    picture.paste(body, (0, header))
    draw = ImageDraw.Draw(picture)
    for column, lines in enumerate(wrapped):
        left = GAP * scale + column * (width + GAP * scale)
        for row, text in enumerate(lines):
            draw.text((left, row * line), text, fill="black", font=font)
    return picture


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Lines no wider than `width` pixels, broken behind "_" and " ", inside words if need be."""
    lines = [""]
    for word in re.findall(r"[^_\s]*[_\s]|[^_\s]+", text):
        for part in [word] if font.getlength(word) <= width else list(word):
            if lines[-1] and font.getlength(lines[-1] + part) > width:
                lines.append("")
            lines[-1] += part
    return lines


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
    """RGB: a panel a metric, a line a method over the buckets. None where there are no buckets."""
    panels = buckets_of([key for _, report in named for key in report.summary])
    if not panels:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    num_columns = min(3, len(panels))
    num_rows = math.ceil(len(panels) / num_columns)
    figure = Figure(figsize=(3.2 * num_columns, 2.4 * num_rows), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for axis, (metric, buckets) in zip(axes, panels.items(), strict=False):
        for name, report in named:
            values = [report.summary.get(f"{metric}[{bucket}]", math.nan) for bucket in buckets]
            axis.plot(range(len(buckets)), values, marker=".", label=name)
        axis.set_xticks(range(len(buckets)), buckets, rotation=45, fontsize=7)
        axis.tick_params(axis="y", labelsize=7)
        axis.set_title(metric, fontsize=8)
    for axis in axes[len(panels) :]:
        axis.remove()
    axes[0].legend(fontsize=6)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
