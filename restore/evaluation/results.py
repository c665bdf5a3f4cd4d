"""experiments/results.csv: every recorded result, appended by programs and never typed."""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from restore.evaluation import record
from restore.evaluation.header import ADDED, FIXED, LOWER
from restore.evaluation.runner import Report
from restore.folder import write_whole
from restore.hashing import sha256_of
from restore.metric.distribution import DistributionMetric
from restore.metric.label import OriginalLabelShare
from restore.types import InputError

# One row each: a later measurement of the same replaces the earlier one.
_KEY = (
    *("experiment", "kind", "checkpoint", "benchmark", "protocol", "n", "seeds"),
    *("sampler", "sampler_settings", "guidance", "precision", "nfe"),
)
# The order of the first metric columns; any other metric gets a column behind them when it comes.
_METRICS = (
    "psnr",
    "ssim",
    "input_psnr",
    "hole_psnr",
    "hole_l1",
    "known_error",
    "original_label_share",
    "diversity",
    "colorfulness",
    "colorfulness_difference",
    "fid_flowers",
    "kid_flowers",
    "lpips_vgg",
    "fid",
    "kid",
)

Row = dict[str, str]


def append(path: Path, reports: Sequence[Report]) -> None:
    """Adds a row a report to the end of the file, under a lock.

    The file is replaced as a whole, so that a reader or a crash never sees half of it. Columns are
    added for new metrics and none is ever taken away.
    """
    new = [row_of(report) for report in reports]
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        columns, rows = read(path)
        own = {_key(row): row for row in new}
        rows = [*(row for row in rows if _key(row) not in own), *own.values()]
        write(path, list(dict.fromkeys([*columns, *(name for row in new for name in row)])), rows)


def read(path: Path) -> tuple[list[str], list[Row]]:
    """Columns and rows; without a file, the columns that one starts with.

    Raises InputError for another header or a row of another length: an edit or a merge gone wrong.
    """
    if not path.exists():
        return [*FIXED, *_METRICS, *ADDED], []
    lines = read_cells(path)
    columns = lines[0] if lines else []
    if tuple(columns[: len(FIXED)]) != FIXED or len(set(columns)) != len(columns):
        raise InputError(f"{path}: its header must start with {','.join(FIXED)}: restore it")
    for number, cells in enumerate(lines, start=1):
        if len(cells) != len(columns):
            raise InputError(
                f"{path} row {number} has {len(cells)} cells, its header {len(columns)}: restore it"
            )
    return columns, [dict(zip(columns, cells, strict=True)) for cells in lines[1:]]


def read_cells(path: Path) -> list[list[str]]:
    """The cells of each line, the header's among them. Raises InputError for what is no CSV."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV in UTF-8 ({error}): restore it") from None


def write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes all or nothing; a row without a column has nothing in it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def row_of(report: Report) -> Row:
    """The cells of a report; metrics with 8 significant digits, `nan` where none was defined."""
    method, benchmark = report.method, report.benchmark
    origin = record.provenance(report.device)
    cells = {
        "experiment": method.name,
        "checkpoint": method.identity or checkpoint_name(method.checkpoint),
        "kind": method.kind,
        "benchmark": benchmark.name,
        "protocol": report.protocol,
        "feature": ";".join(_features(benchmark.metrics)),
        "definitions": ";".join(sorted(metric.definition for metric in benchmark.metrics)),
        "n": len(report.rows),
        "seeds": "" if method.seed is None else method.seed,
        "sampler": method.sampling.sampler,
        "sampler_settings": method.sampling.settings,
        "guidance": method.sampling.guidance,
        "precision": report.precision,
        "nfe": report.num_calls,
        "parameters": method.num_parameters,
        "seconds_per_image": _spelled(report.cost.seconds),
        **{key: origin[key] for key in ("device", "commit", "dirty")},
        **{name: f"{value:.8g}" for name, value in report.summary.items()},
        "macs": "" if report.cost.macs is None else report.cost.macs,
        "cost_size": report.cost.size,
        "peak_memory_mib": _spelled(report.cost.memory_mib),
        "intervals": _intervals(report),
        LOWER: ";".join(one.name for one in benchmark.metrics if not one.higher_is_better),
    }
    return {name: str(cell) for name, cell in cells.items()}


def _intervals(report: Report) -> str:
    return ";".join(
        f"{name}={one.low:.6g}..{one.high:.6g}" for name, one in report.intervals.items()
    )


def _spelled(value: float | None) -> str:
    """Four significant digits; nothing for what is not known."""
    return "" if value is None else f"{value:.4g}"


def checkpoint_name(checkpoint: str) -> str:
    """The name of the file and the start of its SHA-256, wherever it lies."""
    if not checkpoint:
        return ""
    path = Path(checkpoint)
    if path.is_dir():  # outputs: every file of it
        names = sorted(file for file in path.iterdir() if not file.name.startswith("."))
        listing = "".join(f"{file.name} {sha256_of(file)}\n" for file in names)
        return f"{path.name}@{hashlib.sha256(listing.encode()).hexdigest()[:12]}"
    return f"{path.name}@{sha256_of(path)[:12]}"


def _features(metrics: Sequence[object]) -> list[str]:
    """The feature networks that the numbers depend on, each once."""
    names = [m.features for m in metrics if isinstance(m, DistributionMetric)]
    names += [m.classifier.definition for m in metrics if isinstance(m, OriginalLabelShare)]
    return list(dict.fromkeys(names))


def _key(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in _KEY)
