"""What a search is told, and what it takes for the best."""

import os
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from restore.sweep import study
from restore.sweep.settings import Direction, Search


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


SPACE: Any = {"lr": optuna.distributions.FloatDistribution(0.0, 1.0)}


def begun(folder: Path, sweep: Path, jobs: int) -> optuna.Study:
    """A study whose last trial was cut off."""
    made = study.open_study(str(folder / "study.journal"), "any", "minimize")
    for number in range(jobs):
        trial = made.ask(SPACE)
        trial.set_user_attr("sweep", os.path.realpath(sweep))
        trial.set_user_attr("job", number)
        if number < jobs - 1:
            study.tell(made, trial, outcome(1.0))
    return made


@pytest.mark.parametrize("alone", [False, True])
def test_what_was_cut_off_goes_on_under_its_own_number(tmp_path: Path, alone: bool) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    made = begun(tmp_path, tmp_path / "link", 3)
    given = made.trials[2].params
    place = os.path.realpath(tmp_path / "link")
    assert study.reclaim(made, place, [0, 1], alone) == 3
    again = made.ask(SPACE)
    assert again.user_attrs["job"] == 2 and again.params == given


def test_a_sweep_that_was_moved_overwrites_nothing(tmp_path: Path) -> None:
    made = begun(tmp_path, tmp_path / "before", 3)
    moved = os.path.realpath(tmp_path / "after")
    assert study.reclaim(made, moved, [0, 1], True) == 3
    assert made.ask(SPACE).user_attrs == {"sweep": moved, "job": 2}


def test_trials_of_others_stay_theirs_in_a_shared_study(tmp_path: Path) -> None:
    made = begun(tmp_path, tmp_path / "theirs", 3)
    own = os.path.realpath(tmp_path / "own")
    assert study.reclaim(made, own, [], False) == 0
    assert made.trials[2].state == TrialState.RUNNING
    assert study.reclaim(made, own, [0, 4], False) == 5  # what the journal has is no free number


def test_a_pruner_waits_for_jobs_and_for_updates() -> None:
    """Of three jobs that fell behind none is pruned before the third, or before update 5."""
    made = optuna.create_study(pruner=study.pruner_of("median", 2, 5))
    asked = []
    for value in (1.0, 2.0, 3.0):
        trial = made.ask()
        for step in (4, 5, 6):
            trial.report(value, step)
            asked.append(trial.should_prune())
        made.tell(trial, value)
    assert asked == [*[False] * 6, False, True, True]


def test_each_trial_of_each_seed_has_draws_of_its_own() -> None:
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    drawn = []
    for seed in (0, 1):
        made = optuna.create_study()
        search = Search(sampler="random", seed=seed)
        drawn += [study.ask(made, search, space).params["x"] for _ in range(3)]
    assert len(set(drawn)) == 6


def test_a_step_of_a_range_is_kept() -> None:
    found = study._stepped([0.5, 0.75, 1.0], 0.25, log=False)
    assert found == optuna.distributions.FloatDistribution(0.5, 1.0, step=0.25)
    assert study._stepped([9, 5, 1], -4, log=False) == optuna.distributions.IntDistribution(
        1, 9, step=4
    )
