"""From recorded results to tables: a headline, one a benchmark, and the trainings on record."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from restore.evaluation import results
from restore.evaluation.markup import NONE, Table
from restore.evaluation.plot import buckets_of
from restore.evaluation.results import FIXED, Row
from restore.types import InputError

_LOWER = ("hole_l1", "known_error", "colorfulness_difference", "lpips_", "fid", "kid")
_KINDS = ("baseline", "published", "model")
_HEADLINE = (
    "psnr",
    "ssim",
    "hole_psnr",
    "original_label_share",
    "colorfulness_difference",
    "lpips_vgg",
    "fid_flowers",
    "fid_scenes",
    "fid",
)


def lower_is_better(metric: str) -> bool:
    return metric.startswith(_LOWER)


def tables(root: Path) -> dict[str, list[Table]]:
    """Block name -> its tables: `headline`, `records` and every benchmark that has results."""
    columns, rows = results.read(root / "experiments" / "results.csv")
    metrics = [name for name in columns if name not in FIXED]
    rows.sort(key=lambda row: (_KINDS.index(row["kind"]), row["experiment"], int(row["nfe"])))
    published = _published(root / "experiments" / "published.csv")
    found = {"headline": _headline(rows, metrics), "records": _records(root / "experiments")}
    for name in sorted({row["benchmark"] for row in rows}):
        mine = [row for row in rows if row["benchmark"] == name]
        references = [row for row in published if row["benchmark"] == name]
        found[name] = _benchmark(name, mine, metrics, references)
    return found


def _published(path: Path) -> list[Row]:
    """Rows of benchmark, n, method, metric, value, source; none without the file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _headline(rows: list[Row], metrics: list[str]) -> list[Table]:
    models = [row for row in rows if row["kind"] == "model"]
    if not models:
        return []
    shown = [m for m in metrics if m in _HEADLINE and any(row[m] for row in models)]
    lead = {"benchmark": lambda row: row["benchmark"], "n": lambda row: row["n"]}
    caption = "Every checkpoint on record; experiments/README.md has all metrics and the baselines."
    return [_measured(caption, models, shown, lead)]


def _benchmark(
    name: str, rows: list[Row], metrics: list[str], references: list[Row]
) -> list[Table]:
    """For each protocol and n, the means and, where there are buckets, a table a metric.

    Published numbers stand beside rows of as many images as they are of.
    """
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((int(row["n"]), row["protocol"]), []).append(row)
    made = []
    for (n, protocol), mine in sorted(groups.items(), reverse=True):
        present = [metric for metric in metrics if any(row[metric] for row in mine)]
        features = sorted({row["feature"] for row in mine} - {""})
        caption = f"{name}: n = {n}, protocol {protocol}"
        caption += f", features {', '.join(features)}" if features else ""
        table = _measured(caption, mine, [m for m in present if "[" not in m], {})
        made.append(_with_published(table, [one for one in references if int(one["n"]) == n]))
        for metric, buckets in buckets_of(present).items():
            keys = [f"{metric}[{bucket}]" for bucket in buckets]
            arrow = "↓" if lower_is_better(metric) else "↑"
            cells = [[row["experiment"], *(_number(row[key]) for key in keys)] for row in mine]
            best = _best(mine, keys)
            title = f"{name}: {metric} {arrow} by bucket, n = {n}, protocol {protocol}"
            made.append(Table(title, ["method", *buckets], cells, best))
    return made


def _measured(
    caption: str, rows: list[Row], metrics: list[str], lead: dict[str, Callable[[Row], str]]
) -> Table:
    """A row a result: its name, `lead` columns, metrics and what they cost."""
    tail: dict[str, Callable[[Row], str]] = {
        "NFE": lambda row: row["nfe"],
        "parameters": lambda row: _millions(int(row["parameters"])),
        "s/image": lambda row: row["seconds_per_image"],
        "device": lambda row: row["device"],
        "seeds": lambda row: row["seeds"] or NONE,
        "commit": lambda row: _commit(row["commit"], row["dirty"] == "True"),
    }
    arrows = [f"{metric} {'↓' if lower_is_better(metric) else '↑'}" for metric in metrics]
    cells = [
        [
            row["experiment"],
            *(cell(row) for cell in lead.values()),
            *(_number(row[metric]) for metric in metrics),
            *(cell(row) for cell in tail.values()),
        ]
        for row in rows
    ]
    best = set() if lead else _best(rows, metrics)
    return Table(caption, ["method", *lead, *arrows, *tail], cells, best)


def _with_published(table: Table, references: list[Row]) -> Table:
    """A column with the numbers of others and their source; a row for what was not measured."""
    if not references:
        return table
    names = [row[0] for row in table.rows]
    rows = [list(row) for row in table.rows]
    rows += [
        [name, *[NONE] * (len(table.header) - 1)]
        for name in dict.fromkeys(one["method"] for one in references)
        if name not in names
    ]
    metric = references[0]["metric"]
    values = {one["method"]: one for one in references}
    for row in rows:
        one = values.get(row[0])
        row += [one["value"], one["source"]] if one else [NONE, NONE]
    header = [*table.header, f"{metric} as published", "source"]
    return Table(table.caption, header, rows, table.best)


def _best(rows: list[Row], metrics: list[str]) -> set[tuple[int, int]]:
    """(row, column) of each metric's best value, as shown, behind a first column of names.

    None where all are equal, as the PSNR of the input is.
    """
    found = set()
    for column, metric in enumerate(metrics, start=1):
        shown = [float(_number(row[metric]).replace(NONE, "nan")) for row in rows]
        defined = [value for value in shown if not math.isnan(value)]
        if len(set(defined)) > 1:
            best = min(defined) if lower_is_better(metric) else max(defined)
            found |= {(k, column) for k, value in enumerate(shown) if value == best}
    return found


def _records(folder: Path) -> list[Table]:
    """A line an experiments/<name>/result.json: what training cost and what came out."""
    header = ["experiment", "updates", "seconds", "images/s", "parameters", "device", "commit"]
    rows = [_record(path) for path in sorted(folder.glob("*/result.json"))]
    return [Table("Trainings on record", [*header, "results"], rows)] if rows else []


def _record(path: Path) -> list[str]:
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        training = record["training"]
        numbers = [training[key] for key in ("updates", "seconds", "images_per_second")]
        found = "; ".join(
            f"{one['benchmark']}: "
            + ", ".join(
                f"{metric} {_number(str(value))}"
                for metric, value in one["metrics"].items()
                if value is not None and "[" not in metric
            )
            for one in record["evaluation"]
        )
        origin = [record["device"], _commit(record["commit"], record["dirty"])]
        size = _millions(training["parameters"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no record of a training ({error!r}): write it anew") from error
    return [path.parent.name, *map(str, numbers), size, *origin, found or NONE]


def _number(cell: str) -> str:
    """Four significant digits."""
    return NONE if cell in ("", "nan") else f"{float(cell):#.4g}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count else NONE


def _commit(commit: str, dirty: bool) -> str:
    return f"{commit[:8]}{' (dirty)' if dirty else ''}" if commit else NONE
