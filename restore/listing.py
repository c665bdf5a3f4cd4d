"""`restore list`: the trainings of some folders, and the models that come with restore.

Importing this module must stay instant.
"""

import argparse
import contextlib
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from restore import columns, run_files
from restore.errors import DONE
from restore.folder import HOMES
from restore.recovery import lock
from restore.released import Released, released
from restore.types import InputError

RUNNING, FINISHED, INTERRUPTED, DAMAGED = "running", "done", "interrupted", "damaged"
RELEASED = "released"
ABOUT = "the trainings here: task, data, updates, metric, size, state"
EXAMPLES = """examples:
  restore list                            released models; outputs/ and multirun/ of this folder
  restore list /scratch/mine --json       a line of JSON for each training
  restore list --state interrupted        what could go on"""


@dataclass(frozen=True)
class Row:
    """A training. updates: of its network so far; metric: the first of its benchmarks, or the best
    that validation has logged of what its best checkpoint is chosen by; size: bytes on the disk."""

    name: str
    task: str
    data: str
    updates: int | None
    of: int | None  # max_updates
    metric: str
    value: float | None
    size: int
    when: str  # it began, in ISO 8601
    state: str


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders",
        metavar="DIR",
        nargs="*",
        type=Path,
        help=f"default: {' and '.join(map(str, HOMES))}",
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each")
    parser.add_argument(
        "--state",
        choices=(RELEASED, RUNNING, FINISHED, INTERRUPTED),
        help="only those in this state",
    )
    parser.set_defaults(command=lambda given: show(given.folders, given.json, given.state))


def show(folders: Sequence[Path], as_json: bool, state: str | None) -> int:
    """Prints a table of the trainings below some folders, the newest last.

    folders: by default outputs/ and multirun/, where they exist; then the released models come
    first.

    Raises InputError for a folder that is named and not there.
    """
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder: name one that holds run folders")
    chosen = folders or [home for home in HOMES if home.is_dir()]
    found = sorted((row(path) for folder in chosen for path in runs(folder)), key=_age)
    every = found if folders else [*map(_released, released()), *found]
    found = [one for one in every if state in (None, one.state)]
    if as_json:
        for one in found:
            print(json.dumps(asdict(one)))
    elif found:
        columns.show([_HEAD, *map(_cells, found)])
    else:
        where = ", ".join(map(str, folders or HOMES))
        print(f"no {state + ' ' if state else ''}trainings in {where}")
    return DONE


def _age(one: Row) -> tuple[str, str]:
    return one.when, one.name


def runs(folder: Path) -> Iterator[Path]:
    """The run folders at or below a folder; none is looked for inside another."""
    for place, below, files in os.walk(folder):
        if run_files.RUN in files or (run_files.CONFIG in files and run_files.CHECKPOINTS in below):
            below.clear()
            yield Path(place)
        below.sort()


def row(folder: Path) -> Row:
    """What the files of a run folder say of it; a broken one is "damaged", and the others go on."""
    begun = datetime.fromtimestamp(folder.stat().st_mtime).astimezone().isoformat("T", "seconds")
    try:
        config, record = run_files.read_config(folder), _record(folder)
        logged = run_files.read_metrics(folder)
        identity = lock.identity(folder) or {}
        begun = str(identity.get("started", begun))
        metric, value = _metric(config, record, logged)
        steps = [int(float(one["step"])) for one in logged if one.get("step")] + _saved(folder)
        updates = record["training"]["updates"] if record else max(steps, default=0)
        busy = lock.holder(folder) is not None
        state = RUNNING if busy else FINISHED if record else INTERRUPTED
        named = _last(config["task"]["_target_"]), _data(folder, config)
        of = config.get("max_updates") if isinstance(config.get("max_updates"), int) else None
        size = _size(folder)
        return Row(str(folder), *named, updates, of, metric, value, size, begun, state)
    except (InputError, AttributeError, KeyError, TypeError, ValueError):
        return Row(str(folder), "", "", None, None, "", None, _size(folder), begun, DAMAGED)


def _saved(folder: Path) -> list[int]:
    """The updates of the recovery points, which may lie behind what was logged last."""
    names = (path.name for path in folder.glob(f"{run_files.CHECKPOINTS}/recovery-*"))
    return [int(found[1]) for name in names if (found := re.match(r"recovery-(\d+)\.", name))]


def _released(model: Released) -> Row:
    """What the JSON file of a released model says; its weights are not read."""
    record = model.said.get("record") or {}
    metric, value = _metric({"callback": {}}, record, [])
    if value is None:
        metric, value = _checked(model.said.get("check") or {})
    updates = int(model.said["progress"]["updates"])
    known = (model.name, model.task, "+".join(map(_last, model.data)))
    size = _size(model.folder)
    return Row(*known, updates, None, metric, value, size, "", RELEASED)


def _checked(check: dict[str, Any]) -> tuple[str, float | None]:
    """What its export measured by the model's own sampler: numbers of another say little."""
    for benchmark, one in check.items():
        if not one.get("with"):
            return f"{benchmark}/{one['metric']}", float(one["value"])
    return "", None


def _record(folder: Path) -> dict[str, Any]:
    """result.json, unless the run has gone on since and is not done again."""
    path, config = folder / run_files.RESULT, folder / run_files.CONFIG
    if not path.is_file() or path.stat().st_mtime_ns < config.stat().st_mtime_ns:
        return {}
    return run_files.read_result(folder)


def _metric(
    config: dict[str, Any], record: dict[str, Any], logged: list[dict[str, str]]
) -> tuple[str, float | None]:
    for report in record.get("evaluation", []):
        for name, value in report["metrics"].items():
            if value is not None:
                return f"{report['benchmark']}/{name}", float(value)
    best = config["callback"].get("best") or {}
    monitor = str(best.get("monitor") or "val/loss")
    values = [float(one[monitor]) for one in logged if one.get(monitor)]
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return "", None
    from restore.callback.monitor import best_is_high

    return monitor, max(values) if best_is_high(monitor) else min(values)


def _data(folder: Path, config: dict[str, Any]) -> str:
    """The choice of conf/data/, where Hydra's record has it; else the class of the source."""
    path = folder / ".hydra" / "hydra.yaml"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        name, _, value = line.strip().partition(": ")
        if name == "data" and value:
            return value
    return _last((config["data"].get("source") or {}).get("_target_"))


def _last(target: Any) -> str:
    return str(target or "").rpartition(".")[2]


def _size(folder: Path) -> int:
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # a living run takes files away
                size += (Path(place) / name).lstat().st_size
    return size


_HEAD = ["name", "task", "data", "updates", "metric", "value", "size", "began", "state"]


def _cells(one: Row) -> list[str]:
    updates = "" if one.updates is None else str(one.updates)
    if one.of is not None and one.state != FINISHED:
        updates += f"/{one.of}"
    value = "" if one.value is None else f"{one.value:.4g}"
    size = f"{one.size / 2**20:.1f} MiB"
    when = one.when[:16].replace("T", " ")
    return [one.name, one.task, one.data, updates, one.metric, value, size, when, one.state]
