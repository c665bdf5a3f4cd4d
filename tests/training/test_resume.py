"""A run that was interrupted and resumed is the run that was not, bit for bit."""

import errno
import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from entry import ROOT, Command
from lightning.pytorch import Trainer
from stopping import (
    BORDER,
    EXPERIMENTS,
    SMALL,
    WITHIN,
    Here,
    differences,
    everything,
)

from restore import checkpoint, errors
from restore.checkpoint import newest_valid
from restore.data.module import DataModule
from restore.recovery import lock
from restore.recovery.rows import Rows
from restore.training import fit, resume
from restore.training.limits import check_lengths, check_not_ended
from restore.training.settings import FOLLOWERS, replace_settings
from restore.types import InputError


@pytest.fixture
def here(command: Command, monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(command, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "where"),
    [
        pytest.param("ddpm_digits", WITHIN, marks=pytest.mark.ci),
        *((experiment, BORDER) for experiment in EXPERIMENTS),
    ],
)
def test_interrupted_twice_is_uninterrupted(
    here: Here, tmp_path: Path, experiment: str, where: str
) -> None:
    settings = (
        f"experiment={experiment}",
        *SMALL,
        *EXPERIMENTS[experiment],
        "max_updates=8",
        where,
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    ended = here(*settings, f"hydra.run.dir={whole}", seen=tmp_path / "whole.txt")
    assert ended.code == 0, ended.err
    seen = tmp_path / "parts.txt"
    ended = here(*settings, f"hydra.run.dir={parts}", stop={"updates": 3}, seen=seen)
    command = f"to go on: python train.py resume.path={parts}"
    lines = ended.out.splitlines()
    assert (ended.code, lines[0], lines[-1]) == (143, str(parts), command)
    assert newest_valid(parts / "checkpoints")[0] == parts / "checkpoints" / "recovery-3.ckpt"
    ended = here(f"resume.path={parts}", stop={"updates": 5, "signal": "SIGUSR1"}, seen=seen)
    assert ended.code == 143, ended.err
    lines = ended.out.splitlines()
    assert "resumed: recovery-3.ckpt, update 3" in lines
    assert (lines[0], lines[-1]) == (str(parts), command)
    ended = here(f"resume.path={parts}", seen=seen)
    assert ended.code == 0, ended.err
    assert differences(everything(whole), everything(parts)) == []
    assert (tmp_path / "whole.txt").read_text() == seen.read_text()
    history = json.loads((parts / "result.json").read_text())["resumed"]
    assert [one["updates"] for one in history] == [3, 5]


@pytest.mark.slow
def test_what_cannot_be_exact_is_refused_or_named(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    settings = (*SMALL, *EXPERIMENTS["ddpm_digits"], "max_updates=4", "trainer.precision=32-true")
    assert here(*settings, f"hydra.run.dir={run}", stop={"updates": 2}).code == 143
    files = sorted(run.rglob("*"))
    refused = {
        "data.batch_size=8": "data.batch_size: 4 -> 8",
        "trainer.devices=2": "trainer.devices: 1 -> 2; processes: 1 -> 2",
        "trainer.precision=bf16-mixed": "trainer.precision: 32-true -> bf16-mixed",
        "task.accumulate=2": "task.accumulate: ",
        "task.optimizer.lr=0.5": "task.optimizer.lr: ",
        "task.network.width=8": "task.network.width: 4 -> 8",
        "seed=3": "seed: 0 -> 3",
        "max_updates=9": "task.scheduler.total_steps: 4 -> 9",
        "callback.ema.decay=0.5": "callback.ema.decay: 0.999 -> 0.5",
        "network=unet": "a resumed run keeps its groups",
        "experiment=ddpm_mnist": "experiment= has no meaning with resume.path",
        "-m": "-m has no meaning with resume.path",
        "~callback.samples": "plain key=value only",
        "task.optimizer.lrr=1": "did you mean lr?",
        "tusk.optimizer.lr=1": "tusk.optimizer.lr is not a setting of this run",
        "max_updates=1": "has ended after 2 updates: give a larger max_updates",
        "max_updates=many": "max_updates='many' must be an integer of at least 1",
    }
    for argument, said in refused.items():
        ended = here(f"resume.path={run}", argument)
        assert (ended.code, ended.out) == (2, ""), (argument, ended)
        assert said in ended.err and len(ended.err.splitlines()) == 1, ended.err
    ended = here(f"resume.path={run}", "data.batch_size=8", "seed=3")
    assert "data.batch_size: 4 -> 8; data.seed: 0 -> 3; seed: 0 -> 3" in ended.err
    ended = here(f"resume.path={run}", "task.network.width=8", "resume.allow_inexact=true")
    assert ended.code == 2 and "do not fit" in ended.err and len(ended.err.splitlines()) == 1
    with monkeypatch.context() as other:
        other.setattr(DataModule, "fingerprint", lambda self: {"train": 1, "val": 2, "digest": ""})
        ended = here(f"resume.path={run}")
        assert ended.code == 2 and "the data's train: " in ended.err
    ended = here(f"resume.path={tmp_path / 'nowhere'}")
    assert ended.code == 2 and "is no run folder" in ended.err
    ended = here(f"resume.path={run / 'checkpoints' / 'last.ckpt'}")
    assert ended.code == 2 and "of RUN/checkpoints/NAME.ckpt give RUN" in ended.err
    ended = here("resume.path=")
    assert ended.code == 2 and "is no run folder" in ended.err
    assert sorted(run.rglob("*")) == files

    ended = here(
        f"resume.path={run}",
        *("resume.allow_inexact=true", "data.batch_size=8", "max_updates=7", "data.num_workers=1"),
    )
    assert ended.code == 0, ended.err
    named = ["data.batch_size: 4 -> 8", "task.scheduler.total_steps: 4 -> 7"]
    assert all(f"inexact: {one}" in ended.out for one in named)
    result = json.loads((run / "result.json").read_text())
    [time] = result["resumed"]
    assert (time["updates"], time["from"], time["differences"]) == (2, "recovery-2.ckpt", named)
    assert time["settings"] == ["data.batch_size=8", "max_updates=7", "data.num_workers=1"]
    assert result["training"]["updates"] == 7 and "max_updates=7" in result["overrides"]
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["lr_schedulers"][0]["total_steps"] == 7
    assert content["lr_schedulers"][0]["last_epoch"] == 7
    ended = here(f"resume.path={run}")
    assert ended.code == 2 and "has ended after 7 updates" in ended.err


STORED: dict[str, Any] = {
    "max_updates": 8,
    "data": {"batch_size": 4, "num_workers": 0, "root": None},
    "task": {
        "width": 8,
        "scheduler": {"total_steps": 8, "pct": 8.0},
        "adversary": {"scheduler": {"T_max": 8}},
    },
    "callback": {"max_updates": {"max_updates": 8}, "ema": {"decay": 0.9}, "last": {"name": "x"}},
    "trainer": {"max_time": None, "precision": "32-true"},
}


@pytest.mark.parametrize(
    ("before", "now", "recorded", "named"),
    [
        ({}, {}, -1, None),  # stopped
        ({}, {}, 9, "max_updates"),
        ({}, {"max_updates": 10}, 9, None),
        ({"max_epochs": 2}, {}, -1, None),
        ({"max_epochs": 2}, {}, 4, "trainer.max_epochs"),
        ({"max_epochs": 2}, {"max_updates": 10}, 4, "trainer.max_epochs"),
        ({"max_epochs": 2}, {"max_epochs": 3}, 4, None),
        ({"max_epochs": -1, "max_time": "00:01"}, {}, 4, "trainer.max_time"),
        ({"max_epochs": 2, "max_time": "1"}, {}, 4, "trainer.max_epochs or trainer.max_time"),
        ({"max_epochs": 2, "max_time": "1"}, {"max_time": None}, 4, None),
        ({"max_epochs": 2}, {"max_epochs": 3}, 9, "max_updates"),
    ],
)
def test_a_run_has_ended_where_what_ended_it_stays(
    tmp_path: Path, before: dict[str, Any], now: dict[str, Any], recorded: int, named: str | None
) -> None:
    if recorded >= 0:
        record = {"id": "a", "training": {"updates": recorded}}
        (tmp_path / "result.json").write_text(json.dumps(record))
    content = {"progress": {"updates": 4}, "config": {"max_updates": 9, "trainer": before}}
    limits = {name: one for name, one in now.items() if name != "max_updates"}
    config = {"max_updates": now.get("max_updates", 9), "trainer": {**before, **limits}}
    if named is None:
        check_not_ended(tmp_path, "a", content, config)
        return
    with pytest.raises(InputError, match=f"give a larger {named} to go on"):
        check_not_ended(tmp_path, "a", content, config)


def test_the_record_of_another_run_ends_no_run(tmp_path: Path) -> None:
    """As it lies in the folder of a job of a sweep that was begun anew."""
    record = {"id": "a", "training": {"updates": 9}}
    (tmp_path / "result.json").write_text(json.dumps(record))
    content = {"progress": {"updates": 4}, "config": {"max_updates": 9, "trainer": {}}}
    config = {"max_updates": 9, "trainer": {}}
    check_not_ended(tmp_path, "b", content, config)
    with pytest.raises(InputError, match="has ended"):
        check_not_ended(tmp_path, "a", content, config)


def test_a_resume_leaves_the_identity_of_its_run(tmp_path: Path) -> None:
    """What is named on top of it is not what the run was started with."""
    run: Any = SimpleNamespace(folder=tmp_path, id="ab", experiment="e", config={})
    try:
        for resumed, overrides in ((None, ["a=1"]), (object(), ["a=1", "b=2"])):
            run.resumed, run.overrides = resumed, overrides
            fit.begin(run)
            assert resume.first_overrides(tmp_path) == ["a=1"]
            assert lock.holder(tmp_path) is not None
        (tmp_path / "run.json").unlink()
        fit.begin(run)
        assert resume.own_id(tmp_path) == "ab"
    finally:
        lock.release()


def test_settings_go_on_top_of_the_stored_config() -> None:
    config = replace_settings(STORED, {"max_updates": 9, "trainer.max_time": "00:01:00:00"})
    assert config["task"]["scheduler"] == {"total_steps": 9, "pct": 8.0}
    assert config["task"]["adversary"]["scheduler"]["T_max"] == 9
    assert config["task"]["width"] == 8 and config["callback"]["max_updates"]["max_updates"] == 9
    assert STORED["max_updates"] == 8 and STORED["task"]["scheduler"]["total_steps"] == 8
    assert resume.differences(STORED, config) == [
        "task.adversary.scheduler.T_max: 8 -> 9",
        "task.scheduler.total_steps: 8 -> 9",
    ]


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("task", "keeps its groups"),
        ("experiment", "keeps its groups"),
        ("task.optimiser.lr", "task.optimiser.lr is not a setting of this run"),
        ("task.width.most", "task.width.most is not a setting of this run"),
    ],
)
def test_a_resumed_run_takes_single_settings_of_its_own(key: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace_settings(STORED, {key: "x"})


@pytest.mark.parametrize(
    ("key", "follower"),
    [
        ("task.optimizer.lr", "task.scheduler.max_lr"),
        ("seed", "data.seed"),
        ("data.root", "benchmark.folder.data.root"),
        ("data.on_error", "benchmark.folder.data.on_error"),
        ("data.degradation.level", "benchmark.folder.data.degradation.level"),
        ("data.source.folder", "benchmark.folder.data.source.folder"),
        ("seed", "callback.teacher.seed"),
    ],
)
def test_what_held_the_value_of_a_setting_goes_along(key: str, follower: str) -> None:
    """As in a new run, whose interpolations a stored config has no more; unless it had its own."""

    def made(value: int, other: int) -> dict[str, Any]:
        config: dict[str, Any] = {"max_updates": 8, "callback": {"max_updates": {}}}
        for path, one in ((key, value), (follower, other)):
            node = config
            *parents, name = path.split(".")
            for parent in parents:
                node = node.setdefault(parent, {})
            node[name] = one
        return config

    assert replace_settings(made(1, 1), {key: 5}) == made(5, 5)
    assert replace_settings(made(1, 2), {key: 5}) == made(5, 2)
    assert replace_settings(made(1, 1), {key: 5, follower: 7}) == made(5, 7)
    assert replace_settings(made(1, 1), {follower: 1, key: 5}) == made(5, 1)


def test_the_sections_of_a_benchmark_that_follow_are_those_that_its_file_takes_over() -> None:
    """A seed or a batch size that is equal by chance stays what the protocol says."""
    node = yaml.safe_load((ROOT / "conf/benchmark/folder.yaml").read_text())["data"]
    node |= {f"source.{key}": value for key, value in node.pop("source").items()}
    taken = {f"data.{key}" for key, value in node.items() if f"select:data.{key}," in str(value)}
    assert taken == {key for key in FOLLOWERS if key.startswith("data.")} - {
        "data.train_framing.size"
    }


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("data.num_workers", False),
        ("data.root", False),
        ("callback.last.name", False),
        ("trainer.max_time", False),
        ("trainer.max_epochs", False),
        ("trainer.log_every_n_steps", False),
        ("trainer.val_check_interval", False),
        ("data.batch_size", True),
        ("data.seed", True),
        ("callback.ema.decay", True),
        ("trainer.precision", True),
        ("trainer.devices", True),
        ("trainer.max_time_of_mine", True),
        ("task.width", True),
    ],
)
def test_only_what_may_change_weights_is_a_difference(key: str, named: bool) -> None:
    config = replace_settings(STORED, {key: 77})
    assert [one.partition(":")[0] for one in resume.differences(STORED, config)] == [key] * named


