"""python -m restore.evaluation.migration: results.csv of an older version gets today's columns.

Rows of before had no word on samplers, precision and the metrics' definitions. All of them were
measured in float32. A row of several network calls is of the one sampler of conf/sampler/ that
costs as many; definitions are those of the records experiments/<name>/result.json.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from restore.build import build
from restore.diffusion.schedule import Cosine
from restore.evaluation import results
from restore.evaluation.method import SamplingRecord, sampling_of
from restore.evaluation.results import FIXED, Row
from restore.precision import EXACT
from restore.types import InputError

ROOT = Path(__file__).resolve().parents[2]
ADDED = ("definitions", "sampler", "sampler_settings", "guidance", "precision")


def migrate(path: Path, conf: Path) -> int:
    """Rewrites the file at <repository>/experiments/results.csv; returns the number of rows.

    Raises InputError for a header that is no older one, or a row that no sampler explains.
    """
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    columns = lines[0] if lines else []
    older = [name for name in FIXED if name not in ADDED]
    if columns[: len(older)] != older:
        raise InputError(f"{path}: its header is none of an older version: nothing was changed")
    definitions, samplers = _definitions(path.parent), _samplers(conf / "sampler")
    rows = [dict(zip(columns, cells, strict=True)) for cells in lines[1:]]
    moved = [_moved(row, columns[len(older) :], definitions, samplers) for row in rows]
    results.write(path, [*FIXED, *columns[len(older) :]], moved)
    return len(moved)


def _moved(
    row: Row, metrics: list[str], definitions: dict[str, str], samplers: dict[int, SamplingRecord]
) -> Row:
    measured = [name for name in metrics if row[name] and "[" not in name]
    unknown = [name for name in measured if name not in definitions]
    calls = int(row["nfe"])
    if unknown or (calls > 1 and calls not in samplers):
        what = f"metric {unknown[0]}" if unknown else f"{calls} network calls"
        raise InputError(f"results.csv: no record says what {what} of {row['experiment']} is")
    sampling = samplers[calls] if calls > 1 else SamplingRecord()
    return {
        **row,
        "checkpoint": row["checkpoint"].rpartition("/")[2],
        "definitions": ";".join(sorted(definitions[name] for name in measured)),
        "sampler": sampling.sampler,
        "sampler_settings": sampling.settings,
        "guidance": sampling.guidance,
        "precision": EXACT,
    }


def _definitions(folder: Path) -> dict[str, str]:
    """Metric -> definition, from all records."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*/result.json")):
        for one in json.loads(path.read_text(encoding="utf-8"))["evaluation"]:
            found |= one["definitions"]
    return found


def _samplers(folder: Path) -> dict[int, SamplingRecord]:
    """Network calls -> the one sampler with so many; none where two have."""
    found: dict[int, list[SamplingRecord]] = {}
    for path in sorted(folder.glob("*.yaml")):
        node: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        calls = build(node, f"sampler.{path.stem}").num_calls(Cosine())
        found.setdefault(calls, []).append(sampling_of({"sampler": node}))
    return {calls: named[0] for calls, named in found.items() if len(named) == 1}


if __name__ == "__main__":
    try:
        print(f"{migrate(ROOT / 'experiments' / 'results.csv', ROOT / 'conf')} rows migrated")
    except InputError as error:
        sys.exit(f"error: {error}")
