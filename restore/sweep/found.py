"""What the jobs of a sweep have measured."""

import contextlib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore.callback.monitor import best_is_high
from restore.run_files import read_result
from restore.sweep import journal, settings
from restore.sweep.journal import Line
from restore.sweep.ranking import Sweep, swept
from restore.types import InputError


@dataclass(frozen=True)
class Found:
    """All that the jobs of a sweep have measured. Values are by job, NaN where there is none."""

    lines: list[Line]
    settings: dict[str, list[str]]  # what differs between the jobs: a value a job
    metrics: dict[str, list[float]]
    high: dict[str, bool]  # whether higher is better
    records: list[dict[str, Any] | None]  # result.json of each; None where there is none


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
        """The deviation of a sample, divided by n - 1; NaN for a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan


def read(folder: Path) -> Found:
    """The journal with the records of its jobs."""
    sweep, lines = Sweep.read(folder), journal.read(folder)
    records = [_record(folder / line.folder) for line in lines]
    values = [settings.values(record) if record else {} for record in records]
    for line, known in zip(lines, values, strict=True):
        if line.objective is not None:
            known[sweep.objective] = line.objective
    names = dict.fromkeys([sweep.objective, *(name for known in values for name in known)])
    high = {name: best_is_high(name) for name in names}
    for record in records:
        high |= settings.directions(record) if record else {}
    high[sweep.objective] = sweep.direction == "maximize"
    metrics = {name: [known.get(name, math.nan) for known in values] for name in names}
    return Found(lines, swept([line.overrides for line in lines]), metrics, high, records)


def _record(folder: Path) -> dict[str, Any] | None:
    """A job's record; a job that repeats another, or that failed, has none."""
    with contextlib.suppress(InputError):
        return read_result(folder) or None
    return None


def group(found: Found, by: str, over: Sequence[str]) -> tuple[list[str], list[Group]]:
    """The keys that are left and, best mean first, the groups of jobs that have a value.

    A job that repeats another says nothing new: it counts once.
    """
    keys = [key for key in found.settings if key not in over]
    groups: dict[tuple[str, ...], list[float]] = {}
    for k, value in enumerate(found.metrics[by]):
        if not math.isnan(value) and not repeats(found.lines, k):
            groups.setdefault(tuple(found.settings[key][k] for key in keys), []).append(value)
    made = [Group(chosen, values) for chosen, values in groups.items()]
    return keys, sorted(made, key=lambda one: -one.mean if found.high[by] else one.mean)


def repeats(lines: Sequence[Line], number: int) -> bool:
    """Whether the work of a job was done by one before it."""
    own = lines[number]
    return any(one.hash == own.hash and one.folder == own.folder for one in lines[:number])


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