def going_on(folder: Path, config: dict[str, Any], allow_inexact: bool) -> resume.Resumed:
    content = {
        "config": STORED,
        "fingerprint": {"train": 7, "digest": "a"},
        "foreign": {"mylab.net.Net": "1"},
        "position": {"world_size": 1, "rows": 2},
        "progress": {"updates": 4},
        "resumed": [{"updates": 2}],
        "state_dict": {},
    }
    return resume.Resumed(
        folder, folder / "recovery-4.ckpt", content, config, [], allow_inexact, [], ["task.width=9"]
    )


OVERFITTED = {**STORED, "trainer": {**STORED["trainer"], "overfit_batches": 2}}


@pytest.mark.parametrize(
    ("config", "processes", "now", "retunes"),
    [
        (STORED, 2, ["the data's train: 7 -> 8", "processes: 1 -> 2"], False),
        ({"task.width": "scheduler"}, 1, ["task.width: 8 -> scheduler"], False),
        ({"task.scheduler.pct": 9}, 1, ["task.scheduler.pct: 8.0 -> 9"], True),
        (
            OVERFITTED,
            1,
            ["trainer.overfit_batches: None -> 2", "trainer.overfit_batches: such a run starts"],
            False,
        ),
    ],
)
def test_a_record_keeps_what_was_not_exact(
    tmp_path: Path, config: dict[str, Any], processes: int, now: list[str], retunes: bool
) -> None:
    data: Any = SimpleNamespace(fingerprint=lambda: {"train": 6 + processes, "digest": "a"})
    trainer: Any = SimpleNamespace(world_size=processes)
    task: Any = SimpleNamespace(load_state_dict=lambda state: None)
    recovery: Any = SimpleNamespace()
    called = {"recovery": recovery, "config": SimpleNamespace(teacher=None)}
    config = config if "trainer" in config else replace_settings(STORED, config)
    with pytest.raises(InputError, match=f"cannot be resumed exactly: {now[0]}"):
        going_on(tmp_path, config, False).check(task, data, trainer, called)
    going_on(tmp_path, config, True).check(task, data, trainer, called)
    before, last = recovery.history
    found = last.pop("differences")
    assert all(one.startswith(said) for one, said in zip(found, now, strict=True))
    from_there = {"updates": 4, "from": "recovery-4.ckpt", "settings": ["task.width=9"]}
    assert (before, last) == ({"updates": 2}, from_there)
    assert recovery.retunes == retunes


