"""What the type checker proves."""

from pathlib import Path

import pytest
from entry import ROOT

RESTORERS = """
from torch import Tensor
from restore.types import Observation

def honest(observation: Observation) -> Tensor:
    return observation["input"]

def cheat(observation: Observation) -> Tensor:
    return observation["target"]
"""


@pytest.mark.slow
@pytest.mark.ci
def test_no_restorer_sees_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make type` checks the project, so that what it has found out is at hand."""
    from mypy import api

    monkeypatch.chdir(ROOT)
    path = tmp_path / "restorers.py"
    path.write_text(RESTORERS)
    told, _, code = api.run([str(path)])
    wrong = [line for line in told.splitlines() if ": error: " in line]
    assert code != 0 and all(":9: error: " in line for line in wrong), told
    assert 'no key "target"' in told
