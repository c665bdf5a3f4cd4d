"""metrics.csv: rows of what was logged, which neither a full disk nor a kill can spoil.

Lightning's CSVLogger ends the run at the first write that fails, may leave half a row, and takes
the file away before it writes it anew.
"""

import csv
import io
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from torch import Tensor

from restore.folder import write_whole
from restore.run_files import METRICS


class Rows(Logger):
    """The file metrics.csv in save_dir, one line a call of log_metrics, one column a name.

    What a disk refuses is kept, written by a later save, and costs one warning.
    """

    def __init__(self, save_dir: str, flush_logs_every_n_steps: int = 20) -> None:
        super().__init__()
        self.every = flush_logs_every_n_steps
        self.path = Path(save_dir) / METRICS
        self.columns: list[str] = []
        self._written = 0  # rows in the file
        self._waiting: list[dict[str, Any]] = []
        self._warned = False

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, *arguments: Any, **named: Any) -> None:
        """Nothing: config.yaml has them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        row = {
            name: value.item() if isinstance(value, Tensor) else value
            for name, value in metrics.items()
        }
        step = self._written + len(self._waiting) if step is None else step
        self._waiting.append({**row, "step": step})
        if (step + 1) % self.every == 0:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Writes what waits."""
        if not self._waiting:
            return
        try:
            self._write()
        except OSError as error:
            if not self._warned:
                self._warned = True
                rank_zero_warn(f"{self.path} was not written: {error}; training goes on")

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    @property
    def count(self) -> int:
        """Rows so far, written or not."""
        return self._written + len(self._waiting)

    def keep(self, count: int) -> None:
        """Goes on behind the first `count` rows of the file of an earlier process."""
        if not self.path.exists():
            return
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = [row for row, _ in zip(reader, range(count), strict=False)]
        self.columns = list(reader.fieldnames or ())
        write_whole(self.path, _text(self.columns, rows, header=True))
        self._written = len(rows)

    def _write(self) -> None:
        columns = sorted({*self.columns, *(name for row in self._waiting for name in row)})
        if not self.columns or not self.path.exists():  # what lies there is an earlier attempt's
            write_whole(self.path, _text(columns, self._waiting, header=True))
        elif columns != self.columns:
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            write_whole(self.path, _text(columns, [*rows, *self._waiting], header=True))
        else:
            _append(self.path, _text(columns, self._waiting, header=False))
        self.columns = columns
        self._written += len(self._waiting)
        self._waiting = []


def _text(columns: list[str], rows: list[dict[str, Any]], header: bool) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _append(path: Path, text: str) -> None:
    """All of the text or nothing of it."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        size, data = os.fstat(file).st_size, text.encode()
        try:
            while data:
                data = data[os.write(file, data) :]
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)
