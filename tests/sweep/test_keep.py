"""Sweeps that become a study, and the tables that are made of it."""

import csv
import json
import shlex
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from restore.evaluation import table
from restore.evaluation.markup import NONE
from restore.evaluation.studies import BLOCK, COLUMNS, studies
from restore.sweep import journal
from restore.sweep.keep import keep
from restore.sweep.ranking import Sweep
from restore.types import InputError

FID = "b/fid_flowers"
FID_DOWN = f"{FID} ↓"


def sweep(folder: Path, arm: list[str], values: dict[int, float], failed: int = 0) -> Path:
    """A sweep over seeds: the PSNR of each; the last `failed` jobs have ended badly."""
    folder.mkdir()
    seeds = ",".join(map(str, values))
    argv = ["train.py", "-m", f"hydra.sweep.dir={folder}", "experiment=e", *arm, f"seed={seeds}"]
    Sweep(argv, str(folder), "val/loss", "minimize").settle(folder)
    for k, (seed, psnr) in enumerate(values.items()):
        bad = k >= len(values) - failed
        (folder / str(k)).mkdir()
        record = {
            "experiment": "e",
            "seed": seed,
            "device": "a processor",
            "commit": "0123456789ab",
            "dirty": False,
            "training": {
                "updates": 40,
                "seconds": 10.0 + k,
                "images_per_second": 16.0,
                "parameters": 2_000_000,
            },
            "validation": {"val/loss": 1.0, "val/real_accuracy": 0.75},
            "evaluation": [
                {
                    "benchmark": "b",
                    "macs": 1_708_492_800,
                    "metrics": {
                        **{"psnr": psnr, "fid_flowers": 100 / psnr, "psnr[1-10]": 1.0},
                        **{"own": 100 / psnr, "own[1-10]": 1.0},
                    },
                    "higher_is_better": {"psnr": True, "fid_flowers": False, "own": False},
                }
            ],
        }
        if not bad:
            (folder / str(k) / "result.json").write_text(json.dumps(record))
        given = ["experiment=e", *arm, f"seed={seed}"]
        status = journal.FAILED if bad else journal.DONE
        line = journal.Line(k, str(k), given, f"{k}", status, None if bad else 1.0, 1.0)
        journal.append(folder, line)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two arms of three seeds, one of whose jobs has failed."""
    plain = sweep(tmp_path / "plain", ["adversary=patch"], {0: 20.0, 1: 22.0, 2: 27.0})
    noise = ["adversary=patch", "+task.adversary.input_noise=0.1"]
    noisy = sweep(tmp_path / "noisy", noise, {0: 24.0, 1: 25.0, 2: 9.0}, failed=1)
    assert keep([plain, noisy], "judges", tmp_path / "experiments") == 0
    return tmp_path


def test_a_job_is_a_row_and_the_command_is_kept(root: Path) -> None:
    folder = root / "experiments" / "studies" / "judges"
    with (folder / "jobs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]][: len(COLUMNS)] == [*COLUMNS]
    assert [row["seed"] for row in rows] == ["0", "1", "2", "0", "1", "2"]
    assert [row["settings"] for row in rows] == [""] * 3 + ["task.adversary.input_noise=0.1"] * 3
    assert [row["b/psnr"] for row in rows] == ["20", "22", "27", "24", "25", ""]
    assert rows[5]["status"] == "failed" and rows[5]["experiment"] == "e"
    assert rows[0]["lower_is_better"] == "fid_flowers;own"  # of buckets their metrics say it
    assert shlex.split(rows[1]["overrides"]) == ["experiment=e", "adversary=patch", "seed=1"]
    assert rows[1]["updates"] == "40" and rows[1]["commit"] == "0123456789ab"
    lines = (folder / "commands.sh").read_text().splitlines()
    assert lines[0] == "python train.py -m experiment=e adversary=patch seed=0,1,2"
    assert len(lines) == 2


def test_it_says_what_writes_the_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep([root / "plain"], "judges", root / "experiments")
    folder, then = capsys.readouterr().out.splitlines()
    assert folder == str(root / "experiments" / "studies" / "judges")
    assert then.startswith("next: make tables, ") and then.endswith(f"{folder}/README.md")


def test_the_table_has_mean_and_deviation_of_what_was_measured(root: Path) -> None:
    [made] = studies(root)[f"{BLOCK}judges"]
    assert "1 of 6 jobs were not measured" in made.caption and "01234567" in made.caption
    places = {name: k for k, name in enumerate(made.header)}
    assert [*places][7:] == ["val/real_accuracy", "b/psnr ↑", FID_DOWN, "b/own ↓"]
    first, second = made.rows
    assert [row[places["n"]] for row in made.rows] == ["3", "2"]
    deviation = statistics.stdev([20.0, 22.0, 27.0])
    assert first[places["b/psnr ↑"]] == f"23.00 ± {deviation:.2g}"
    assert second[places["b/psnr ↑"]] == "24.50 ± 0.71"
    assert first[places["seconds"]] == "11" and first[places["MACs"]] == "1.71 G"
    # the second is better in every direction, also of a user's metric; no accuracy is the best
    assert made.best == {(1, places[name]) for name in ("b/psnr ↑", FID_DOWN, "b/own ↓")}


def test_a_number_changed_by_hand_is_caught(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main([], root) == 0 and table.main(["--check"], root) == 0
    front = (root / "experiments" / "README.md").read_text()
    assert "[judges](studies/judges/README.md)" in front and "23.00" not in front
    page = root / "experiments" / "studies" / "judges" / "README.md"
    page.write_text(page.read_text().replace("24.50", "24.90"))
    assert table.main(["--check"], root) == 1
    assert "studies/judges/README.md" in capsys.readouterr().err


def test_what_a_person_wrote_stays(root: Path) -> None:
    page = root / "experiments" / "studies" / "judges" / "README.md"
    page.write_text(f"What helps?\n\n{page.read_text()}")
    more = sweep(root / "more", ["adversary=patch"], {3: 31.0})
    assert table.main([], root) == 0 and "23.00" in page.read_text()
    assert keep([more], "judges", root / "experiments") == 0
    assert table.main([], root) == 0
    text = page.read_text()
    assert text.startswith("What helps?\n") and "23.00" not in text and "25.00" in text


@pytest.mark.parametrize("name", ["../up", "", "A B"])
def test_a_study_has_a_plain_name(root: Path, name: str) -> None:
    with pytest.raises(InputError, match="use small letters, digits and _"):
        keep([root / "plain"], name, root / "experiments")


def test_nothing_is_kept_where_nothing_was_measured(tmp_path: Path) -> None:
    bad = sweep(tmp_path / "bad", [], {0: 1.0}, failed=1)
    with pytest.raises(InputError, match="no job has been measured"):
        keep([bad], "judges", tmp_path / "experiments")
    assert not (tmp_path / "experiments").exists()


def test_a_file_of_somebody_else_is_refused(root: Path) -> None:
    path = root / "experiments" / "studies" / "judges" / "jobs.csv"
    path.write_text(path.read_text().replace("status", "state", 1))
    assert table.main(["--check"], root) == 2


def test_settings_are_told_against_jobs_of_the_same_experiment(root: Path) -> None:
    """What two experiments were given differently is no arm of a study."""
    other = root / "other"
    sweep(other, ["data=flowers"], {0: 20.0})
    path = other / "0" / "result.json"
    path.write_text(path.read_text().replace('"experiment": "e"', '"experiment": "f"'))
    assert keep([root / "plain", root / "noisy", other], "judges", root / "experiments") == 0
    with (root / "experiments" / "studies" / "judges" / "jobs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["settings"] for row in rows if row["experiment"] == "f"} == {""}
    told = {row["settings"] for row in rows if row["experiment"] == "e"}
    assert told == {"", "task.adversary.input_noise=0.1"}


def test_jobs_of_other_experiments_stay(root: Path) -> None:
    """A study of two experiments may be recorded on two days, and each of them again."""
    folder = root / "experiments" / "studies" / "judges"
    before = (folder / "jobs.csv").read_text(), (folder / "commands.sh").read_text()
    other = sweep(root / "other", ["data=flowers"], {0: 20.0, 1: 30.0})
    for path in other.glob("*/result.json"):
        path.write_text(path.read_text().replace('"experiment": "e"', '"experiment": "f"'))
    for _ in range(2):
        assert keep([other], "judges", root / "experiments") == 0
    jobs, commands = (folder / "jobs.csv").read_text(), (folder / "commands.sh").read_text()
    assert jobs.startswith(before[0]) and len(jobs.splitlines()) == 1 + 6 + 2
    assert commands.startswith(before[1]) and len(commands.splitlines()) == 3
    assert keep([root / "plain"], "judges", root / "experiments") == 0
    rows = jobs_of(root)
    assert [row["experiment"] for row in rows] == ["e"] * 3 + ["f"] * 2 + ["e"] * 3
    assert [row["seed"] for row in rows] == ["0", "1", "2", "0", "1", "0", "1", "2"]


def test_a_job_of_two_sweeps_counts_once(root: Path) -> None:
    """As where the sweeps are recorded one after the other: the later measurement stays."""
    again = sweep(root / "again", ["adversary=patch"], {2: 28.0, 3: 30.0})
    assert keep([root / "plain", root / "noisy", again], "judges", root / "experiments") == 0
    rows = [row for row in jobs_of(root) if not row["settings"]]
    assert [(row["seed"], row["b/psnr"]) for row in rows] == [
        *(("0", "20"), ("1", "22"), ("2", "28"), ("3", "30")),
    ]


def test_a_study_grows_by_seeds_and_arms(root: Path) -> None:
    """Jobs are told apart against all of the study, whenever they were measured."""
    more = sweep(root / "more", ["adversary=patch"], {3: 30.0, 1: 23.0})
    seldom = ["~adversary=null", "trainer.val_check_interval=40"]  # changes no weight: no arm
    alone = sweep(root / "alone", seldom, {0: 10.0})
    assert keep([more, alone], "judges", root / "experiments") == 0
    found = {
        (row["settings"], row["seed"]): row["b/psnr"]
        for row in jobs_of(root)
        if row["status"] == "done"
    }
    noisy = "adversary=patch task.adversary.input_noise=0.1"
    assert found == {
        ("adversary=patch", "0"): "20",
        ("adversary=patch", "1"): "23",
        ("adversary=patch", "2"): "27",
        ("adversary=patch", "3"): "30",
        (noisy, "0"): "24",
        (noisy, "1"): "25",
        ("adversary=null", "0"): "10",
    }
    commands = (root / "experiments" / "studies" / "judges" / "commands.sh").read_text()
    assert len(commands.splitlines()) == 4


def test_an_average_of_another_length_is_a_row(root: Path) -> None:
    lengths = root / "plain" / "1" / "lengths"
    lengths.mkdir()
    (lengths / "results.csv").write_text(
        "method,checkpoint,benchmark,psnr,fid_flowers\n"
        "e#1,best.ckpt@0,b,22.0,5.0\n"
        "e#2,ema_0.05.ckpt@1,b,22.5,4.0\n"
        "e#3,ema_0.1.ckpt@2,b,23.25,\n"
    )
    for _ in range(2):
        assert keep([root / "plain"], "judges", root / "experiments") == 0
        rows = [
            row for row in jobs_of(root) if row["seed"] == "1" and "noise" not in row["settings"]
        ]
        assert [row["settings"] for row in rows] == ["", "average=0.05", "average=0.1"]
        assert [row["b/psnr"] for row in rows] == ["22", "22.5", "23.25"]
        assert [row[FID] for row in rows] == ["4.5454545", "4", ""]
        assert [row["val/loss"] for row in rows] == ["1", "", ""]
        assert len({row["overrides"] for row in rows}) == 1


def jobs_of(root: Path) -> list[dict[str, str]]:
    with (root / "experiments" / "studies" / "judges" / "jobs.csv").open() as file:
        return list(csv.DictReader(file))


def test_what_was_measured_without_git_is_kept(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "plain", ["adversary=patch"], {0: 20.0})
    path = folder / "0" / "result.json"
    path.write_text(path.read_text().replace("0123456789ab", ""))
    assert keep([folder], "judges", tmp_path / "experiments") == 0
    [made] = studies(tmp_path)[f"{BLOCK}judges"]
    assert f"on a processor, at commit {NONE}; " in made.caption


def test_a_job_that_repeats_another_is_no_row(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "plain", ["adversary=patch"], {0: 20.0, 1: 22.0})
    journal.append(folder, replace(journal.read(folder)[1], job=2, seconds=0.0))
    assert keep([folder], "judges", tmp_path / "experiments") == 0
    with (tmp_path / "experiments" / "studies" / "judges" / "jobs.csv").open() as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0", "1"]
