"""What people and programs read of reports: tables, CSV files, pictures."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from restore.evaluation import plot, results
from restore.evaluation.comparison import Difference, differences
from restore.evaluation.results import checkpoint_name
from restore.evaluation.runner import Report
from restore.picture import save

WIDTH = 100  # characters of a printed table


def describe(report: Report) -> dict[str, Any]:
    """What was measured, how, on how much, at what cost, and what came out."""
    cost = report.cost
    return {
        "method": report.method.name,
        "kind": report.method.kind,
        "benchmark": report.benchmark.name,
        "protocol": report.protocol,
        "n": len(report.rows),
        "samples": report.benchmark.num_samples,
        "checkpoint": report.method.identity or checkpoint_name(report.method.checkpoint),
        "sampler": report.method.sampling.sampler,
        "sampler_settings": report.method.sampling.settings,
        "guidance": report.method.sampling.guidance,
        "precision": report.precision,
        "nfe": report.num_calls,
        "parameters": report.method.num_parameters,
        "metrics": report.summary,
        "definitions": {m.name: m.definition for m in report.benchmark.metrics},
        "higher_is_better": {m.name: m.higher_is_better for m in report.benchmark.metrics},
        "seconds_per_image": None if cost.seconds is None else round(cost.seconds, 5),
        "macs": cost.macs,
        "cost_size": cost.size,
        "peak_memory_mib": None if cost.memory_mib is None else round(cost.memory_mib, 1),
        "intervals": {name: [one.low, one.high] for name, one in report.intervals.items()},
    }


def label(reports: list[Report]) -> list[tuple[str, Report]]:
    """Every report with its method's name, numbered where several methods share one."""
    methods = {id(report.method): report.method for report in reports}
    shared = Counter(method.name for method in methods.values())
    seen: Counter[str] = Counter()
    names = {}
    for key, method in methods.items():
        seen[method.name] += 1
        number = f"#{seen[method.name]}" if shared[method.name] > 1 else ""
        names[key] = method.name + number
    return [(names[id(report.method)], report) for report in reports]


def legend(reports: list[Report]) -> list[str]:
    """What tells methods of one name apart: a line each, checkpoint and sampling."""
    lines = {
        name: ", ".join(filter(None, (report.method.checkpoint, str(report.method.sampling))))
        for name, report in label(reports)
        if name != report.method.name
    }
    return [f"{name}: {said}" for name, said in lines.items() if said]


def by_benchmark(reports: list[Report]) -> dict[str, list[tuple[str, Report]]]:
    """Benchmark -> its reports with their labels."""
    groups: dict[str, list[tuple[str, Report]]] = {}
    for name, report in label(reports):
        groups.setdefault(report.benchmark.name, []).append((name, report))
    return groups


def write(folder: Path, reports: list[Report]) -> None:
    """results.csv, per_image.csv, differences.csv and pictures into the run folder."""
    if not reports:
        return
    write_summary(folder / "results.csv", reports)
    write_per_image(folder / "per_image.csv", reports)
    write_differences(folder / "differences.csv", reports)
    write_pictures(folder, reports)


def print_table(reports: list[Report]) -> None:
    """Prints a row for each method and a column for each metric; in parts where it is too wide."""
    console = Console(width=WIDTH, markup=False, highlight=False)  # names are no markup
    groups: dict[tuple[str, str, int], list[tuple[str, Report]]] = {}
    for name, report in label(reports):
        key = (report.benchmark.name, report.protocol, len(report.rows))
        groups.setdefault(key, []).append((name, report))
    for (benchmark, protocol, num_images), named in groups.items():
        parts = _parts(table_columns(named))
        for number, part in enumerate(parts, start=1):
            suffix = f", part {number} of {len(parts)}" if len(parts) > 1 else ""
            title = f"{benchmark} (n={num_images}, protocol {protocol}{suffix})"
            console.print(title)  # a rich title wraps at the table's width
            table = Table()
            for k, (header, *_) in enumerate(part):
                table.add_column(header, justify="right" if k else "left", no_wrap=True)
            for row in zip(*[cells for _, *cells in part], strict=True):
                table.add_row(*row)
            console.print(table)
        for note in _notes(named):
            console.print(note)
    for line in legend(reports):
        console.print(line, soft_wrap=True)
    for benchmark, named in by_benchmark(reports).items():
        if found := _differences(named):
            title = f"{benchmark}, difference to {found[0].reference}: mean and 95 % interval"
            console.print(f"{title}, * excludes 0")
            console.print(_difference_table(found))


