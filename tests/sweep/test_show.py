"""What `restore sweep DIR` shows, and how a sweep is taken up again."""

import csv
import json
import math
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from entry import Command
from fake_job import Sweep, held
from PIL import Image

from restore.sweep import again, journal, show
from restore.sweep.found import Group, group, labels, read, repeats
from restore.sweep.ranking import Sweep as Started
from restore.types import InputError

LR = "task.optimizer.lr"
SPACE = [(rate, seed) for rate in ("1e-4", "1e-2") for seed in (1, 2, 3)]


def job(folder: Path, k: int, psnr: float, status: str = "done", *overrides: str) -> None:
    (folder / str(k)).mkdir(exist_ok=True)
    evaluation = {
        "benchmark": "b",
        "metrics": {"psnr": psnr, "fid": None},
        "higher_is_better": {"psnr": True, "fid": False},
    }
    record = {"validation": {"val/loss": psnr / 100}, "evaluation": [evaluation]}
    (folder / str(k) / "result.json").write_text(json.dumps(record))
    ended = journal.Line(k, str(k), [*overrides], f"{k}", status, psnr / 100, 1.0)
    journal.append(folder, ended)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two learning rates with three seeds each; psnr 20, 21, 22 and 30, 32, 34."""
    Started(["train.py", "-m"], str(tmp_path), "val/loss", "minimize").settle(tmp_path)
    for k, (rate, seed) in enumerate(SPACE):
        psnr = 19 + seed if rate == "1e-4" else 28 + 2 * seed
        job(tmp_path, k, psnr, "done", f"{LR}={rate}", f"seed={seed}")
    return tmp_path


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_table_has_all_metrics_of_each_job(folder: Path) -> None:
    failed = journal.Line(6, "6", ["seed=9"], "6", "failed", None, 1.0, "no luck")
    journal.append(folder, failed)
    assert show.show(folder) == 0
    found = rows(folder)
    assert [row["job"] for row in found] == ["0", "1", "2", "3", "4", "5", "6"]  # by val/loss
    assert [row["b/psnr"] for row in found] == ["20", "21", "22", "30", "32", "34", ""]
    assert found[6]["rank"] == "" and found[6]["error"] == "no luck"
    assert found[3][LR] == "1e-2" and found[3]["seed"] == "1"


@pytest.mark.parametrize("name", ["6", "lr/6"])
def test_a_job_that_was_cut_off_is_told_with_what_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (folder / "0" / "train.log").touch()
    show.show(folder)
    assert "cut off" not in capsys.readouterr().out
    (folder / name).mkdir(parents=True)
    (folder / name / "train.log").touch()
    show.show(folder)
    assert (
        f"cut off: job {name}; to go on: restore sweep {folder} --resume\n"
        in capsys.readouterr().out
    )
    with held(folder / name):
        show.show(folder)
    assert f"running: job {name}\n" in capsys.readouterr().out


def test_a_job_that_was_stopped_is_told_with_all_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train.py", "-m", "seed=1,2", "packages=[mylab]"]
    Started(arguments, "/", "val/loss", "minimize").settle(tmp_path)
    job(tmp_path, 0, 20, "done", "seed=1")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "train.log").touch()
    stopped = journal.Line(1, "1", ["seed=2"], "1", journal.INTERRUPTED, None, 1.0, "SIGINT")
    journal.append(tmp_path, stopped)
    show.show(tmp_path)
    told = f"cut off: job 1; to go on: restore sweep {tmp_path} --resume --packages mylab\n"
    assert told in capsys.readouterr().out
    job(tmp_path, 2, 20, journal.FAILED, "seed=3")
    journal.append(tmp_path, replace(stopped, status=journal.DONE))
    show.show(tmp_path)
    assert "cut off" not in capsys.readouterr().out


def test_jobs_that_never_began_are_told_with_what_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six have ended: of nine, one was cut off and two never began."""
    (folder / "6").mkdir()
    (folder / "6" / "train.log").touch()
    Started.count(folder, 9)
    goes_on = f"to go on: restore sweep {folder} --resume\n"
    show.show(folder)
    assert f"\ncut off: job 6; not begun: 2 of 9 jobs; {goes_on}" in capsys.readouterr().out
    job(folder, 6, 20, "done", "seed=4")
    show.show(folder)
    assert f"\nnot begun: 2 of 9 jobs; {goes_on}" in capsys.readouterr().out
    with held(folder):
        show.show(folder)
    assert "not begun" not in capsys.readouterr().out
    Started.count(folder, 7)
    show.show(folder)
    assert "not begun" not in capsys.readouterr().out


