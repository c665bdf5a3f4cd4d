"""Studies: sweeps that are on record, a table for each of their experiments.

A study is a folder experiments/studies/NAME: jobs.csv (a row a job, by `restore sweep DIR...
--record NAME`), commands.sh (what started the jobs) and README.md, which has the tables.
"""

import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from restore.evaluation import spelling
from restore.evaluation.markup import NONE, Table
from restore.evaluation.ranked import lower_is_better
from restore.evaluation.results import Row, read_cells
from restore.types import InputError

FOLDER, JOBS, COMMANDS, PAGE = "studies", "jobs.csv", "commands.sh", "README.md"
NAME = re.compile(r"[a-z0-9_]+")
LENGTHS = "lengths"  # folder of a run: what `restore ema` has measured, as evaluate.py writes it
BLOCK = "study-"  # begins the name of a study's block
COSTS = ("updates", "seconds", "images_per_second", "parameters")  # of a training
MACS = "macs"  # of one sample of one image, by all calls of the network; the first benchmark's
ORIGIN = ("device", "commit", "dirty")
COLUMNS = ("experiment", "settings", "seed", "status", "overrides", *COSTS, MACS, *ORIGIN)
# Accuracies of a discriminator, of which neither the highest nor the lowest is the best.
_VERDICTS = ("val/real_accuracy", "val/fake_accuracy")
_DONE = "done"


def blank_page(name: str) -> str:
    return (
        f"# {name}\n\nMade by [{COMMANDS}]({COMMANDS}); each job is a row of [{JOBS}]({JOBS}).\n\n"
        f"<!-- table:{BLOCK}{name} -->\n<!-- /table -->\n"
    )


def names(root: Path) -> list[str]:
    return sorted(path.parent.name for path in (root / "experiments" / FOLDER).glob(f"*/{JOBS}"))


def studies(root: Path) -> dict[str, list[Table]]:
    """Block name -> tables of the study, one for each experiment in it."""
    found = {}
    for name in names(root):
        rows = read(root, name)
        experiments = dict.fromkeys(row["experiment"] for row in rows)
        found[f"{BLOCK}{name}"] = [
            _table([row for row in rows if row["experiment"] == one]) for one in experiments
        ]
    return found


def read(root: Path, name: str) -> list[Row]:
    """The jobs of a study. Raises InputError for a file that no program has written."""
    path = root / "experiments" / FOLDER / name / JOBS
    lines = read_cells(path)
    whole = {len(cells) for cells in lines} == {len(lines[0]) if lines else 0}
    if not lines or tuple(lines[0][: len(COLUMNS)]) != COLUMNS or not whole:
        raise InputError(f"{path} is no table of jobs: write it by restore sweep DIR --record NAME")
    return [dict(zip(lines[0], cells, strict=True)) for cells in lines[1:]]


def grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Jobs that are done by their settings, which seeds share."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["status"] == _DONE:
            groups.setdefault(row["settings"], []).append(row)
    return groups


def metrics_of(rows: Sequence[Row]) -> list[str]:
    """What benchmarks measured, without buckets, and what a discriminator's verdicts are worth."""
    measured = [key for key in rows[0] if "/" in key and "[" not in key]
    shown = [key for key in measured if not key.startswith("val/") or key in _VERDICTS]
    return [key for key in shown if any(row[key] for row in rows)]


def metric_of(column: str) -> str:
    """The metric of a column BENCHMARK/METRIC."""
    return column.partition("/")[2]


def mean(rows: Sequence[Row], column: str) -> float:
    """Over the jobs that have a value; NaN where none has."""
    values = [float(row[column]) for row in rows if row[column]]
    return statistics.fmean(values) if values else math.nan


def spread(rows: Sequence[Row], column: str) -> str:
    """`27.31 ± 0.12`: the mean and, of several jobs, the deviation of a sample."""
    values = [float(row[column]) for row in rows if row[column]]
    if not values:
        return NONE
    deviation = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return spelling.number(str(statistics.fmean(values))) + deviation


def _table(rows: list[Row]) -> Table:
    groups, metrics = grouped(rows), metrics_of(rows)
    cells, best = [], set()
    for settings, jobs in groups.items():
        lead = [settings or "no more settings", str(len(jobs)), *_costs(jobs)]
        cells.append([*lead, *(spread(jobs, metric) for metric in metrics)])
    for column, metric in enumerate(metrics, start=7):
        values = [mean(jobs, metric) for jobs in groups.values()]
        known = [value for value in values if not math.isnan(value)]
        if metric not in _VERDICTS and len(set(known)) > 1:
            wanted = min(known) if lower_is_better(metric_of(metric), rows) else max(known)
            best |= {(k, column) for k, value in enumerate(values) if value == wanted}
    header = ["settings", "n", "updates", "seconds", "images/s", "parameters", "MACs"]
    titles = [_title(metric, rows) for metric in metrics]
    return Table(_caption(rows), [*header, *titles], cells, best)


def _costs(jobs: Sequence[Row]) -> list[str]:
    updates, seconds, pace, parameters = (mean(jobs, key) for key in COSTS)
    size = spelling.millions(int(parameters))
    return [f"{updates:.0f}", f"{seconds:.0f}", f"{pace:.3g}", size, spelling.macs(jobs[0])]


def _title(metric: str, rows: Sequence[Row]) -> str:
    if metric in _VERDICTS:
        return metric
    return f"{metric} {'↓' if lower_is_better(metric_of(metric), rows) else '↑'}"


def _caption(rows: Sequence[Row]) -> str:
    lost = sum(row["status"] != _DONE for row in rows)
    devices = " and ".join(sorted({row["device"] for row in rows} - {""}))
    commits = sorted({(row["commit"], row["dirty"] == "True") for row in rows if row["device"]})
    made = ", ".join(spelling.commit(*one) for one in commits)
    failed = f"; {lost} of {len(rows)} jobs were not measured" if lost else ""
    return (
        f"{rows[0]['experiment']}: mean and standard deviation of n seeds, on {devices}, at commit "
        f"{made}; seconds and images/s are of a machine that may have had other work{failed}"
    )
