"""The files of a run folder: their names, and what those say that every reader takes alike.

Importing this module must stay instant.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

from restore.types import InputError

LOCK, RUN = ".lock", "run.json"  # of restore.recovery.lock
CONFIG, RESULT, METRICS = "config.yaml", "result.json", "metrics.csv"
CHECKPOINTS = "checkpoints"  # a folder
SWEEP = "sweep.json"  # in a folder above a job's


def sweep_of(run: Path) -> Path | None:
    """The folder of the sweep that a run is a job of."""
    return next((one for one in run.absolute().parents if (one / SWEEP).is_file()), None)


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved config. Raises InputError where there is none, or one that cannot be read."""
    import yaml  # type: ignore[import-untyped]

    path, loader = folder / CONFIG, getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), loader)
    except FileNotFoundError:
        raise InputError(f"{folder} holds no {CONFIG}: name the folder of a run") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read: {reason}") from None
    if not isinstance(config, dict):
        raise InputError(f"{path} cannot be read: it is no mapping")
    return config


def read_result(folder: Path) -> dict[str, Any]:
    """The record of a run; empty where it has not ended. Raises InputError for one that is
    broken."""
    path = folder / RESULT
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is no record of a run: {error}") from None
    if not isinstance(record, dict):
        raise InputError(f"{path} is no record of a run: it is no mapping")
    return record


def read_metrics(folder: Path) -> list[dict[str, str]]:
    """What was logged: name -> cell of every row, "" where it has none. A last line that a crash
    has cut is none."""
    path = folder / METRICS
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        text = file.read()
    return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))
