"""What a search is told, and what it takes for the best."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from restore.sweep import study
from restore.sweep.settings import Direction


def told(folder: Path, direction: Direction, *outcomes: dict[str, Any]) -> optuna.Study:
    made = study.open_study(str(folder / "study.journal"), "any", direction)
    for outcome in outcomes:
        study.tell(made, made.ask(), outcome)
    return study.open_study(str(folder / "study.journal"), "any")  # as another process reads it


def outcome(objective: float | None, status: str = "done") -> dict[str, Any]:
    return {"status": status, "objective": objective}


@pytest.mark.parametrize(("direction", "best"), [("minimize", 1.0), ("maximize", 3.0)])
def test_the_best_is_by_the_direction(tmp_path: Path, direction: Direction, best: float) -> None:
    found = told(tmp_path, direction, *map(outcome, (2.0, 1.0, 3.0)))
    assert found.best_value == best


def test_a_job_that_failed_has_no_value(tmp_path: Path) -> None:
    """0 would be the best of a minimisation, and the search would look around it."""
    found = told(
        tmp_path, "minimize", outcome(2.0), outcome(None, "failed"), outcome(None, "pruned")
    )
    states = [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]
    assert [trial.state for trial in found.trials] == states
    assert [trial.value for trial in found.trials] == [2.0, None, None]
    assert found.best_trial.number == 0