def test_by_another_metric_in_its_own_direction(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal.append(folder, journal.Line(6, "6", ["seed=9"], "6", "done", 0.1, 1.0))
    show.show(folder, by="b/psnr")
    assert (rows(folder)[-1]["job"], rows(folder)[-1]["rank"]) == ("6", "")  # has no psnr
    assert list(rows(folder)[0])[3:5] == ["b/psnr", "val/loss"]
    assert [row["job"] for row in rows(folder)] == ["5", "4", "3", "2", "1", "0", "6"]
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["1", "5", "done", "34"]
    with pytest.raises(InputError, match="choose from val/loss, b/psnr"):
        show.show(folder, by="b/ssim")


@pytest.mark.parametrize("name", ["edges", "edges[1-10]"])
def test_a_metric_of_one_s_own_says_what_is_better(folder: Path, name: str) -> None:
    """Its name does not, nor that of a bucket."""
    for k in range(len(SPACE)):
        one = {"benchmark": "b", "metrics": {name: k}, "higher_is_better": {"edges": True}}
        record = {"validation": {}, "evaluation": [one]}
        (folder / str(k) / "result.json").write_text(json.dumps(record))
    show.show(folder, by=f"b/{name}")
    assert [row["job"] for row in rows(folder)] == ["5", "4", "3", "2", "1", "0"]


def test_over_seeds_are_mean_and_deviation(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show.show(folder, by="b/psnr", over=["seed"])
    head, first, second, *_ = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "rank" and "deviation" in head and "seed" not in head
    assert first.split() == ["1", "32", f"{statistics.stdev([30, 32, 34]):.2g}", "3", "1e-2"]
    assert second.split() == ["2", "21", "1", "3", "1e-4"]
    with pytest.raises(InputError, match=r"what differs is task\.optimizer\.lr, seed"):
        show.show(folder, over=["task.network.width"])


def test_labels_are_as_short_as_they_can_be() -> None:
    keys = [LR, "task.adversary.optimizer.lr", "task.network.width", "seed"]
    lrs = ["task.optimizer.lr", "adversary.optimizer.lr"]
    assert [*labels(keys).values()] == [*lrs, "width", "seed"]
    assert [*labels([LR, "+task.x"]).values()] == ["lr", "x"]


def test_the_picture(folder: Path) -> None:
    """Six jobs, and two learning rates once seeds are averaged."""
    show.show(folder)
    with Image.open(folder / "sweep.png") as picture:
        assert picture.width > 900 and len(picture.convert("RGB").getcolors(10**6) or []) > 50


@pytest.mark.parametrize(
    ("keys", "over", "averaged"),
    [
        ([LR, "seed"], [], ["seed"]),
        ([LR, "seed"], [LR], [LR]),
        (["seed"], [], []),
        (["seed"], ["seed"], None),
        ([LR], [], []),
    ],
)
def test_a_picture_has_what_differs_and_seeds_where_nothing_else_does(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: list[str],
    over: list[str],
    averaged: list[str] | None,
) -> None:
    drawn: list[list[str]] = []
    monkeypatch.setattr("restore.sweep.plot.draw", lambda *given: drawn.append(given[-1]))
    for line in journal.read(folder):
        kept = [one for one in line.overrides if one.partition("=")[0] in keys]
        journal.append(folder, replace(line, overrides=kept))
    show.show(folder, over=over)
    assert drawn == ([] if averaged is None else [averaged])


def test_grids_of_real_sweeps_are_shown(sweep: Sweep, tmp_path: Path) -> None:
    sweep("search=grid", "seed=77,3", f"{LR}=1e-4,1e-2")
    assert show.show(tmp_path / "sweep") == 0
    found = rows(tmp_path / "sweep")
    assert [row["rank"] for row in found] == ["1", "2", "", ""]
    assert [row["seed"] for row in found] == ["3", "3", "77", "77"]
    assert [float(row[LR]) for row in found] == [1e-4, 1e-2, 1e-4, 1e-2]
    assert float(found[0]["val/loss"]) == pytest.approx(3.001)


def test_a_thousand_jobs_that_are_done_take_seconds(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["-m", "seed=range(1000)"]
    folder = tmp_path / "sweep"
    folder.mkdir()
    Started(["train.py", *arguments], str(tmp_path), "val/loss", "minimize").settle(folder)
    lines = [
        {"job": k, "folder": str(k), "overrides": [f"seed={k}"], "hash": str(k)}
        | {"status": "done", "objective": k, "seconds": 1.0}
        for k in range(1000)
    ]
    (folder / "journal.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    def compose(*given: Any, **named: Any) -> None:
        raise AssertionError("a job that is done was composed")

    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", compose)
    started = time.process_time()
    ended = command(*again.command(folder)[2:])
    assert ended.code == 0, ended.err
    assert "1000 of 1000 jobs are done" in ended.out and "1000 jobs: 1000 done" in ended.out
    assert time.process_time() - started < 5


def test_a_job_that_repeats_another_counts_once(folder: Path) -> None:
    """A search draws what it has drawn before: the journal has a line more, and no new seed."""
    first = journal.read(folder)[0]
    for number in (6, 7):
        journal.append(folder, replace(first, job=number, seconds=0.0))
    found = read(folder)
    _, groups = group(found, "b/psnr", ["seed"])
    assert [sorted(one.values) for one in groups] == [[30, 32, 34], [20, 21, 22]]
    assert [repeats(found.lines, k) for k in range(8)] == [False] * 6 + [True] * 2


def test_an_objective_ranks_as_its_sweep_says_whatever_became_of_the_records(
    tmp_path: Path,
) -> None:
    Started(["train.py", "-m"], str(tmp_path), "val/own", "maximize").settle(tmp_path)
    for k, value in enumerate((1.0, 3.0, None)):
        journal.append(tmp_path, journal.Line(k, str(k), [f"seed={k}"], f"{k}", "", value, 1.0))
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "result.json").write_text("{")
    found = read(tmp_path)
    assert show.ranking(found.metrics["val/own"], found.high["val/own"]) == [1, 0, 2]
    _, (one,) = group(found, "val/own", ["seed"])
    assert one.values == [1.0, 3.0]  # and none of the job that has failed


def test_two_values_have_a_deviation_and_one_has_none() -> None:
    assert Group((), [1.0, 3.0]).deviation == pytest.approx(2**0.5)
    assert math.isnan(Group((), [1.0]).deviation)