def _notes(named: list[tuple[str, Report]]) -> list[str]:
    """Every note once; where not all methods have it, behind the names of those that do."""
    owners: dict[str, list[str]] = {}
    for name, report in named:
        for note in report.notes:
            owners.setdefault(note, []).append(name)
    return [
        note if len(names) == len(named) else f"{', '.join(names)}: {note}"
        for note, names in owners.items()
    ]


def table_columns(named: list[tuple[str, Report]]) -> list[list[str]]:
    """Method, NFE and every metric with its arrow, each as a header and a cell a method."""
    columns = [["method", *(name for name, _ in named)]]
    columns.append(["NFE", *(str(report.num_calls) for _, report in named)])
    for metric in named[0][1].benchmark.metrics:
        values = [report.summary.get(metric.name, math.nan) for _, report in named]
        arrow = "↑" if metric.higher_is_better else "↓"
        columns.append([f"{metric.name} {arrow}", *(f"{value:.4f}" for value in values)])
    return columns


def _parts(columns: list[list[str]]) -> list[list[list[str]]]:
    """The metric columns in groups that fit into WIDTH, the first two columns before each."""
    fixed, rest = columns[:2], columns[2:]
    parts = [list(fixed)]
    for column in rest:
        if len(parts[-1]) > 2 and _width([*parts[-1], column]) > WIDTH:
            parts.append(list(fixed))
        parts[-1].append(column)
    return parts


def _width(columns: list[list[str]]) -> int:
    """Of a rich table: a space on either side of a cell, and a line after it."""
    return 1 + sum(3 + max(map(len, column)) for column in columns)


def _differences(named: list[tuple[str, Report]]) -> list[Difference]:
    return differences([(name, report.rows) for name, report in named])


def _difference_table(found: list[Difference]) -> Table:
    table = Table()
    for header in ("metric", "method", "difference", "interval", "n"):
        table.add_column(header, justify="left" if header in ("metric", "method") else "right")
    for one in found:
        interval = one.interval
        table.add_row(
            one.metric,
            one.method,
            f"{interval.mean:+.4f}" + ("*" if interval.excludes_zero else " "),
            f"[{interval.low:+.4f}, {interval.high:+.4f}]",
            str(interval.num_images),
        )
    return table


def write_differences(path: Path, reports: list[Report]) -> None:
    """One line a benchmark, metric and method, against the first method; no file for one method."""
    rows = [
        {
            "benchmark": benchmark,
            "metric": one.metric,
            "method": one.method,
            "reference": one.reference,
            "difference": one.interval.mean,
            "low": one.interval.low,
            "high": one.interval.high,
            "n": one.interval.num_images,
        }
        for benchmark, named in by_benchmark(reports).items()
        for one in _differences(named)
    ]
    if rows:
        _write(path, rows)


def write_per_image(path: Path, reports: list[Report]) -> None:
    """One line an image, method and benchmark, without timings: same run, same bytes."""
    rows = [
        {"method": name, "benchmark": report.benchmark.name, **row}
        for name, report in label(reports)
        for row in report.rows
    ]
    _write(path, rows)


def write_summary(path: Path, reports: list[Report]) -> None:
    """One line a method and benchmark: what was measured, how, and every mean."""
    rows = [
        {
            **{k: v for k, v in describe(report).items() if not isinstance(v, dict)},
            "method": name,
            "device": report.device,
            **report.summary,
        }
        for name, report in label(reports)
    ]
    _write(path, rows)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    results.write(path, list(dict.fromkeys(key for row in rows for key in row)), rows)


def write_pictures(folder: Path, reports: list[Report]) -> None:
    """comparison.png; with buckets buckets.png; with several samples uncertainty.png; of several
    benchmarks comparison_<benchmark>.png and the like."""
    groups = by_benchmark(reports)
    for benchmark, named in groups.items():
        suffix = "" if len(groups) == 1 else f"_{benchmark}"
        pictures = {
            "comparison": plot.comparison(named),
            "buckets": plot.bucket_plot(named),
            "uncertainty": plot.uncertainty(named),
        }
        for kind, picture in pictures.items():
            if picture is not None:
                save(picture, folder / f"{kind}{suffix}.png")