def test_other_code_is_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "foreign", lambda config: {"mylab.net.Net": "2"})
    data: Any = SimpleNamespace(fingerprint=lambda: {"train": 7, "digest": "a"})
    trainer: Any = SimpleNamespace(world_size=1)
    nothing: Any = SimpleNamespace()
    called = {"recovery": nothing, "config": SimpleNamespace(teacher=None)}
    with pytest.raises(InputError, match=r"exactly: the code of mylab\.net\.Net: 1 -> 2\."):
        going_on(tmp_path, STORED, False).check(nothing, data, trainer, called)


def test_the_first_process_alone_takes_back_what_was_logged_behind_the_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Rows(str(tmp_path))
    rows.path.write_text("step,loss\n1,0.5\n2,0.25\n3,0.125\n")
    trainer: Any = SimpleNamespace(is_global_zero=False, loggers=[object(), rows])
    run = going_on(tmp_path, STORED, True)
    run.begin(trainer)
    assert capsys.readouterr().out == "" and rows.path.read_text().count("\n") == 4
    trainer.is_global_zero = True
    run.begin(trainer)
    assert capsys.readouterr().out == "resumed: recovery-4.ckpt, update 4\n"
    assert rows.path.read_text().split() == ["step,loss", "1,0.5", "2,0.25"]


