"""restore sweep DIR... --record NAME: what sweeps have found, kept beside the results."""

import csv
import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from restore.evaluation import studies
from restore.evaluation.evaluate import results_file
from restore.evaluation.header import LOWER
from restore.evaluation.results import Row, write
from restore.folder import write_whole
from restore.sweep import found, settings
from restore.sweep.journal import Line
from restore.sweep.ranking import Sweep, swept
from restore.types import InputError

_NAMED = ("experiment", "seed")  # settings with a column of their own
_SILENT = ("trainer.val_check_interval",)  # changes no weight
_AVERAGE = re.compile(r"ema_([0-9.]+)\.ckpt")
_LENGTH = "average="


def keep(folders: Sequence[Path], name: str, root: Path | None = None) -> int:
    """Writes experiments/studies/NAME: jobs.csv, commands.sh and, where there is none, README.md.

    Several sweeps are one study, whose jobs differ in what was given to any of them. Jobs that the
    study has already, or an earlier one of the sweeps, stay, but for those that are measured again.
    What `restore ema` has measured of a job is a row more for each length.

    Raises InputError for a name that is no folder's, or where no job was measured.
    """
    if not studies.NAME.fullmatch(name):
        raise InputError(f"--record {name} names a folder: use small letters, digits and _")
    place = (root or results_file().parent) / studies.FOLDER / name
    measured = [_measured(folder) for folder in folders]
    if not any(row["device"] for one in measured for row in one):
        raise InputError(f"{', '.join(map(str, folders))}: no job has been measured")
    rows = studies.read(place.parents[2], name) if (place / studies.JOBS).exists() else []
    for one in measured:
        again = {row["overrides"] for row in one}
        rows = [*(row for row in rows if row["overrides"] not in again), *one]
    for experiment in dict.fromkeys(row["experiment"] for row in rows):
        _set_apart([row for row in rows if row["experiment"] == experiment])
    _write(place, folders, rows)
    print(place)
    print(f"next: make tables, which writes the table of {place / studies.PAGE}")
    return 0


def _measured(folder: Path) -> list[Row]:
    """A row for each job of a sweep that repeats no other, and for each average of other length
    that it has."""
    read, rows = found.read(folder), []
    for k, (line, record) in enumerate(zip(read.lines, read.records, strict=True)):
        if found.repeats(read.lines, k):
            continue
        values = {metric: column[k] for metric, column in read.metrics.items()}
        row = _row(line, record) | _spelled(values)
        rows += [row, *_averages(folder / line.folder, row)]
    return rows


def _averages(job: Path, row: Row) -> list[Row]:
    path = job / studies.LENGTHS / "results.csv"
    if not path.is_file():
        return []
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for measured in csv.DictReader(file):
            length = _AVERAGE.search(Path(measured["checkpoint"]).name)
            prefix = f"{measured['benchmark']}/"
            known = {
                key: float(measured.get(key.removeprefix(prefix)) or "nan")
                for key in row
                if key.startswith(prefix)
            }
            if length is not None:
                unmeasured = {key: "" for key in row if "/" in key}
                rows.append(
                    row | unmeasured | _spelled(known) | {"settings": f"{_LENGTH}{length[1]}"}
                )
    return rows


def _write(place: Path, folders: Sequence[Path], rows: Sequence[Row]) -> None:
    named = dict.fromkeys(key for row in rows for key in row)
    added = [key for key in named if "/" in key or key == LOWER]
    place.mkdir(parents=True, exist_ok=True)
    write(place / studies.JOBS, [*studies.COLUMNS, *added], rows)
    known = place / studies.COMMANDS
    before = known.read_text(encoding="utf-8").splitlines(keepends=True) if known.exists() else []
    write_whole(known, "".join(dict.fromkeys([*before, *map(_command, folders)])))
    page = place / studies.PAGE
    if not page.exists():
        write_whole(page, studies.blank_page(place.name))


def _set_apart(rows: Sequence[Row]) -> None:
    """Tells what differs between the jobs of one experiment, seeds left out."""
    differing = swept([shlex.split(row["overrides"]) for row in rows])
    columns = {key: column for key, column in differing.items() if key not in (*_NAMED, *_SILENT)}
    for k, row in enumerate(rows):
        told = [f"{key.lstrip('~+')}={column[k]}" for key, column in columns.items() if column[k]]
        length = [word for word in row["settings"].split() if word.startswith(_LENGTH)]
        row["settings"] = " ".join([*told, *length])


def _row(line: Line, record: dict[str, Any] | None) -> Row:
    given = dict(one.split("=", 1) for one in line.overrides if "=" in one)
    told = record or {}
    training = told.get("training", {})
    measured: dict[str, Any] = next(iter(told.get("evaluation", [])), {})
    cells = {
        "experiment": told.get("experiment", given.get("experiment", "")),
        "settings": "",
        "seed": told.get("seed", given.get("seed", "")),
        "status": line.status,
        "overrides": shlex.join(line.overrides),
        **{key: training.get(key, "") for key in studies.COSTS},
        studies.MACS: measured.get(studies.MACS) or "",
        **{key: told.get(key, "") for key in studies.ORIGIN},
    }
    high = settings.directions(record) if record else {}
    low = [key for key in high if not (high[key] or key.startswith("val/") or "[" in key)]
    cells[LOWER] = ";".join(dict.fromkeys(map(studies.metric_of, low)))
    return {key: str(value) for key, value in cells.items()}


def _spelled(known: dict[str, float]) -> dict[str, str]:
    return {key: f"{value:.8g}" for key, value in known.items() if not math.isnan(value)}


def _command(folder: Path) -> str:
    """The line that started a sweep, without its folder."""
    return f"python train.py {shlex.join(Sweep.read(folder).arguments())}\n"
