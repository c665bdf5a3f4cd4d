"""Reports in W&B: scalars, tables, pictures, and files as artifacts."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from restore.evaluation import plot, report
from restore.evaluation.runner import Report
from restore.image import to_uint8
from restore.picture import grid
from restore.tracking import WandB


def track(loggers: Iterable[Any], reports: list[Report], files: Mapping[str, Path]) -> None:
    """Reports, and files by kind as artifacts, in every W&B run among `loggers`."""
    for logger in loggers:
        if isinstance(logger, WandB):
            logger.attempt(log_to_wandb, logger.send, reports)
            logger.attempt(logger.keep, files)


def log_to_wandb(send: Callable[[dict[str, Any]], None], reports: list[Report]) -> None:
    """Scalars `<benchmark>/<metric>`, of several methods `<benchmark>/<method>/<metric>`; per
    benchmark the table of methods, the table of images and 8-bit pictures."""
    import wandb

    for benchmark, named in report.by_benchmark(reports).items():
        columns = report.table_columns(named)
        values = [
            [name, one.num_calls]
            + [one.summary.get(metric.name, math.nan) for metric in one.benchmark.metrics]
            for name, one in named
        ]
        logged: dict[str, Any] = {
            # Runs of one method share their columns, whatever its name.
            f"{benchmark}/{metric}" if len(named) == 1 else f"{benchmark}/{name}/{metric}": value
            for name, one in named
            for metric, value in one.summary.items()
        }
        logged[f"{benchmark}/table"] = wandb.Table([column[0] for column in columns], values)
        rows = [{"method": name, **row} for name, one in named for row in one.rows]
        cells = [list(row.values()) for row in rows]
        logged[f"{benchmark}/per_image"] = wandb.Table(list(rows[0]), cells)
        pictures = _pictures(named)
        send(logged | {f"{benchmark}/{key}": one for key, one in pictures.items()})


def _pictures(named: list[tuple[str, Report]]) -> dict[str, Any]:
    """The panels of every method and the plots of all, as images of W&B."""
    import numpy as np
    import wandb

    shown: dict[str, Any] = {}
    for name, one in named:
        panels = [to_uint8(grid(panel[None])).permute(1, 2, 0) for panel in one.pictures]
        shown[f"{name}/images"] = [wandb.Image(panel.squeeze(-1).numpy()) for panel in panels]
    for kind, picture in (
        ("comparison", plot.comparison(named)),
        ("buckets", plot.bucket_plot(named)),
    ):
        if picture is not None:
            shown[kind] = wandb.Image(np.asarray(picture))
    return shown
