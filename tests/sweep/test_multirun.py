"""A sweep's book-keeping, on jobs that do not train."""

import json
import os
import shlex
import shutil
from pathlib import Path

import pytest
from entry import Command
from fake_job import Sweep

from restore.sweep import multirun, ranking

LR = "task.optimizer.lr"


def test_every_job_ends_in_one_line_and_the_others_go_on(sweep: Sweep, tmp_path: Path) -> None:
    ended, lines = sweep("seed=1,66,77,88,55,2")
    assert [line["status"] for line in lines] == [
        "done",
        "refused",
        "failed",
        "killed",
        "failed",
        "done",
    ]
    assert [line["job"] for line in lines] == [*range(6)]
    assert [line["overrides"] for line in lines] == [[f"seed={s}"] for s in (1, 66, 77, 88, 55, 2)]
    assert [line["objective"] for line in lines] == pytest.approx(
        [lines[0]["objective"], None, None, None, None, lines[0]["objective"] + 1]
    )
    assert lines[1]["error"] == "task.network.width=9 is refused"
    assert lines[2]["error"] == "RuntimeError: no luck"
    assert "val/loss is not finite" in lines[4]["error"]
    assert len({line["hash"] for line in lines}) == 6
    assert ended.code == 1
    last = ended.out.splitlines()[-4:]
    assert [line.split(":")[1].strip() for line in last] == ["job 1", "job 2", "job 3", "job 4"]
    assert str(tmp_path / "sweep" / "2" / "train.log") in last[1]
    assert ended.out.splitlines()[0] == str(tmp_path / "sweep")
    folders = sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert folders == ["0", "2", "3", "4", "5"]  # a refused job leaves none
    assert "Traceback" not in ended.err


def test_a_sweep_whose_jobs_are_all_refused_is_bad_input_and_leaves_no_folder(
    sweep: Sweep, tmp_path: Path
) -> None:
    ended, _ = sweep("seed=66", f"{LR}=1,2")
    assert ended.code == 2 and not (tmp_path / "sweep").exists()
    assert "2 jobs: 2 refused\nrefused: job 0: task.network.width=9 is refused" in ended.out
    assert "next: " not in ended.out
    (tmp_path / "sweep").mkdir()  # not made by the sweep
    ended, lines = sweep("seed=66", f"{LR}=1,2")
    assert ended.code == 2 and [line["status"] for line in lines] == ["refused", "refused"]


def test_done_jobs_are_not_run_again_and_a_folder_holds_one_sweep(
    sweep: Sweep, tmp_path: Path
) -> None:
    sweep("seed=1,77")
    ended, lines = sweep("seed=1,77")
    assert (tmp_path / "sweep" / "started").read_text().split() == ["0", "1", "1"]
    assert [line["job"] for line in lines] == [0, 1, 1]
    assert "1 of 2 jobs are done" in ended.out and "checking 1 of 1" not in ended.out
    assert "job 1: starts  seed=77" in ended.out and "job 0: starts" not in ended.out
    ended, lines = sweep("seed=3,4")
    assert ended.code == 2 and "another command line" in ended.err
    assert len(lines) == 3


def test_the_record_of_an_earlier_attempt_is_not_this_job_s(sweep: Sweep, tmp_path: Path) -> None:
    """A job that leaves no record has failed, though one of an attempt before lies there."""
    sweep("seed=77,44")
    stale = tmp_path / "sweep" / "1" / "result.json"
    stale.write_text(json.dumps({"validation": {"val/loss": 0.001}, "evaluation": []}))
    _, lines = sweep("seed=77,44")
    assert [(one["job"], one["status"], one["objective"]) for one in lines] == [
        *((job, "failed", None) for job in (0, 1, 0, 1)),
    ]
    assert lines[1]["error"] == "it ended without a result.json" and not stale.exists()


def test_equal_jobs_are_run_once(sweep: Sweep, tmp_path: Path) -> None:
    ended, lines = sweep("seed=1,1", f"{LR}=1e-3")
    assert ended.code == 0
    assert (tmp_path / "sweep" / "started").read_text().split() == ["0"]
    assert [line["job"] for line in lines] == [0, 1]
    assert lines[0]["objective"] == lines[1]["objective"]
    assert not (tmp_path / "sweep" / "1").exists()


def test_a_swept_key_that_the_class_takes_needs_no_plus(sweep: Sweep, tmp_path: Path) -> None:
    ended, lines = sweep("task.optimizer.eps=1e-3,1e-4", "callback.samples.num_images=2,3")
    assert (ended.code, len(lines)) == (0, 4), ended.err
    eps, images = [], []
    for number in range(4):
        config = json.loads((tmp_path / "sweep" / str(number) / ".hydra/job.json").read_text())
        eps.append(config["config"]["task"]["optimizer"]["eps"])
        images.append(config["config"]["callback"]["samples"]["num_images"])
    assert (eps, images) == ([1e-3, 1e-3, 1e-4, 1e-4], [2, 3, 2, 3])