def test_a_folder_without_its_identity_belongs_to_the_run_of_its_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {"a.ckpt": "x", "b.ckpt": "x", "damaged.ckpt": None}
    monkeypatch.setattr(
        checkpoint, "seal", lambda path: runs[path.name] and SimpleNamespace(run=runs[path.name])
    )
    (tmp_path / "checkpoints").mkdir()
    assert resume.own_id(tmp_path) is None
    for name in runs:
        (tmp_path / "checkpoints" / name).write_bytes(b"")
    assert resume.own_id(tmp_path) == "x"
    runs["b.ckpt"] = "y"
    with pytest.raises(InputError, match=r"has checkpoints of 2 runs, and no run\.json"):
        resume.own_id(tmp_path)
    for known in ("z", None):  # of a run that began before runs had one
        lock.write_identity(tmp_path, known, "digits", [])
        assert resume.own_id(tmp_path) == known


def test_what_a_run_was_started_with(tmp_path: Path) -> None:
    assert resume.first_overrides(tmp_path) == []
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text("- seed=3\n- 7\n")
    assert resume.first_overrides(tmp_path) == ["seed=3", "7"]
    (tmp_path / "run.json").write_text('{"id": null}')
    assert resume.first_overrides(tmp_path) == ["seed=3", "7"]
    lock.write_identity(tmp_path, "x", "digits", ["seed=4"])
    assert resume.first_overrides(tmp_path) == ["seed=4"]


