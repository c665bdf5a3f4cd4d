"""Which jobs a search launches together, and what each of them is told."""

import json
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from restore.sweep import study, sweeper
from restore.types import InputError

OBJECTIVE = "val/loss"
PARSER = OverridesParser.create()
NO_LOADER = SimpleNamespace(config_loader=None)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[dict[int, list[str]]]:
    """The jobs of each launch, every one of which ends with the objective 1."""
    seen: list[dict[int, list[str]]] = []

    def launch(self: Any, jobs: dict[int, list[str]]) -> list[dict[str, Any]]:
        seen.append(dict(jobs))
        return [{"status": "done", "objective": 1.0} for _ in jobs]

    made = sweeper.OptunaSweeper
    monkeypatch.setattr(made, "_launch_apart", launch)
    monkeypatch.setattr(made, "_parsed", lambda _, given: PARSER.parse_overrides(given))
    monkeypatch.setattr(made, "validate_batch_is_legal", lambda _, batch: None)
    monkeypatch.setattr(made, "hydra_context", NO_LOADER, raising=False)
    monkeypatch.setattr(sweeper.subdir, "check", lambda *_: None)
    return seen


def search(folder: Path, values: str = "interval(0.1,1.0)", **settings: Any) -> None:
    folder.mkdir(exist_ok=True)
    begun = {"argv": ["train.py"], "cwd": "/", "objective": OBJECTIVE, "direction": "minimize"}
    (folder / "sweep.json").write_text(json.dumps(begun))
    config = {
        "search": {"sampler": "random", "objective": OBJECTIVE, "seed": 0, **settings},
        "hydra": {"sweep": {"dir": str(folder)}, "runtime": {"choices": {"experiment": "any"}}},
    }
    made = sweeper.OptunaSweeper()
    made.config = OmegaConf.create(config)
    made.sweep([f"task.optimizer.lr={values}", "seed=7"])


def test_the_last_launch_has_no_more_jobs_than_are_left(
    tmp_path: Path, launched: list[dict[int, list[str]]]
) -> None:
    search(tmp_path / "sweep", num_trials=5, num_jobs=2)
    assert [list(jobs) for jobs in launched] == [[0, 1], [2, 3], [4]]
    assert all("seed=7" in job for jobs in launched for job in jobs.values())


def test_jobs_of_a_shared_study_know_their_trial_whatever_their_number(
    tmp_path: Path, launched: list[dict[int, list[str]]]
) -> None:
    """The second sweep begins with its job 0, which is the third trial of the study."""
    storage = str(tmp_path / "study.journal")
    search(tmp_path / "one", num_trials=2, storage=storage)
    search(tmp_path / "other", num_trials=4, storage=storage)
    told = [(k, job[-1]) for jobs in launched for k, job in jobs.items()]
    assert told == [(k % 2, f"search.trial={k}") for k in range(4)]


@pytest.mark.parametrize("shared", [False, True])
def test_a_search_in_a_folder_by_another_name_writes_over_no_job(
    tmp_path: Path, launched: list[dict[int, list[str]]], shared: bool
) -> None:
    """Of its own study all trials are its own, wherever it lay; of a shared one those of its
    folder, whatever link leads there."""
    storage = str(tmp_path / "study.journal") if shared else None
    search(tmp_path / "one", num_trials=2, storage=storage)
    if shared:
        (tmp_path / "other").symlink_to(tmp_path / "one")
    else:
        (tmp_path / "one").rename(tmp_path / "other")
    search(tmp_path / "other", num_trials=3, storage=storage)
    assert [list(jobs) for jobs in launched] == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("values", "others", "words"),
    [
        ("0.1,0.2", "0.1,0.2,0.3", "from 0.1,0.2, and cannot go on with 0.1,0.2,0.3: give what"),
        ("interval(0.1,1.0)", "0.1,0.2", "and cannot go on with 0.1,0.2: "),
        ("interval(0.1,1.0)", "tag(log,interval(0.1,1.0))", "log=True"),
        ("interval(0.1,1.0)", "interval(0.2,2.0)", ""),
    ],
)
def test_values_that_a_study_cannot_mix_are_one_line_and_no_trial(
    tmp_path: Path, launched: list[dict[int, list[str]]], values: str, others: str, words: str
) -> None:
    """As of a sweep that shares a study, or files of glob(...) that have come or gone."""
    storage = str(tmp_path / "study.journal")
    search(tmp_path / "one", values, num_trials=1, storage=storage)
    with pytest.raises(InputError, match=re.escape(words)) if words else nullcontext():
        search(tmp_path / "other", others, num_trials=2, storage=storage)
    found = study.open_study(storage, f"any minimize {OBJECTIVE}").trials
    assert len(found) == (1 if words else 2)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("writes", range(5))
def test_a_kill_at_any_moment_between_two_jobs_costs_no_job(
    tmp_path: Path,
    launched: list[dict[int, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    shared: bool,
    writes: int,
) -> None:
    """The study closes a trial and opens the next in four writes."""
    storage, left, write = str(tmp_path / "study.journal"), [writes], JournalFileBackend.append_logs
    settings = {"num_trials": 3, "storage": storage if shared else None}

    def killed(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        if launched and not left[0]:
            raise KeyboardInterrupt
        left[0] -= bool(launched)
        write(self, logs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(JournalFileBackend, "append_logs", killed)
        search(tmp_path / "sweep", **settings)
    search(tmp_path / "sweep", **settings)
    assert list(dict.fromkeys(k for jobs in launched for k in jobs)) == [0, 1, 2]
    place = storage if shared else str(tmp_path / "sweep" / "study.journal")
    found = study.open_study(place, f"any minimize {OBJECTIVE}").trials
    assert TrialState.RUNNING not in {trial.state for trial in found}
