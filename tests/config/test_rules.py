"""The ends of what the settings of a run may be: the last that is allowed, and the next."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from restore.config import rules
from restore.config.trainer_rules import check_machine, check_trainer
from restore.types import InputError


def told(named: str | None) -> AbstractContextManager[Any]:
    """Nothing is refused, or what the words name."""
    return nullcontext() if named is None else pytest.raises(InputError, match=named)


def run(**settings: Any) -> dict[str, Any]:
    """The smallest config of a training that is not refused."""
    callbacks = {name: {"name": name} for name in rules.NEEDED}
    sections: dict[str, Any] = {"data": {}, "task": {}, "logger": {}, "trainer": {}}
    return {**sections, "callback": callbacks, "seed": 0, "max_updates": 1, **settings}


def evaluation(**settings: Any) -> dict[str, Any]:
    trainer, benchmark = {"precision": "32-true"}, {"mine": {"data": {}}}
    return {"trainer": trainer, "benchmark": benchmark, "baseline": "identity", **settings}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, None),
        ({"seed": 2**31 - 1}, None),
        ({"seed": 2**31}, "seed=2147483648 must"),
        ({"seed": -1}, "seed=-1 must"),
        ({"seed": True}, "seed=True must"),
        ({"max_updates": 0}, "max_updates=0 must"),
        ({"max_updates": True}, "max_updates=True must"),
        ({"resume": "here"}, "give resume.path=here"),
        ({"resume": {"path": None, "allow_inexact": True}}, None),
        ({"resume": {"path": "x"}}, "resume.path=x would start a new run here: give it"),
        ({"resume": {"paths": "x"}}, "resume.paths is not a setting: did you mean path"),
        ({"init": "model"}, "give init.path=model"),
        ({"init": {"path": None, "partial": True}}, None),
        ({"init": {"partial": "yes"}}, "init.partial='yes' must be true or false"),
        ({"callback": {}}, "callback.max_updates is missing"),
        ({"logger": None}, "logger is missing"),
        ({"benchmark": {"x": {}}}, "benchmark.x has no data"),
    ],
)
def test_of_a_training(settings: dict[str, Any], named: str | None) -> None:
    with told(named):
        rules.check_run(run(**settings))


def test_one_file_cannot_be_best_and_last() -> None:
    config = run()
    config["callback"]["last"] = {"name": "best"}
    with pytest.raises(InputError, match="one file cannot be both"):
        rules.check_run(config)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, None),
        ({"baseline": None}, "nothing to evaluate: give"),
        ({"baseline": None, "published": "x"}, None),
        ({"baseline": None, "checkpoint": "x"}, None),
        ({"baseline": None, "outputs": {"dir": "x"}}, None),
        ({"benchmark": {}}, "nothing to evaluate on"),
        *(({key: 1}, None) for key in ("batch_size", "mean_of")),
        *(({key: 0}, f"{key}=0 must") for key in ("batch_size", "mean_of")),
        *(({key: True}, f"{key}=True must") for key in ("batch_size", "mean_of")),
        *(({key: 1}, f"{key}=1 must") for key in ("self_ensemble", "record")),
        ({"start": 1}, None),
        ({"start": 0.01}, None),
        ({"start": 0}, "start=0 must"),
        ({"start": 1.01}, "start=1.01 must"),
        ({"start": True}, "start=True must"),
        ({"trainer": {"precision": "bf16-true"}}, "an evaluation takes one of"),
        *(({"trainer": {"precision": one}}, None) for one in ("bf16-mixed", "16-mixed", "auto")),
    ],
)
def test_of_an_evaluation(settings: dict[str, Any], named: str | None) -> None:
    with told(named):
        rules.check_evaluation(evaluation(**settings))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"dir": "x", "composite": True, "lossy": False, "name": "y"}, None),
        ({"name": "y"}, "outputs.name=y needs a folder"),
        ({"dir": 3}, "outputs.dir=3 must be a text or null"),
        ({"lossy": "no"}, "outputs.lossy='no' must be true or false"),
        ("x", "outputs=x must be a folder"),
    ],
)
def test_of_outputs(given: Any, named: str | None) -> None:
    with told(named):
        assert rules.has_outputs({"outputs": given})
    assert not rules.has_outputs({"outputs": {"dir": None, "lossy": True}})


@pytest.mark.parametrize(("cores", "most"), [(1, 4), (2, 4), (8, 16)])
def test_twice_as_many_processes_as_cores_and_four_anywhere(
    monkeypatch: pytest.MonkeyPatch, cores: int, most: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    check_machine({"accelerator": "cpu", "devices": most})
    check_machine({"accelerator": "gpu", "devices": most + 1})
    with pytest.raises(InputError, match=f"take at most {most}$"):
        check_machine({"accelerator": "cpu", "devices": most + 1})


@pytest.mark.parametrize(
    ("accelerator", "devices", "named"),
    [
        ("cpu", 1, None),
        ("gpu", -1, None),
        ("auto", "auto", None),
        ("cpu", 0, "devices=0 must be at least 1"),
        ("cpu", -1, "devices=-1 must be at least 1"),
        ("gpu", 0, "devices=0 must be at least 1"),
        ("gpu", -2, "devices=-2 must be at least 1"),
        ("tpu", 1, "accelerator=tpu is not served"),
    ],
)
def test_of_a_machine(accelerator: str, devices: Any, named: str | None) -> None:
    with told(named):
        check_machine({"accelerator": accelerator, "devices": devices})


@pytest.mark.parametrize("key", ["val_check_interval", "limit_train_batches", "limit_val_batches"])
@pytest.mark.parametrize(
    ("value", "named"),
    [
        *((one, None) for one in (1, 1.0, 0.01, 7, None)),
        *((one, "must be a number of batches from 1 up") for one in (0, 0.0, -1)),
        (1.5, "must be a whole number of batches"),
    ],
)
def test_of_parts_of_an_epoch(key: str, value: Any, named: str | None) -> None:
    with told(named):
        check_trainer({key: value}, {})


@pytest.mark.parametrize(
    ("trainer", "task", "named"),
    [
        ({"max_time": "00:00:00:01"}, {}, None),
        ({"max_time": "00:00:01"}, {}, "is no time: give DAYS:HH:MM:SS"),
        ({"max_time": "00:00:00:00"}, {}, "is no time: give DAYS:HH:MM:SS"),
        *(({"max_epochs": one}, {}, None) for one in (-1, 1, None)),
        *(({"max_epochs": one}, {}, "must be at least 1, or -1") for one in (0, -2)),
        ({"precision": "16-true"}, {}, "precision=16-true is refused"),
        ({"reload_dataloaders_every_n_epochs": 1}, {}, "a stream would begin with its first one"),
        ({"precision": 16}, {}, None),
        ({"_target_": "x", "use_distributed_sampler": False}, {}, None),
        ({"_target_": "x"}, {}, "use_distributed_sampler must be false"),
        ({"strategy": "ddp"}, {}, None),
        ({"strategy": "auto"}, {"adversary": {}}, None),
        ({"strategy": "ddp_find_unused_parameters_true"}, {"adversary": {}}, None),
        ({"strategy": "ddp"}, {"adversary": {}}, "stops at a task with an adversary"),
        ({"strategy": "ddp_find_unused_parameters_false"}, {"adversary": {}}, "step apart"),
    ],
)
def test_of_a_trainer(trainer: dict[str, Any], task: dict[str, Any], named: str | None) -> None:
    with told(named):
        check_trainer(trainer, task)


def test_a_sweep_of_evaluations_is_of_one_process() -> None:
    rules.check_one_process({"trainer": {"devices": 1}})
    with pytest.raises(InputError, match=r"devices=2: evaluate\.py -m evaluates in one process"):
        rules.check_one_process({"trainer": {"devices": 2}})