def test_a_run_is_loaded_with_the_settings_on_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    lock.write_identity(run, "x", "digits", ["seed=4"])
    content = {"config": STORED, "run": "x", "experiment": "digits", "progress": {"updates": 4}}
    newest = run / "checkpoints" / "recovery-4.ckpt"
    own: list[bool] = []

    def newest_valid(folder: Path, is_own: Any) -> tuple[Path, list[Path]]:
        own.extend(is_own(SimpleNamespace(run=one)) for one in ("x", "y", None))
        return newest, []

    monkeypatch.setattr(checkpoint, "newest_valid", newest_valid)
    monkeypatch.setattr(checkpoint, "read", lambda path: content)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"does not say where its run stood"):
        resume.load(run, {}, False)
    content["position"] = {}
    with pytest.raises(InputError, match=r"max_updates='many' must be"):
        resume.load(run, {"max_updates": "many"}, False)
    (run / "config.yaml").write_text(f"data: {{root: {tmp_path}}}")
    made = resume.load(Path("~/run"), {"data.batch_size": 8}, False)
    lock.release()
    assert own[:3] == [True, False, False]
    assert (made.folder, made.checkpoint, made.id) == (run.resolve(), newest, "x")
    assert made.config["data"] == {**STORED["data"], "batch_size": 8, "root": str(tmp_path)}
    assert made.overrides == ["seed=4", "data.batch_size=8"]
    (run / "config.yaml").write_text(f"data: {{root: {tmp_path / 'gone'}}}")
    given = {"task.width": None, "packages": ["torch"], "data.root": "/a b,c"}
    as_typed = ["task.width=null", "packages=[torch]", "data.root='/a b,c'"]
    made = resume.load(run, given, False)
    assert made.settings == as_typed and made.overrides == ["seed=4", *as_typed]
    content["resumed"] = [{"updates": 2}, {"updates": 3, "settings": ["max_updates=8"]}]
    assert resume.load(run, given, False).overrides == ["seed=4", "max_updates=8", *as_typed]
    assert resume.load(run, {}, False).config["data"]["root"] is None
    assert resume.load(run, {"data.root": "/mine"}, False).config["data"]["root"] == "/mine"
    assert "process" in str(lock.holder(run))
    lock.release()


