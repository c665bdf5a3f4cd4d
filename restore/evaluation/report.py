"""What people and programs read of a report: a table, CSV files and a picture."""

import csv
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from restore.callback.samples import grid, save_png
from restore.evaluation.runner import Report

SMALL = 64  # pixels; smaller images are enlarged in pictures


def describe(report: Report) -> dict[str, Any]:
    """What was measured, how, on how much, and what came out."""
    return {
        "method": report.method.name,
        "kind": report.method.kind,
        "benchmark": report.benchmark.name,
        "protocol": report.benchmark.protocol,
        "n": len(report.rows),
        "samples": report.benchmark.num_samples,
        "nfe": report.method.num_calls,
        "parameters": report.method.num_parameters,
        "metrics": report.summary,
        "definitions": {m.name: m.definition for m in report.benchmark.metrics},
        "seconds_per_image": round(report.seconds_per_image, 5),
    }


def write(folder: Path, reports: list[Report]) -> None:
    """results.csv, per_image.csv and comparison.png into the run folder."""
    if reports:
        write_summary(folder / "results.csv", reports)
        write_per_image(folder / "per_image.csv", reports)
        write_pictures(folder, reports)


def print_table(reports: list[Report]) -> None:
    """One table a benchmark: a row a method, a column a metric over all images."""
    for name in dict.fromkeys(report.benchmark.name for report in reports):
        mine = [report for report in reports if report.benchmark.name == name]
        metrics = mine[0].benchmark.metrics
        table = Table(
            title=f"{name} (n={len(mine[0].rows)}, protocol {mine[0].benchmark.protocol})"
        )
        table.add_column("method")
        table.add_column("NFE", justify="right")
        for metric in metrics:
            arrow = "↑" if metric.higher_is_better else "↓"
            table.add_column(f"{metric.name} {arrow}", justify="right")
        for report in mine:
            values = [f"{report.summary[metric.name]:.4f}" for metric in metrics]
            table.add_row(report.method.name, str(report.method.num_calls), *values)
        Console(width=max(80, 24 + 16 * len(metrics))).print(table)


def write_per_image(path: Path, reports: list[Report]) -> None:
    """One line an image, method and benchmark, without timings: same run, same bytes."""
    rows = [
        {"method": report.method.name, "benchmark": report.benchmark.name, **row}
        for report in reports
        for row in report.rows
    ]
    _write(path, rows)


def write_summary(path: Path, reports: list[Report]) -> None:
    """One line a method and benchmark: what was measured, how, and every mean."""
    rows = [
        {
            **{k: v for k, v in describe(report).items() if not isinstance(v, dict)},
            "device": report.device,
            **report.summary,
        }
        for report in reports
    ]
    _write(path, rows)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_pictures(folder: Path, reports: list[Report]) -> None:
    """comparison.png (comparison_<benchmark>.png for several): input | every method | target.

    A single method shows all its samples, several show their first one.
    """
    names = list(dict.fromkeys(report.benchmark.name for report in reports))
    for name in names:
        mine = [
            r
            for r in reports
            if r.benchmark.name == name and len({p.shape for p in r.pictures}) == 1
        ]
        if not mine:
            continue
        count = min(len(report.pictures) for report in mine)
        columns = mine[0].pictures[:count]
        if len(mine) > 1:
            results = [report.pictures[:count, 1:2] for report in mine]
            columns = torch.cat([columns[:, :1], *results, columns[:, -1:]], dim=1)
        scale = max(1, SMALL // columns.shape[-1])
        suffix = "" if len(names) == 1 else f"_{name}"
        save_png(grid(columns, scale=scale), folder / f"comparison{suffix}.png")
