"""restore sweep DIR... --record NAME: what sweeps have found, kept beside the results."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from restore.evaluation import studies
from restore.evaluation.evaluate import results_file
from restore.evaluation.results import Row, write
from restore.folder import write_whole
from restore.sweep import found
from restore.sweep.journal import Line
from restore.sweep.ranking import Sweep, swept
from restore.types import InputError

_NAMED = ("experiment", "seed")  # settings with a column of their own


def keep(folders: Sequence[Path], name: str, root: Path | None = None) -> int:
    """Writes experiments/studies/NAME: jobs.csv, commands.sh and, where there is none, README.md.

    Several sweeps are one study, whose jobs differ in what was given to any of them. Jobs that the
    study has of other experiments stay.

    Raises InputError for a name that is no folder's, or where no job was measured.
    """
    if not studies.NAME.fullmatch(name):
        raise InputError(f"--record {name} names a folder: use small letters, digits and _")
    place = (root or results_file().parent) / studies.FOLDER / name
    read = [found.read(one) for one in folders]
    lines = [line for one in read for line in one.lines]
    records = [record for one in read for record in one.records]
    values = [
        {metric: column[k] for metric, column in one.metrics.items()}
        for one in read
        for k in range(len(one.lines))
    ]
    if not any(records):
        raise InputError(f"{', '.join(map(str, folders))}: no job has been measured")
    jobs = list(zip(lines, records, values, strict=True))
    rows = [_row(line, record) | _spelled(known) for line, record, known in jobs]
    for experiment in dict.fromkeys(row["experiment"] for row in rows):
        own = [k for k, row in enumerate(rows) if row["experiment"] == experiment]
        for k, settings in zip(own, _settings([lines[k] for k in own]), strict=True):
            rows[k]["settings"] = settings
    _write(place, folders, rows)
    print(place)
    return 0


def _write(place: Path, folders: Sequence[Path], rows: Sequence[dict[str, str]]) -> None:
    others, commands = _others(place, {row["experiment"] for row in rows})
    rows = [*others, *rows]
    metrics = [key for key in dict.fromkeys(k for row in rows for k in row) if "/" in key]
    place.mkdir(parents=True, exist_ok=True)
    write(place / studies.JOBS, [*studies.COLUMNS, *metrics], rows)
    lines = dict.fromkeys([*commands, *map(_command, folders)])
    write_whole(place / studies.COMMANDS, "".join(lines))
    page = place / studies.PAGE
    if not page.exists():
        write_whole(page, studies.blank_page(place.name))


def _others(place: Path, measured: set[str]) -> tuple[list[Row], list[str]]:
    """Jobs and commands that a study has of experiments which are not measured now."""
    if not (place / studies.JOBS).exists():
        return [], []
    jobs = studies.read(place.parents[2], place.name)
    lines = (place / studies.COMMANDS).read_text(encoding="utf-8").splitlines(keepends=True)
    now = {f"experiment={one}" for one in measured}
    return (
        [row for row in jobs if row["experiment"] not in measured],
        [line for line in lines if not now & set(shlex.split(line))],
    )


def _settings(lines: Sequence[Line]) -> list[str]:
    """What differs between jobs of one experiment, seeds left out: a text a job."""
    columns = {key: column for key, column in swept(lines).items() if key not in _NAMED}
    return [
        " ".join(f"{key}={column[k]}" for key, column in columns.items() if column[k])
        for k in range(len(lines))
    ]


def _row(line: Line, record: dict[str, Any] | None) -> dict[str, str]:
    given = dict(one.split("=", 1) for one in line.overrides if "=" in one)
    told = record or {}
    training = told.get("training", {})
    measured: dict[str, Any] = next(iter(told.get("evaluation", [])), {})
    cells = {
        "experiment": told.get("experiment", given.get("experiment", "")),
        "seed": told.get("seed", given.get("seed", "")),
        "status": line.status,
        "overrides": shlex.join(line.overrides),
        **{key: training.get(key, "") for key in studies.COSTS},
        studies.MACS: measured.get(studies.MACS) or "",
        **{key: told.get(key, "") for key in studies.ORIGIN},
    }
    return {key: str(value) for key, value in cells.items()}


def _spelled(known: dict[str, float]) -> dict[str, str]:
    return {key: f"{value:.8g}" for key, value in known.items() if not math.isnan(value)}


def _command(folder: Path) -> str:
    """The line that started a sweep, without its folder."""
    return f"python train.py {shlex.join(Sweep.read(folder).arguments())}\n"
