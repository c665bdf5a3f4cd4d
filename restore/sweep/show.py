"""restore sweep DIR: what a sweep has found, as a table and a picture."""

import csv
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

from restore import columns
from restore.folder import write_whole
from restore.recovery import lock
from restore.sweep import again, journal, plot
from restore.sweep.found import Found, group, read
from restore.sweep.ranking import Sweep
from restore.types import InputError

SEED = "seed"


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
        columns.show(_averaged(found, by, over))
    else:
        columns.show(_jobs(found, order, by))
    _tell_open(folder, found, sweep.jobs)
    print(folder / "sweep.csv")
    # Seeds alone are what there is to see.
    averaged = list(over) or ([SEED] if found.settings.keys() > {SEED} else [])
    if found.settings.keys() - {*averaged} and not all(map(math.isnan, found.metrics[by])):
        plot.draw(folder / "sweep.png", found, by, averaged)
        print(folder / "sweep.png")
    return 0


def _tell_open(folder: Path, found: Found, num_jobs: int | None) -> None:
    """Prints which jobs have not ended by themselves, and what goes on with them."""
    ended = {line.folder for line in found.lines if line.status != journal.INTERRUPTED}
    logs = folder.rglob("train.log")
    begun = sorted({os.path.relpath(log.parent, folder) for log in logs} - ended)
    running = [name for name in begun if lock.holder(folder / name) is not None]
    if running:
        print(f"running: job {', '.join(running)}")
        return
    cut_off = [f"cut off: job {', '.join(begun)}"] if begun else []
    done = sum(line.status != journal.INTERRUPTED for line in found.lines)
    waiting = 0 if num_jobs is None else num_jobs - done - len(begun)
    if waiting > 0 and lock.holder(folder) is None:
        cut_off.append(f"not begun: {waiting} of {num_jobs} jobs")
    if cut_off:
        print(f"{'; '.join(cut_off)}; to go on: {again.own(folder)}")


def _check(found: Found, by: str, over: Sequence[str]) -> None:
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


def _averaged(found: Found, by: str, over: Sequence[str]) -> list[list[str]]:
    keys, groups = group(found, by, over)
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
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([head, *rows])
    write_whole(path, table.getvalue())