def test_a_run_that_was_killed_before_its_first_checkpoint_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run folder"):
        resume.load(tmp_path, {}, False)
    lock.write_identity(tmp_path, "x", "digits", [])
    with pytest.raises(InputError, match="no whole checkpoint of its run: start a new run"):
        resume.load(tmp_path, {}, False)
    lock.release()


def test_folder_that_cannot_be_written_is_one_line(here: Here, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run"  # where not even root makes one
    ended = here(*SMALL, *EXPERIMENTS["ddpm_digits"], f"hydra.run.dir={folder}", "max_updates=2")
    assert ended.code == 2 and len(ended.err.splitlines()) == 1, ended.err
    assert str(tmp_path / "file") in ended.err
    refusal = OSError(errno.EROFS, "Read-only file system", "/run/folder")
    assert errors.one_line(refusal) == "/run/folder cannot be made or opened: Read-only file system"


def test_what_is_given_follows_nothing_and_only_the_length_of_a_schedule_follows_the_run() -> None:
    scheduler = {"total_steps": 40, "step_size": 5, "lr": 40.0}
    task = {"seed": 3, "scheduler": scheduler, "width": 40}
    callback = {"max_updates": {"max_updates": 40}}
    stored = {"seed": 3, "data": {"seed": 3}, "task": task, "max_updates": 40, "callback": callback}
    made = replace_settings(stored, {"data.seed": 3, "seed": 7, "max_updates": 60})
    assert (made["seed"], made["data"]["seed"], made["task"]["seed"]) == (7, 3, 7)
    assert made["task"]["scheduler"] == {"total_steps": 60, "step_size": 5, "lr": 40.0}
    assert made["task"]["width"] == 40 and made["callback"]["max_updates"]["max_updates"] == 60


def test_a_run_that_was_killed_behind_its_last_update_goes_on_to_its_record(tmp_path: Path) -> None:
    config: dict[str, Any] = {"max_updates": 40, "trainer": {}}
    for updates in (40, 41):
        content = {"progress": {"updates": updates}, "config": config}
        with nullcontext() if updates == 40 else pytest.raises(InputError, match="has ended"):
            check_not_ended(tmp_path, "x", content, config)


def test_an_epoch_may_be_as_long_as_the_interval_of_its_validation() -> None:
    made = Trainer(accelerator="cpu", val_check_interval=4, logger=False)
    check_lengths(made, 4, 1)
    with pytest.raises(InputError, match="more than the 3 batches of an epoch"):
        check_lengths(made, 3, 1)
