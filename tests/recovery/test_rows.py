"""metrics.csv keeps every row, whatever the disk does."""

import csv
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from restore.recovery import rows as module
from restore.recovery.rows import Rows


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def filled(folder: Path, count: int) -> Rows:
    logger = Rows(str(folder), flush_logs_every_n_steps=2)
    for step in range(count):
        logger.log_metrics({"train/loss": torch.tensor(step / 2)}, step)
    return logger


def test_rows_and_new_columns(tmp_path: Path) -> None:
    logger = filled(tmp_path, 4)
    logger.log_metrics({"val/loss": 0.5, "epoch": 1}, 4)
    logger.save()
    found = read(tmp_path)
    assert list(found[0]) == ["epoch", "step", "train/loss", "val/loss"]
    assert [row["train/loss"] for row in found] == ["0.0", "0.5", "1.0", "1.5", ""]
    assert [row["step"] for row in found] == ["0", "1", "2", "3", "4"]
    assert found[4] == {"epoch": "1", "step": "4", "train/loss": "", "val/loss": "0.5"}
    assert logger.count == 5 and os.listdir(tmp_path) == ["metrics.csv"]


def test_a_resumed_run_goes_on_behind_the_checkpoint(tmp_path: Path) -> None:
    filled(tmp_path, 6)
    logger = Rows(str(tmp_path))
    logger.keep(4)
    assert logger.count == 4
    logger.log_metrics({"train/loss": 9.0}, 4)
    logger.finalize("success")
    assert [row["train/loss"] for row in read(tmp_path)] == ["0.0", "0.5", "1.0", "1.5", "9.0"]


def test_a_run_that_starts_anew_does_so(tmp_path: Path) -> None:
    filled(tmp_path, 6).log_metrics({"val/loss": 1.0}, 9)
    filled(tmp_path, 2)
    assert [row["train/loss"] for row in read(tmp_path)] == ["0.0", "0.5"]


def test_a_file_that_was_taken_away_is_begun_anew(tmp_path: Path) -> None:
    logger = filled(tmp_path, 4)
    (tmp_path / "metrics.csv").unlink()
    logger.log_metrics({"train/loss": 9.0}, 4)
    logger.save()
    assert read(tmp_path) == [{"step": "4", "train/loss": "9.0"}] and logger.count == 5


def test_full_disk_costs_one_warning_and_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = filled(tmp_path, 2)
    write = os.write

    def half(file: int, data: bytes) -> int:
        if len(data) <= 5:
            raise OSError(28, "No space left on device")
        return write(file, data[:5])

    with monkeypatch.context() as full, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        full.setattr(module.os, "write", half)
        for step in (2, 3, 4, 5):
            logger.log_metrics({"train/loss": float(step)}, step)
        assert [row["train/loss"] for row in read(tmp_path)] == ["0.0", "0.5"]
        full.setattr(module, "write_whole", refuse)
        logger.log_metrics({"val/loss": 1.0}, 7)  # a new column: the file is written anew
        assert len(read(tmp_path)) == 2
    told = [str(one.message) for one in caught]
    assert len(told) == 1 and "No space left" in told[0] and "training goes on" in told[0]
    logger.save()
    assert [row["train/loss"] for row in read(tmp_path)] == [
        *("0.0", "0.5", "2.0", "3.0", "4.0", "5.0", "")
    ]


def refuse(*arguments: Any) -> None:
    raise OSError(28, "No space left on device")


def test_every_twentieth_step_is_written(tmp_path: Path) -> None:
    rows = Rows(str(tmp_path))
    for step, written in ((0, False), (18, False), (19, True)):
        rows.log_metrics({"loss": 1.0}, step)
        assert rows.path.exists() == written
