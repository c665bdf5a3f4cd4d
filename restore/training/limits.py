"""What ends a run: updates, epochs or time, and whether one that has ended may go on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    path = folder / "result.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    is_own = bool(record) and record.get("id") == own
    return int(record["training"]["updates"]) if is_own else -1
