"""A sweep that goes on trusts nothing that its file names and its user does not."""

import os
import shlex
import sys
from pathlib import Path

import pytest
from entry import ROOT

from restore.sweep.again import command, own, resume
from restore.sweep.ranking import Sweep
from restore.types import InputError


def settled(folder: Path, *arguments: str, home: str = "/") -> Path:
    """A sweep's folder whose sweep.json has these arguments."""
    folder.mkdir(exist_ok=True)
    Sweep(["/an/evil.py", *arguments], home, "val/loss", "minimize").settle(folder)
    return folder


@pytest.mark.parametrize(
    "argument",
    [
        *("-m", "--multirun", "seed=1,2", "+task.network.width=8", "~callback.samples"),
        *("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.subdir=job_${seed}"),
        *("++hydra.launcher.timeout_min=60", "hydra.sweep.subdir=${hydra:job.num}_${now:%H:%M}"),
        *("task.sampler.eta=choice(0,0.5)", "experiment=command_line", "init.path=/a/commander"),
    ],
)
def test_settings_of_jobs_go_on(tmp_path: Path, argument: str) -> None:
    folder = settled(tmp_path / "a sweep", "-m", argument)
    *program, first, second, place = command(folder)
    assert program == [sys.executable, str(ROOT / "train.py")]  # whatever the file names
    assert [first, second] == ["-m", argument]
    assert place == f"hydra.sweep.dir='{folder}'"  # as Hydra reads a path with a space


@pytest.mark.parametrize(
    "argument",
    [
        *(
            "--config-dir=/elsewhere",
            "--config-path=/elsewhere",
            "-cd",
            "--config-name=x",
            "-p",
            "-cn",
        ),
        *("task.network._target_=os.system", "+callback.x={_target_:os.system}"),
        *("+hydra.launcher.setup=[touch /x]", "hydra.job.chdir=true", "hydra.sweep.dirs=x"),
        *("+hydra.callbacks.x._target_=os.system", "hydra.launcher._target_=subprocess.Popen"),
        *("hydra.launcher.cmd=x", "+hydra.callbacks.x.y=1", "~hydra.callbacks", "hydra.run.dir=/x"),
        *("hydra={job_logging:{}}", "++hydra={hydra_logging:{}}", "hydra.launcher={n_jobs:2}"),
        *("+callback@hydra.callbacks=all", "+x@:hydra.y=z", "+x@_global_.hydra.y=z"),
        *("callback.on_checkpoint.command=[sh]", "+callback.x={command:[sh]}"),
        *("callback={on_checkpoint:{command:[sh]}}", "callback.on_checkpoint.command=choice([sh])"),
        *("callback.x=${oc.decode:'{com${y}mand:[sh]}'}", "callback.x=${${y}:z}"),
        *("callback.x=${callback.${y}}", "task.loss=${oc.create:'{_tar${y}get_:os.system}'}"),
    ],
)
def test_what_could_run_something_else_is_refused(tmp_path: Path, argument: str) -> None:
    folder = settled(tmp_path / "a sweep", "-m", argument, home="/home/of/mine")
    with pytest.raises(InputError) as refused:
        command(folder, ["mylab"])
    told, _, line = str(refused.value).partition(" yourself: ")
    assert told.endswith("which is no setting of a job: if you trust it, run it in /home/of/mine")
    program = [sys.executable, str(ROOT / "train.py")]
    # With the sweep's folder: without it, this would be the start of another sweep.
    assert shlex.split(line) == [*program, "-m", argument, f"hydra.sweep.dir='{folder}'"]


@pytest.mark.parametrize(
    ("argument", "packages", "says"),
    [
        ("packages=[mylab]", ["mylab"], None),
        ("packages=mylab", ["mylab"], None),
        ("packages=[]", [], None),
        ("packages=[mylab]", [], "add --packages mylab"),
        ("++packages=[mylab,other]", ["mylab"], "add --packages mylab,other"),
        ("packages=['mylab']", ["mylab"], "which is no setting"),
        ("hydra.searchpath=[pkg://mylab.conf]", ["mylab"], None),
        ("hydra.searchpath=[pkg://mylab.conf]", [], "add --packages mylab"),
        ("hydra.searchpath=[file:///elsewhere]", ["mylab"], "which is no setting"),
        ("hydra.searchpath=[pkg://mylab.conf,/elsewhere]", ["mylab"], "which is no setting"),
    ],
)
def test_packages_are_named_anew(
    tmp_path: Path, argument: str, packages: list[str], says: str | None
) -> None:
    settled(tmp_path, "-m", argument, "seed=1,2")
    if says is None:
        assert argument in command(tmp_path, packages)
        return
    with pytest.raises(InputError, match=says):
        command(tmp_path, packages)


@pytest.mark.parametrize(
    ("arguments", "packages"),
    [
        (["seed=1,2"], []),
        (["+packages=[mylab, other]"], ["mylab", "other"]),
        (["hydra.searchpath=[pkg://mylab.conf,pkg://a.b]", "packages=[mylab]"], ["a", "mylab"]),
    ],
)
def test_who_has_started_a_sweep_is_told_what_goes_on_with_it(
    tmp_path: Path, arguments: list[str], packages: list[str]
) -> None:
    folder = settled(tmp_path / "a sweep", "-m", *arguments)
    named = ["--packages", ",".join(packages)] if packages else []
    assert shlex.split(own(folder)) == ["restore", "sweep", str(folder), "--resume", *named]
    assert command(folder, packages)[2:-1] == ["-m", *arguments]


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", '{"argv": ["train.py", 3], "cwd": "/"', "3"),
        '{"argv": ["train.py", 3], "cwd": "/", "objective": "val/loss", "direction": "minimize"}',
        '{"argv": ["train.py"], "cwd": 3, "objective": "val/loss", "direction": "minimize"}',
        '{"argv": [], "cwd": "/", "objective": "val/loss", "direction": "minimize"}',
        '{"argv": 3, "cwd": "/", "objective": "val/loss", "direction": "minimize"}',
        '{"argv": ["a"], "cwd": "/", "objective": "a", "direction": "minimize", "jobs": "4"}',
    ],
)
def test_a_file_that_describes_no_sweep_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(InputError, match=r"sweep\.json does not describe a sweep"):
        command(tmp_path)


def test_the_folder_of_a_sweep_is_no_argument_of_it(tmp_path: Path) -> None:
    """A sweep that goes on where its folder lies now, was it moved or not."""
    folder = settled(tmp_path / "moved", "-m", "seed=1,2", "hydra.sweep.dir=before")
    assert command(folder)[2:] == ["-m", "seed=1,2", f"hydra.sweep.dir={folder}"]


def test_a_folder_that_holds_no_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no sweep\.json: give the folder that `train"):
        command(tmp_path)


def test_a_working_directory_that_is_gone_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    settled(tmp_path, "-m", "seed=1,2", home=str(home))
    with pytest.raises(InputError, match=f"started in {home}, as cwd of .*make that folder again"):
        resume(tmp_path)


def test_a_sweep_goes_on_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths of its settings are read from there."""
    home, started = tmp_path / "home", []
    home.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execv", lambda *given: started.append((Path.cwd(), *given)))
    resume(settled(tmp_path / "sweep", "-m", "data.root=photos", home=str(home)))
    assert started == [(home, sys.executable, command(tmp_path / "sweep"))]
