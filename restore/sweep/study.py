"""The search of a sweep on Optuna: its file, its space, its trials."""

import os
import re
from collections.abc import Collection, Sequence
from typing import Any

import optuna
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import Trial, TrialState

from restore.sweep import journal
from restore.sweep.settings import Direction, Search
from restore.types import InputError

optuna.logging.set_verbosity(optuna.logging.WARNING)

_GRACE = 10  # seconds after which the lock of a killed process is taken over


def open_study(storage: str, name: str, direction: Direction | None = None) -> optuna.Study:
    """The study of that name in a file or, by URL, in a database; made if a direction is given.

    Raises InputError for a storage that cannot be opened.
    """
    place = _opened(storage)
    if direction is None:
        return optuna.load_study(study_name=name, storage=place)
    return optuna.create_study(
        study_name=name, storage=place, direction=direction, load_if_exists=True
    )


def _opened(storage: str) -> BaseStorage:
    try:
        if "://" in storage:
            return optuna.storages.get_storage(storage)
        lock = JournalFileOpenLock(storage, grace_period=_GRACE)
        return JournalStorage(JournalFileBackend(storage, lock))
    except Exception as error:  # every database has errors of its own
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0].rstrip(".")
        told = re.sub(
            r"(://[^/@:]*):[^/@]*@", r"\1:***@", storage
        )  # a password is nobody's to read
        raise InputError(
            f"search.storage={told} cannot be opened: {reason}; give a file in a folder that "
            "exists, or the URL of a database whose driver is installed"
        ) from error


def pruner_of(kind: str | None, num_startup_trials: int, warmup_updates: int) -> BasePruner:
    if kind == "median":
        return MedianPruner(num_startup_trials, warmup_updates)
    if kind == "halving":
        return SuccessiveHalvingPruner(min_resource=max(warmup_updates, 1))
    return NopPruner()


def _sampler(search: Search, number: int) -> BaseSampler:
    """One that depends on nothing but the seed and the number of trials before it.

    A search that goes on after a crash then asks for the points that it would have asked for.
    """
    seed = None if search.seed is None else search.seed * 1_000_003 + number
    if search.sampler == "random":
        return RandomSampler(seed)
    return TPESampler(n_startup_trials=search.num_startup_trials, seed=seed)


def split(overrides: Sequence[Override]) -> tuple[list[str], dict[str, BaseDistribution]]:
    """What every job gets, and where the rest may lie, by the key of its override."""
    fixed: list[str] = []
    space: dict[str, BaseDistribution] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override():
            space[key] = _distribution(key, override)
        else:
            assert override.input_line is not None
            fixed.append(override.input_line)
    if not space:
        raise InputError(
            "nothing to search: give at least one key=a,b, key=range(...) or key=interval(...)"
        )
    return fixed, space


def _distribution(key: str, override: Override) -> BaseDistribution:
    value: Any = override.value()
    tags: set[str] = getattr(value, "tags", set())
    if tags - {"log"}:
        raise InputError(f"{key}: tag {min(tags - {'log'})} is not known: tag(log, interval(a,b))")
    log = "log" in tags
    try:
        if isinstance(value, IntervalSweep):
            start, end = value.start, value.end
            if isinstance(start, int) and isinstance(end, int):  # int(interval(a,b))
                return IntDistribution(start, end, log=log)
            assert start is not None and end is not None
            return FloatDistribution(start, end, log=log)
        if isinstance(value, RangeSweep):
            # The stop of a range is not in it.
            return _stepped([*value.range()], value.step, log)
        return CategoricalDistribution([*override.sweep_string_iterator()])
    except ValueError as error:
        raise InputError(f"{key}={override.get_value_string()}: {error}") from error


def _stepped(points: list[Any], step: float, log: bool) -> BaseDistribution:
    if not points:
        raise ValueError("the range is empty")
    if all(isinstance(point, int) for point in points):
        return IntDistribution(min(points), max(points), step=abs(int(step)), log=log)
    return FloatDistribution(
        min(points), max(points), step=None if log else abs(float(step)), log=log
    )


def check_space(study: optuna.Study, space: dict[str, BaseDistribution]) -> None:
    """Raises InputError for a key that the study has drawn from values that Optuna cannot mix with
    those of `space`: other choices, or numbers of another kind or scale."""
    for trial in study.get_trials(deepcopy=False):
        for key in trial.distributions.keys() & space.keys():
            before, now = trial.distributions[key], space[key]
            try:
                check_distribution_compatibility(before, now)
            except ValueError as error:
                raise InputError(
                    f"{key}: the study has drawn it from {_words(before)}, and cannot go on with "
                    f"{_words(now)}: give what it had (for glob(...) the same files), or start "
                    "another sweep with another search.storage"
                ) from error


def _words(space: BaseDistribution) -> str:
    return (
        ",".join(map(str, space.choices))
        if isinstance(space, CategoricalDistribution)
        else str(space)
    )


def ask(
    study: optuna.Study, search: Search, space: dict[str, BaseDistribution], sweep: str, free: int
) -> Trial:
    """What is tried next: a trial that waits, or a new one, which is job `free` of the sweep.

    A trial says whose it is from its first moment: `reclaim` finds it, whenever a kill comes.
    """
    trials = study.get_trials(deepcopy=False)
    study.sampler = _sampler(search, len(trials))
    if all(trial.state != TrialState.WAITING for trial in trials):
        study.enqueue_trial({}, user_attrs={"sweep": sweep, "job": free})
    trial = study.ask(space)
    if trial.user_attrs.get("sweep") != sweep:  # another sweep of the study has left it
        trial.set_user_attr("job", free)
        trial.set_user_attr("sweep", sweep)
    return trial


def tell(study: optuna.Study, trial: Trial, outcome: dict[str, Any]) -> None:
    """Closes a trial: with its objective, as pruned, or as failed. One of a job that was stopped
    alone stays open, as of a sweep that was: both go on."""
    if outcome["status"] == journal.INTERRUPTED:
        return
    if outcome["status"] == journal.PRUNED:
        study.tell(trial, state=TrialState.PRUNED)
    elif outcome["objective"] is None:
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, outcome["objective"])


def count(study: optuna.Study) -> int:
    """Trials that have begun and were not cut off by the end of their sweep."""
    return sum(
        trial.state != TrialState.WAITING and "abandoned" not in trial.user_attrs
        for trial in study.get_trials(deepcopy=False)
    )


def reclaim(study: optuna.Study, sweep: str, ended: Collection[int], alone: bool) -> int:
    """Queues anew what this sweep was at when it was killed; returns the first free job number.

    sweep: its folder, without links. ended: jobs of its journal. alone: no other sweep shares the
    study, so that all trials are its own, wherever its folder lay before.
    """
    jobs = [-1, *ended]
    for trial in study.get_trials():
        own = trial.user_attrs.get("sweep")
        if own is None or not (alone or os.path.realpath(own) == sweep):
            continue
        jobs.append(trial.user_attrs["job"])
        if trial.state == TrialState.RUNNING:
            study._storage.set_trial_user_attr(trial._trial_id, "abandoned", True)
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params, user_attrs={"sweep": sweep, "job": jobs[-1]})
    return max(jobs) + 1
