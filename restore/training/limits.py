"""What ends a run and its epochs, and whether a run that has ended may go on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from restore.run_files import read_result
from restore.types import InputError


def check_not_ended(
    folder: Path, own: str | None, content: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Raises InputError where the run in `folder` has its record, and what ended it stays.

    own: its id. content: its checkpoint. config: the settings to go on with.
    """
    updates, before = content["progress"]["updates"], content["config"]
    recorded, wanted = recorded_updates(folder, own), config["max_updates"]
    by_trainer = _of_trainer(before) if 0 <= recorded < before["max_updates"] else {}
    stays = recorded >= 0 and by_trainer == {
        name: config["trainer"].get(name) for name in by_trainer
    }
    if recorded >= wanted or updates > wanted or (by_trainer and stays):
        named = " or ".join(f"trainer.{name}" for name in by_trainer) or "max_updates"
        raise InputError(
            f"{folder} has ended after {updates} updates: give a larger {named} to go on"
        )


def _of_trainer(config: Mapping[str, Any]) -> dict[str, Any]:
    """The limits that Lightning's trainer obeys, by name."""
    given = {name: config["trainer"].get(name) for name in ("max_epochs", "max_time")}
    return {name: value for name, value in given.items() if value not in (None, -1)}


def recorded_updates(folder: Path, own: str | None) -> int:
    """Updates in the record that ends this run; -1 where there is none."""
    record = read_result(folder)
    is_own = bool(record) and record.get("id") == own
    return int(record["training"]["updates"]) if is_own else -1


def check_lengths(trainer: Trainer, training: int, validation: int) -> None:
    """Raises InputError for parts of an epoch, and intervals between validations, that cannot be.

    training, validation: batches of an epoch in each process.
    """
    for name, batches in (("train", training), ("val", validation)):
        part = getattr(trainer, f"limit_{name}_batches")
        if isinstance(part, float) and int(batches * part) < 1:
            raise InputError(
                f"trainer.limit_{name}_batches={part} leaves none of {batches} batches: give a "
                "larger part, or a number of batches"
            )
    given = vars(trainer)
    limit, interval = trainer.limit_train_batches, given.get("val_check_interval")
    most = int(training * limit) if isinstance(limit, float) else min(training, limit)
    if trainer.check_val_every_n_epoch is not None and type(interval) is int and interval > most:
        raise InputError(
            f"trainer.val_check_interval={interval} is more than the {most} batches of an epoch: "
            "lower it, or leave out trainer.check_val_every_n_epoch"
        )
    if given.get("_val_check_time_interval") is not None and trainer.world_size > 1:
        raise InputError(
            "trainer.val_check_interval as a time is of one process, whose clock it follows: give "
            "a number of batches"
        )
