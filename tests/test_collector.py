"""Starts without the garbage collector."""

import gc

import pytest
from entry import ROOT

from restore import collector


@pytest.mark.parametrize("enabled", [True, False])
def test_collector_is_afterwards_as_it_was(enabled: bool) -> None:
    was, frozen = gc.isenabled(), gc.get_freeze_count()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ValueError), collector.paused():
            assert not gc.isenabled()
            raise ValueError
        assert gc.isenabled() is enabled
        assert (gc.get_freeze_count() > frozen) is enabled  # or the next look takes a second
    finally:
        (gc.enable if was else gc.disable)()
        gc.unfreeze()


@pytest.mark.parametrize("name", ["main/train.py", "main/evaluate.py", "sweep/job.py"])
def test_lightning_is_loaded_under_it(name: str) -> None:
    """Every import of the rooms that load Lightning stands inside."""
    lines = (ROOT / "restore" / name).read_text().splitlines()
    rooms = ("from restore.training import", "from restore.evaluation import evaluate")
    found = [i for i, line in enumerate(lines) if line.strip().startswith(rooms)]
    assert found
    for i in found[: 1 if name.startswith("sweep") else 2]:
        assert lines[i - 1].strip() == "with collector.paused():"
