import json
import sys
from pathlib import Path
from typing import Any

import pytest
from entry import Command, Ended
from fake_job import FAKE, Sweep


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    from restore.sweep import multirun

    monkeypatch.setattr(
        multirun, "command", lambda folder: [sys.executable, "-c", FAKE, str(folder)]
    )


@pytest.fixture
def sweep(fake: None, command: Command, tmp_path: Path) -> Sweep:
    """Runs `train.py -m ARGUMENTS` into tmp_path/sweep on fake jobs: its end and its journal."""

    def run(*arguments: str) -> tuple[Ended, list[dict[str, Any]]]:
        folder = tmp_path / "sweep"
        ended = command("-m", f"hydra.sweep.dir='{folder}'", *arguments)
        journal = folder / "journal.jsonl"
        lines = journal.read_text().splitlines() if journal.exists() else []
        return ended, [json.loads(line) for line in lines]

    return run
