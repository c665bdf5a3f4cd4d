"""Lightning keeps books of what is logged where it is read, and every row is that of all others."""

import csv
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import DummyLogger
from players import adversary, batches, denoiser, trainer

from restore.callback.progress import MaxUpdates
from restore.task.base import Task

EPOCH = 16  # batches


class Rows(DummyLogger):
    """Keeps what is logged by step and name."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics: Any, step: int | None = None, *args: Any, **kw: Any) -> None:
        assert step is not None
        self.rows.setdefault(step, {}).update(metrics)


def logged(folder: Path, every: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Rows, list[int]]:
    """The rows of a GAN whose discriminator takes each third turn, and the batches kept book of."""
    logger, kept = Rows(), []
    task = denoiser(0.01, adversary=adversary(discriminator_every=3))
    log_dict = Task.log_dict

    def counted(self: Task, *given: Any, **named: Any) -> None:
        kept.append(self.batches)
        log_dict(self, *given, **named)

    monkeypatch.setattr(Task, "log_dict", counted)
    made = trainer(folder, logger=logger, log_every_n_steps=every, max_epochs=3)
    made.fit(task, batches(2, count=2 * EPOCH))
    monkeypatch.setattr(Task, "log_dict", log_dict)
    return logger, kept


def test_rows_are_those_of_logging_every_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of the discriminator, which has no turn in most batches that are logged."""
    every, _ = logged(tmp_path, 1, monkeypatch)
    some, kept = logged(tmp_path, 4, monkeypatch)
    assert len(some.rows) > 5 and all("train/discriminator" in row for row in some.rows.values())
    for step, row in some.rows.items():
        assert row == every.rows[step], step
    wanted = {n for n in range(1, max(kept) + 1) if n <= 4 or n % 4 == 0 or n % EPOCH == 0}
    assert set(kept) == wanted


@pytest.mark.parametrize("updates", [10, 12, 13])
def test_a_run_ends_with_a_row_of_its_last_update(tmp_path: Path, updates: int) -> None:
    """Lightning logs at the end of a run whatever it has: once it was the row before, again."""
    logger, task, ends = CSVLogger(tmp_path), denoiser(0.01), MaxUpdates(updates)
    made = trainer(tmp_path, logger=logger, log_every_n_steps=5, max_epochs=9, callbacks=[ends])
    made.fit(task, batches(2, count=2 * EPOCH))
    logger.save()
    with open(Path(logger.log_dir) / "metrics.csv") as file:
        steps = [float(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert steps == sorted(set(steps)) and steps[-1] == updates


def test_a_gan_counts_as_its_regression_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first update of both sees the same batch and weights: one loss, at one step."""
    found = []
    for number, played in enumerate((adversary(), None)):
        logger, task = Rows(), denoiser(0.01, adversary=played)
        made = trainer(tmp_path / str(number), logger=logger, log_every_n_steps=1, max_epochs=1)
        made.fit(task, batches(2, count=4))
        found.append({step: row for step, row in logger.rows.items() if "train/l1" in row})
    gan, plain = found
    assert [*gan] == [*plain] == [1, 2]
    assert gan[1]["train/l1"] == plain[1]["train/l1"]


def test_a_resumed_run_logs_what_other_turns_logged_before(tmp_path: Path) -> None:
    task = denoiser(0.01, adversary=adversary(discriminator_every=3))
    trainer(tmp_path, max_epochs=1).fit(task, batches(2, count=2 * EPOCH))
    content: dict[str, Any] = {}
    task.on_save_checkpoint(content)
    assert content["newest"].keys() >= {"train/discriminator", "train/l1", "train/loss"}
    assert all(type(value) is float for value in content["newest"].values())
    again = denoiser(0.01, adversary=adversary(discriminator_every=3))
    again.on_load_checkpoint(content)
    assert again._newest == content["newest"]
    again.on_load_checkpoint({"progress": content["progress"]})  # of an older restore
    assert again._newest == {}
