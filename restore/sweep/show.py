"""restore sweep DIR: what a sweep has found, as a table and a picture."""

import csv
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from restore.sweep import journal, settings
from restore.sweep.journal import Line
from restore.sweep.ranking import Sweep, swept

SEED = "seed"


@dataclass(frozen=True)
class Found:
    """All that the jobs of a sweep have measured. Values are by job, NaN where there is none."""

    lines: list[Line]
    settings: dict[str, list[str]]  # what differs between the jobs: a value a job
    metrics: dict[str, list[float]]
    high: dict[str, bool]  # whether higher is better


@dataclass(frozen=True)
class Group:
    """Jobs that differ in nothing but the keys that were averaged over."""

    settings: tuple[str, ...]
    values: list[float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Of a sample, divided by n - 1; NaN for a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan


def read(folder: Path) -> Found:
    """The journal with the records of its jobs."""
    sweep, lines = Sweep.read(folder), journal.read(folder)
    records = [_record(folder / line.folder / "result.json") for line in lines]
    values = [settings.values(record) if record else {} for record in records]
    for line, known in zip(lines, values, strict=True):
        if line.objective is not None:
            known[sweep.objective] = line.objective
    names = dict.fromkeys([sweep.objective, *(name for known in values for name in known)])
    high = {name: settings.best_is_high(name) for name in names}
    for record in records:
        high |= settings.directions(record) if record else {}
    high[sweep.objective] = sweep.direction == "maximize"
    metrics = {name: [known.get(name, math.nan) for known in values] for name in names}
    return Found(lines, swept(lines), metrics, high)


def _record(path: Path) -> dict[str, object] | None:
    """A job's result.json; a job that repeats another, or that failed, has none."""
    try:
        record: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    return record


def show(folder: Path, by: str | None = None, over: Sequence[str] = ()) -> int:
    """Prints the ranking by a metric; writes sweep.csv, and sweep.png where anything differs.

    over: keys, of whose values the mean and the deviation are shown.

    Raises InputError for a metric that no job has measured, or a key that is the same in all jobs.
    """
    sweep, found = Sweep.read(folder), read(folder)
    by = by or sweep.objective
    _check(found, by, over)
    order = ranking(found.metrics[by], found.high[by])
    _write(folder / "sweep.csv", found, order, by)
    if over:
        _print(_averaged(found, by, over))
    else:
        _print(_jobs(found, order, by))
    print(folder / "sweep.csv")
    if found.settings and not all(map(math.isnan, found.metrics[by])):
        from restore.sweep import plot

        averaged = list(over) or [key for key in found.settings if key == SEED]
        plot.draw(folder / "sweep.png", found, by, averaged)
        print(folder / "sweep.png")
    return 0


def _check(found: Found, by: str, over: Sequence[str]) -> None:
    from restore.types import InputError

    if by not in found.metrics:
        raise InputError(f"--by {by} was not measured: choose from {', '.join(found.metrics)}")
    for key in over:
        if key not in found.settings:
            named = ", ".join(found.settings) or "none"
            raise InputError(f"--over {key} is the same in all jobs: what differs is {named}")


def ranking(values: Sequence[float], high: bool) -> list[int]:
    """Jobs by value, best first; those without one last, in their order."""
    sign = -1 if high else 1
    return sorted(
        range(len(values)),
        key=lambda k: (math.isnan(values[k]), 0.0 if math.isnan(values[k]) else sign * values[k]),
    )


def grouped(found: Found, by: str, over: Sequence[str]) -> tuple[list[str], list[Group]]:
    """The keys that are left and, best mean first, the groups of jobs that have a value."""
    keys = [key for key in found.settings if key not in over]
    groups: dict[tuple[str, ...], list[float]] = {}
    for k, value in enumerate(found.metrics[by]):
        if not math.isnan(value):
            groups.setdefault(tuple(found.settings[key][k] for key in keys), []).append(value)
    made = [Group(chosen, values) for chosen, values in groups.items()]
    return keys, sorted(made, key=lambda one: -one.mean if found.high[by] else one.mean)


def _averaged(found: Found, by: str, over: Sequence[str]) -> list[list[str]]:
    keys, groups = grouped(found, by, over)
    head = ["rank", f"{by} mean", "deviation", "n", *keys]
    return [
        head,
        *(
            [
                str(rank),
                f"{one.mean:.6g}",
                "" if math.isnan(one.deviation) else f"{one.deviation:.2g}",
                str(len(one.values)),
                *one.settings,
            ]
            for rank, one in enumerate(groups, start=1)
        ),
    ]


def _jobs(found: Found, order: Sequence[int], by: str) -> list[list[str]]:
    head = ["rank", "job", "status", by, "seconds", *found.settings, "error"]
    return [head, *(_row(found, rank, k, [by]) for rank, k in enumerate(order, start=1))]


def _row(found: Found, rank: int, k: int, metrics: Sequence[str]) -> list[str]:
    line, first = found.lines[k], found.metrics[metrics[0]][k]
    return [
        "" if math.isnan(first) else str(rank),
        str(line.job),
        line.status,
        *("" if math.isnan(value := found.metrics[m][k]) else f"{value:.6g}" for m in metrics),
        f"{line.seconds:.1f}",
        *(column[k] for column in found.settings.values()),
        line.error or "",
    ]


def _write(path: Path, found: Found, order: Sequence[int], by: str) -> None:
    """sweep.csv: every metric of every job."""
    metrics = [by, *(name for name in found.metrics if name != by)]
    head = ["rank", "job", "status", *metrics, "seconds", *found.settings, "error"]
    rows = [_row(found, rank, k, metrics) for rank, k in enumerate(order, start=1)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


def _print(table: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    for row in table:
        cells = zip(row, widths, strict=True)
        print("  ".join(cell.ljust(width) for cell, width in cells).rstrip())


def labels(keys: Mapping[str, object] | Sequence[str]) -> dict[str, str]:
    """Keys by their last names: as few of them as tell one key from the others."""
    made: dict[str, str] = {}
    for key in keys:
        parts = key.lstrip("+~").split(".")
        count = 1
        while (
            count < len(parts)
            and sum(other.split(".")[-count:] == parts[-count:] for other in keys) > 1
        ):
            count += 1
        made[key] = ".".join(parts[-count:])
    return made
