"""The table of the trainings on record."""

import json
from pathlib import Path
from typing import Any

from restore.evaluation import spelling
from restore.evaluation.markup import NONE, Table
from restore.run_files import RESULT
from restore.types import InputError


def trainings(folder: Path) -> list[Table]:
    """A line for each experiments/<name>/result.json: what training cost and what came out."""
    header = ["experiment", "updates", "seconds", "images/s", "parameters", "device", "commit"]
    rows = [_record(path) for path in sorted(folder.glob(f"*/{RESULT}"))]
    return [Table("Trainings on record", [*header, "results"], rows)] if rows else []


def _record(path: Path) -> list[str]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        training = record["training"]
        numbers = [training[key] for key in ("updates", "seconds", "images_per_second")]
        found = "; ".join(
            f"{one['benchmark']}: "
            + ", ".join(
                f"{metric} {spelling.number(str(value))}"
                for metric, value in one["metrics"].items()
                if value is not None and "[" not in metric
            )
            for one in record["evaluation"]
        )
        origin = [record["device"], spelling.commit(record["commit"], record["dirty"])]
        size = spelling.millions(training["parameters"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no record of a training ({error!r}): write it anew") from error
    return [path.parent.name, *map(str, numbers), size, *origin, found or NONE]