def test_what_a_sweep_prints_for_pasting_is_quoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "it's (1), $HOME"
    folder.mkdir()
    ranking.Sweep(["train.py", "-m"], str(tmp_path), "val/loss", "minimize").settle(folder)
    ranking.finish(folder)
    words = capsys.readouterr().out.partition("next: ")[2]
    assert shlex.split(words) == ["restore", "sweep", str(folder)]
    assert shlex.split(ranking.shown(folder, "--resume"))[2:] == [str(folder), "--resume"]


def test_sweep_over_experiments_has_one_folder(
    fake: None, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "my, own {runs}"  # which Hydra reads in quotes alone
    home.mkdir()
    monkeypatch.chdir(home)
    ended = command("-m", "experiment=ddpm_digits,classifier_digits")
    assert ended.code == 0, ended.err
    (folder,) = home.glob("multirun/ddpm_digits+classifier_digits/*")
    assert {"0", "1", "journal.jsonl"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("asked", "prefix", "name", "changed"),
    [
        ("lab/a,lab/b", "lab/", "lab_a+lab_b", ""),
        (
            "glob(own_*)",
            "own_",
            "own_a+own_b",
            "job 0 of this sweep has experiment=own_a, and own_0 now: files that glob(...) matches",
        ),
    ],
)
def test_sweep_over_experiments_of_a_folder_or_of_a_pattern(
    fake: None, command: Command, tmp_path: Path, asked: str, prefix: str, name: str, changed: str
) -> None:
    """Of one's own, experiment/lab/a.yaml. A file more, which gives other numbers to the jobs that
    are done, overwrites none of them."""
    own = tmp_path / "conf" / "experiment"

    def write(letter: str) -> None:
        path = own / f"{prefix}{letter}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "# @package _global_", "defaults:", "  - /experiment/ddpm_digits"
        path.write_text("\n".join(lines))

    write("a")
    write("b")
    given = "-m", f"experiment={asked}", f"hydra.searchpath=[file://{tmp_path}/conf]"
    ended = command(*given)
    assert ended.code == 0, ended.err
    (folder,) = (tmp_path / "multirun" / name).iterdir()
    before = (folder / "journal.jsonl").read_bytes()
    assert before.count(b"\n") == 2
    write("0")
    ended = command(*given, f"hydra.sweep.dir={folder}")
    assert ended.code == (2 if changed else 0)
    assert changed in ended.err and ended.err.count("\n") == bool(changed)
    assert (folder / "journal.jsonl").read_bytes() == before


def test_what_jobs_in_deeper_folders_did_stays(tmp_path: Path) -> None:
    """Ctrl-C may end a launcher before the first job has a line in the journal."""
    assert not multirun._holds_work(tmp_path, refused=False)
    (tmp_path / "lr" / "seed" / ".hydra").mkdir(parents=True)
    assert multirun._holds_work(tmp_path, refused=False)


def test_what_jobs_that_wait_in_a_queue_will_read_stays(tmp_path: Path) -> None:
    """Ctrl-C ends the launcher; its jobs start later, and read what it has left for them."""
    (tmp_path / ".submitit" / "17_0").mkdir(parents=True)
    assert multirun._holds_work(tmp_path, refused=False)
    assert not multirun._holds_work(tmp_path, refused=True)  # none of them waits


def test_sweep_over_experiments_takes_a_key_that_the_default_experiment_lacks(
    fake: None, command: Command, tmp_path: Path
) -> None:
    own = "task.adversary.start=7"
    ended = command("-m", "experiment=inpaint_flowers,inpaint_scenes", own)
    assert ended.code == 0, ended.err
    (folder,) = tmp_path.glob("multirun/*/*")
    for number in ("0", "1"):
        job = json.loads((folder / number / ".hydra" / "job.json").read_text())
        assert job["config"]["task"]["adversary"]["start"] == 7
        assert own in job["overrides"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["seed=1,2", "search=grid", "search.objective=digits_half/nope"], "digits_half/hole_psnr"),
        (["seed=1,2", "search=tpe", "search.num_trials=0"], "search.num_trials=0 must be"),
        (["seed=1,2", "search=tpe", "search.num_trials=x"], "has the wrong type: it takes int"),
        (["seed=1,2", "search=tpe", "+search.trials=3"], "did you mean trial"),
        (["seed=1,2", "search=tpe", "search.num_jobs=2"], "needs hydra/launcher=joblib"),
        (["seed=1", "search=tpe"], "nothing to search"),
        (["seed=1,2", "search=grid", "search.direction=maximize"], "crown the worst job"),
        (["seed=1,2", "search=grid", "search.objective=val/lose"], "choose from val/loss"),
        (["task.optimizer.epz=1,2"], "did you mean eps"),
        (["experiment=inpaint_flowers,inpaint_scenes", "task.adversary.strat=7"], "mean start"),
        (["experiment=inpaint_flowers,ddpm_digits", "task.adversary.start=7"], "not a setting"),
        (["seed=1,2", "data=digits,nope"], "data=nope does not exist"),
        (["seed=tag(lgo,interval(1,2))", "search=random"], "tag lgo is not known"),
        (
            ["seed=1,2", "search=tpe", "search.objective=digits_half/psnr"],
            "set search.pruner=null",
        ),
        (["seed=1,2", "task.network.widht=3"], "did you mean width"),
        (
            [f"{LR}=interval(1e-5,1e-2)"],
            f"{LR}=interval(1e-5,1e-2) has no list of values to combine: add search=random or "
            "search=tpe, or give values with commas",
        ),
        (["seed=1,2", "data=nope"], "data=nope does not exist"),
        (
            ["seed=1", f"{LR}=1e-3,1e-4", "hydra.sweep.subdir=seed_${seed}"],
            f"jobs 0 and 1 ({LR}=0.001 and 0.0001) would share the folder seed_1: add "
            "${hydra.job.num} to hydra.sweep.subdir=seed_${seed}, or every key that is swept",
        ),
        (
            ["seed=1,2", "search=tpe", "search.storage=/nope/x.journal"],
            "search.storage=/nope/x.journal cannot be opened: No such file or directory;",
        ),
        (
            ["seed=1,2", "search=tpe", "search.storage=nosuch://me:secret@a/b"],
            "search.storage=nosuch://me:***@a/b cannot be opened: ",
        ),
        (
            ["task.network.width=range(16,16)"],
            "task.network.width=range(16,16): the range is empty",
        ),
        (["data=glob(zz*)"], "data=glob(zz*): nothing matches"),
        (["seed=1,2", "hydra.sweep.dir="], "hydra.sweep.dir='' is the working directory: a sweep"),
        (["seed=1,2", "hydra.sweep.dir=."], "hydra.sweep.dir='.' is the working directory"),
        (["seed=1,2", "hydra.sweep.dir=/proc/x"], "hydra.sweep.dir=/proc/x cannot be made"),
        (["seed=1", "hydra.sweep.subdir=."], "is the folder of the sweep itself"),
    ],
)
def test_a_sweep_that_cannot_be_meant_is_one_line_and_no_folder(
    fake: None, command: Command, tmp_path: Path, arguments: list[str], says: str
) -> None:
    ended = command("-m", *arguments)
    assert ended.code == 2
    assert says in ended.err.splitlines()[-1] and len(ended.err.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_slurm_where_there_is_none_is_one_line_and_no_folder(
    fake: None, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    ended = command("-m", "seed=1,2", "hydra/launcher=submitit_slurm")
    assert ended.code == 2 and ended.err.count("\n") == 1 and "needs srun" in ended.err
    assert os.listdir(tmp_path) == []


def test_search_without_a_sweep_is_refused(command: Command, tmp_path: Path) -> None:
    ended = command("search=tpe")
    assert ended.code == 2 and "add -m" in ended.err
    assert os.listdir(tmp_path) == []


def test_jobs_start_in_a_clean_environment(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaks = {"RANK": "1", "LOCAL_RANK": "1", "MASTER_PORT": "1", "PL_GLOBAL_SEED": "3"}
    for name, value in leaks.items():
        monkeypatch.setenv(name, value)
    sweep("seed=1,2")
    for job in "01":
        assert (tmp_path / "sweep" / job / "train.log").read_text().startswith("{}\n")
    assert "RESTORE_SWEEP" not in os.environ


def test_gpus_go_round(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    sweep("seed=1", "search=grid", "search.jobs_per_gpu=1", "trainer.devices=1,2", f"{LR}=1,2")
    seen = [
        (tmp_path / "sweep" / str(job) / "train.log").read_text().splitlines()[1]
        for job in range(4)
    ]
    assert seen == ["gpus 4", "gpus 4", "gpus 4,6", "gpus 4,6"]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_search_finds_its_way_and_survives_bad_points(
    sweep: Sweep, tmp_path: Path, sampler: str
) -> None:
    space = (f"{LR}=tag(log,interval(1e-5,1e-2))", "seed=choice(1,55,77)")
    settings = (f"search={sampler}", "search.num_trials=4", "search.seed=1")
    ended, lines = sweep(*settings, *space)
    assert [line["job"] for line in lines] == [0, 1, 2, 3]
    assert ranking.Sweep.read(tmp_path / "sweep").jobs == 4
    assert {line["status"] for line in lines} == {"done", "failed"}
    rates = [float(line["overrides"][0].partition("=")[2]) for line in lines]
    assert all(1e-5 <= rate <= 1e-2 for rate in rates) and len(set(rates)) == 4
    assert ended.code == 1
    again, more = sweep(*settings, *space)
    assert len(more) == 4 and again.code == 1  # nothing was left to do
