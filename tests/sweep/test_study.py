"""What a search is told, and what it takes for the best."""

import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
import pytest
import torch
import yaml
from entry import ROOT
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial, TrialState

from restore.sweep import study
from restore.sweep.process import PRUNED
from restore.sweep.pruning import Pruning
from restore.sweep.settings import Direction, Search, parse
from restore.types import InputError


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
RANDOM = Search(sampler="random")


def begun(folder: Path, sweep: Path, jobs: int) -> optuna.Study:
    """A study whose last trial was cut off."""
    made = study.open_study(str(folder / "study.journal"), "any", "minimize")
    for number in range(jobs):
        trial = study.ask(made, RANDOM, SPACE, os.path.realpath(sweep), number)
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


def test_what_another_sweep_has_queued_gets_a_number_of_one_s_own(tmp_path: Path) -> None:
    """Under its number there, it would overwrite the job that has this number here."""
    made = begun(tmp_path, tmp_path / "theirs", 3)
    study.reclaim(made, os.path.realpath(tmp_path / "theirs"), [], False)
    taken = study.ask(made, RANDOM, SPACE, "own", 7)
    assert taken.user_attrs == {"sweep": "own", "job": 7}
    assert taken.params == made.trials[2].params


def test_a_job_that_was_stopped_alone_goes_on_with_its_search(tmp_path: Path) -> None:
    made = begun(tmp_path, tmp_path, 2)
    study.tell(made, Trial(made, made.trials[1]._trial_id), outcome(None, "interrupted"))
    assert study.count(made) == 2  # the search itself does not ask again
    assert study.reclaim(made, os.path.realpath(tmp_path), [0, 1], True) == 2
    assert study.count(made) == 1


@pytest.mark.parametrize("moment", [None, "should_stop", "sanity_checking"])
def test_a_run_that_stops_to_be_continued_is_not_pruned(
    monkeypatch: pytest.MonkeyPatch, moment: str | None
) -> None:
    """A run that is told to stop saves first; it is asked again when it goes on."""
    watch = Pruning("", "any", 0, "val/loss", "median", 0, 0)
    monkeypatch.setattr(watch, "_lags", lambda trainer, updates: True)
    now = {"should_stop": False, "sanity_checking": False, "is_global_zero": True}
    strategy = SimpleNamespace(broadcast=lambda told, src: told)
    trainer: Any = SimpleNamespace(strategy=strategy, **(now | ({moment: True} if moment else {})))
    task: Any = SimpleNamespace(updates=3)
    if moment is None:
        with pytest.raises(SystemExit) as ended:
            watch.on_validation_end(trainer, task)
        assert ended.value.code == PRUNED
    else:
        watch.on_validation_end(trainer, task)


@pytest.mark.parametrize(
    ("given", "space"),
    [
        ("interval(1e-5,1e-2)", FloatDistribution(1e-5, 1e-2)),
        ("tag(log,interval(1e-5,1e-2))", FloatDistribution(1e-5, 1e-2, log=True)),
        ("int(interval(2,64))", IntDistribution(2, 64)),
        ("tag(log,int(interval(2,64)))", IntDistribution(2, 64, log=True)),
        ("range(2,10,4)", IntDistribution(2, 6, step=4)),
        ("tag(log,range(2,10))", IntDistribution(2, 9, log=True)),
        ("tag(log,range(0.5,2.5,0.5))", FloatDistribution(0.5, 2.0, log=True)),
        ("a,b", CategoricalDistribution(["a", "b"])),
    ],
)
def test_values_lie_where_the_command_line_says(given: str, space: BaseDistribution) -> None:
    parsed = OverridesParser.create().parse_overrides(["seed=3", f"+task.x={given}"])
    assert study.split(parsed) == (["seed=3"], {"+task.x": space})


@pytest.mark.parametrize(
    "given", ["interval(2,1)", "tag(log,interval(0,1))", "range(3,3)", "tag(lgo,interval(1,2))"]
)
def test_values_that_are_none_are_refused_with_their_key(given: str) -> None:
    parsed = OverridesParser.create().parse_overrides([f"task.x={given}"])
    with pytest.raises(InputError, match=r"^task\.x"):
        study.split(parsed)


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
    for seed in (0, 1, None, None):  # none draws one
        made = optuna.create_study()
        search = Search(sampler="random", seed=seed)
        drawn += [study.ask(made, search, space, "", k).params["x"] for k in range(3)]
    assert len(set(drawn)) == 12


def test_a_step_of_a_range_is_kept() -> None:
    found = study._stepped([0.5, 0.75, 1.0], 0.25, log=False)
    assert found == optuna.distributions.FloatDistribution(0.5, 1.0, step=0.25)
    assert study._stepped([9, 5, 1], -4, log=False) == optuna.distributions.IntDistribution(
        1, 9, step=4
    )


def test_a_value_that_is_none_is_not_told_to_a_pruner(tmp_path: Path) -> None:
    """An infinite loss would be the worst of all, or the best of a maximisation."""
    storage = str(tmp_path / "study.journal")
    made = study.open_study(storage, "any", "minimize")
    made.ask()
    watch = Pruning(storage, "any", 0, "val/loss", "median", 0, 0)
    for step, value in enumerate((math.nan, math.inf, -math.inf, 2.0)):
        trainer: Any = SimpleNamespace(callback_metrics={"val/loss": torch.tensor(value)})
        assert not watch._lags(trainer, step)
    assert not watch._lags(cast(Any, SimpleNamespace(callback_metrics={})), 4)
    found = study.open_study(storage, "any").trials[0]
    assert found.intermediate_values == {3: 2.0}


def test_halving_begins_after_the_updates_that_a_job_is_given() -> None:
    made = optuna.create_study(pruner=study.pruner_of("halving", 0, 5))
    asked = []
    for value in (1.0, 2.0):
        trial = made.ask()
        for step in (4, 5):
            trial.report(value, step)
            asked.append(trial.should_prune())
        made.tell(trial, value)
    assert asked == [False, False, False, True]


def test_a_sampler_learns_after_as_many_jobs_as_it_is_told() -> None:
    found: Any = study._sampler(Search(sampler="tpe", num_startup_trials=3), 0)
    assert found._n_startup_trials == 3


def test_settings_of_a_search_are_those_of_its_file_where_none_are_given() -> None:
    told = yaml.safe_load((ROOT / "conf" / "search" / "random.yaml").read_text())["search"]
    assert parse(told) == Search(sampler="random")


def test_a_job_that_was_cut_off_and_queued_anew_counts_once(tmp_path: Path) -> None:
    made = begun(tmp_path, tmp_path, 3)
    study.reclaim(made, os.path.realpath(tmp_path), [0, 1], False)
    assert len(made.trials) == 4 and study.count(made) == 2
    made.ask()
    assert study.count(made) == 3


def test_the_password_of_a_database_is_not_told() -> None:
    storage = "nothing://me:secret@host/db"
    with pytest.raises(InputError, match=r"storage=nothing://me:\*\*\*@host/db cannot") as error:
        study.open_study(storage, "any")
    assert "secret" not in str(error.value)
