"""Quality against cost: a plot for each benchmark on record, with the methods that none beats."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from restore.evaluation.nfe import machine
from restore.evaluation.plot import drawn
from restore.evaluation.ranked import RANKED, lower_is_better
from restore.evaluation.results import Row

FOLDER = "pareto"
_KEY = "points"  # of the PNG's text: a hash of what it shows
_COSTS = {"macs": "multiply-accumulates of a result", "seconds": "seconds an image, as measured"}
_COLORS = {"baseline": "C7", "published": "C1", "outputs": "C2", "function": "C4", "model": "C0"}
_NOTHING = ("identity",)  # restores nothing: its place would make all others look alike
_LABEL, _GAP = 7, 0.045  # size of the type, and least distance of labels as a share of the axis


@dataclass(frozen=True)
class Point:
    """A method: its quality, and its costs, None where they are not known."""

    name: str
    kind: str
    quality: float
    macs: float | None
    seconds: float | None

    @property
    def costs_no_products(self) -> bool:
        return self.kind == "baseline" and self.macs is None


@dataclass(frozen=True)
class Plot:
    """The plot of one benchmark by one metric."""

    benchmark: str
    metric: str
    caption: str
    points: tuple[Point, ...]

    @property
    def digest(self) -> str:
        """Of what is shown: another one where the results are others."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]

    def save(self, path: Path) -> None:
        """A small PNG that says what it shows."""
        said = PngImagePlugin.PngInfo()
        said.add_text(_KEY, self.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.draw().quantize(64).save(path, optimize=True, pnginfo=said)

    def draw(self) -> Image.Image:
        """RGB: a panel for each cost."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3.6), dpi=90, layout="constrained")
        for axis, (cost, title) in zip(figure.subplots(1, 2), _COSTS.items(), strict=True):
            self._panel(axis, cost)
            axis.set_xlabel(title, fontsize=8)
            axis.set_ylabel(self.metric, fontsize=8)
            axis.tick_params(labelsize=7)
        figure.suptitle(self.caption, fontsize=9)
        return drawn(figure)

    def _panel(self, axis: Any, cost: str) -> None:
        placed = [(getattr(one, cost), one) for one in self.points if getattr(one, cost)]
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter("")  # of a single decade they would lie on each other
        axis.grid(alpha=0.3)
        axis.margins(y=0.15)
        for x, one in placed:
            axis.scatter(x, one.quality, s=22, color=_COLORS[one.kind], zorder=3)
        if placed:  # whole decades, so that every one has its number
            ends = [math.log10(x) for x, _ in placed]
            axis.set_xlim(10 ** math.floor(min(ends) - 0.1), 10 ** math.ceil(max(ends) + 0.3))
        free = [one for one in self.points if cost == "macs" and one.costs_no_products]
        for one in free:
            axis.axhline(one.quality, color=_COLORS[one.kind], lw=0.7, ls=":")
        line = front(
            [*((0.0, one.quality) for one in free), *((x, one.quality) for x, one in placed)],
            lower_is_better(self.metric),
        )
        line = [point for point in line if point[0]]  # what costs nothing has no place on the axis
        if line:
            axis.plot(*zip(*line, strict=True), color="C3", lw=0.8, drawstyle="steps-post")
        self._labels(axis, [*placed, *((None, one) for one in free)])
        if lower_is_better(self.metric):
            axis.invert_yaxis()

    def _labels(self, axis: Any, placed: list[tuple[float | None, Point]]) -> None:
        """Names above their points, moved apart where they would lie on each other."""
        low, high = axis.get_ylim()
        left, right = map(math.log10, axis.get_xlim())
        least, last = _GAP * (high - low), -math.inf
        for x, one in sorted(placed, key=lambda pair: pair[1].quality):
            last = max(one.quality + 0.2 * least, last + least)
            settings = {"fontsize": _LABEL, "color": _COLORS[one.kind], "va": "bottom"}
            if x:  # to the side that has more room
                side = "left" if 2 * math.log10(x) < left + right else "right"
                axis.text(x, last, f" {one.name} ", ha=side, **settings)
            else:  # a line over all costs
                axis.text(0.01, last, one.name, transform=axis.get_yaxis_transform(), **settings)
        axis.set_ylim(low, max(high, last + 1.5 * least))


def front(points: Sequence[tuple[float, float]], lower: bool) -> list[tuple[float, float]]:
    """Those of (cost, quality) that no other beats in both, by rising cost."""
    found: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda one: (one[0], one[1] if lower else -one[1])):
        if not found or (quality < found[-1][1] if lower else quality > found[-1][1]):
            found.append((cost, quality))
    return found


def plots(rows: Sequence[Row]) -> dict[str, Plot]:
    """Benchmark -> its plot, of its most images and last protocol; of two methods or more, one
    with MACs on record.

    Seconds are those of the machine of most rows, which the caption names: those of two machines
    compare nothing. rows: in the order of their measurement.
    """
    found = {}
    for name in sorted({row["benchmark"] for row in rows}):
        mine = [row for row in rows if row["benchmark"] == name]
        mine = [row for row in mine if row["experiment"] not in _NOTHING] or mine
        most = max(int(row["n"]) for row in mine)
        mine = [row for row in mine if int(row["n"]) == most]
        mine = [row for row in mine if row["protocol"] == mine[-1]["protocol"]]
        metric = next((one for one in RANKED if any(row.get(one) for row in mine)), None)
        if metric is None:
            continue
        mine = [row for row in mine if row.get(metric, "nan") != "nan"]
        device = machine([row for row in mine if row["seconds_per_image"]] or mine)
        points = tuple(_point(row, metric, device) for row in mine)
        if len(points) > 1 and any(one.macs for one in points):
            found[name] = Plot(name, metric, f"{name}, n = {most}, {device}", points)
    return found


def _point(row: Row, metric: str, device: str) -> Point:
    macs = row.get("macs")
    seconds = row["seconds_per_image"] if row["device"] == device else ""
    name = f"{row['experiment']} ({row['nfe']} calls)" if int(row["nfe"]) > 1 else row["experiment"]
    return Point(
        name=name,
        kind=row["kind"],
        quality=float(row[metric]),
        macs=float(macs) if macs else None,
        seconds=float(seconds) if seconds else None,
    )


def shown(path: Path) -> str:
    """The digest of what a file shows; "" for no file, or one of another program."""
    if not path.is_file():
        return ""
    with Image.open(path) as image:
        return str(image.info.get(_KEY, ""))
