"""The journal: whole lines, from many processes, after a crash."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from restore.sweep import journal, plot, settings
from restore.sweep.found import Found
from restore.sweep.journal import Line
from restore.sweep.plot import axis
from restore.sweep.ranking import Sweep, best, finish, swept
from restore.types import InputError


def line(job: int, status: str = "done", objective: float | None = 1.0, *overrides: str) -> Line:
    return Line(job, str(job), list(overrides), f"hash{job}", status, objective, 2.5)


def test_newest_line_of_a_job_counts_and_a_torn_one_does_not(tmp_path: Path) -> None:
    journal.append(tmp_path, line(1, "killed", None))
    journal.append(tmp_path, line(0))
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"job": 7, "over')  # the machine went down
    journal.append(tmp_path, line(1))
    assert journal.read(tmp_path) == [line(0), line(1)]
    assert journal.done(tmp_path, "hash1") == line(1)
    assert journal.done(tmp_path, "hash7") is None


def test_lines_of_many_processes_do_not_mix(tmp_path: Path) -> None:
    children = []
    for child in range(4):
        pid = os.fork()
        if pid == 0:
            for k in range(50):
                journal.append(tmp_path, line(50 * child + k, "done", 1.0, "x" * 300))
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    texts = (tmp_path / "journal.jsonl").read_text().splitlines()
    # A line that is being written looks torn to the next writer, which leaves an empty one.
    assert sorted(json.loads(text)["job"] for text in texts if text) == [*range(200)]


@pytest.mark.parametrize("status", ["failed", "refused", "killed", "interrupted", "pruned"])
def test_work_that_did_not_end_well_is_not_done(tmp_path: Path, status: str) -> None:
    journal.append(tmp_path, line(0, status, None))
    assert journal.done(tmp_path, "hash0") is None
    journal.append(tmp_path, line(0))
    assert journal.done(tmp_path, "hash0") == line(0)


@pytest.mark.parametrize(
    ("key", "least"),
    [("jobs_per_gpu", 1), ("num_trials", 1), ("num_jobs", 1), ("seed", 0), ("warmup_updates", 0)],
)
def test_the_least_is_allowed_and_nothing_below_it(key: str, least: int) -> None:
    assert getattr(settings.parse({key: least}), key) == least
    with pytest.raises(InputError, match=f"search.{key}={least - 1} must be at least {least}"):
        settings.parse({key: least - 1})


def test_hash_is_of_the_content() -> None:
    assert journal.hash_of({"a": 1, "b": [1.0]}) == journal.hash_of({"b": [1.0], "a": 1})
    assert journal.hash_of({"a": 1}) != journal.hash_of({"a": 2})
    assert len({journal.hash_of({"seed": seed}) for seed in range(5000)}) == 5000


def test_the_best_job_has_an_objective_and_settings_are_what_differs() -> None:
    lines = [
        line(0, "done", 2.0, "seed=1", "lr=1"),
        line(1, "failed", None, "seed=1", "lr=2"),
        line(2, "done", 1.0, "seed=1", "lr=3", "extra=x"),
    ]
    assert best(lines, "minimize") is lines[2] and best(lines, "maximize") is lines[0]
    assert best(lines[1:2], "minimize") is best([], "maximize") is None
    assert swept([one.overrides for one in lines]) == {
        "lr": ["1", "2", "3"],
        "extra": ["", "", "x"],
    }


def test_objective_is_found_by_name_in_a_record() -> None:
    measured = [{"benchmark": "digits_half", "metrics": {"psnr": 20.0, "fid": None}}]
    record = {"validation": {"val/loss": 0.5}, "evaluation": measured}
    assert settings.value_of("val/loss", record) == 0.5
    assert settings.value_of("digits_half/psnr", record) == 20.0
    assert settings.value_of("digits_half/fid", record) != settings.value_of("val/loss", record)
    with pytest.raises(KeyError, match="val/loss, digits_half/psnr"):
        settings.value_of("val/lose", record)


PSNR = {"_target_": "restore.metric.psnr.PSNR"}
HOLE = {"_target_": "restore.metric.psnr.HoleL1"}


def benchmark(**metrics: Any) -> dict[str, Any]:
    return {"benchmark": {"b": {"metric": metrics}}}


def test_the_direction_comes_from_the_metric() -> None:
    config = benchmark(first=PSNR, second=HOLE, third=None)

    def direction(**search: Any) -> str | None:
        return settings.settle(settings.Search(**search), config).direction

    assert direction() == "minimize"
    assert direction(objective="b/psnr") == "maximize"
    assert direction(objective="b/hole_l1", direction="minimize") == "minimize"
    with pytest.raises(InputError, match="would crown the worst job: the best b/psnr is the one"):
        direction(objective="b/psnr", direction="minimize")
    with pytest.raises(InputError, match="choose from val/loss, b/psnr, b/hole_l1"):
        direction(objective="b/ssim")


def test_an_objective_of_another_job_needs_a_word() -> None:
    assert settings.as_given(settings.Search("val/psnr")).direction == "maximize"
    assert settings.as_given(settings.Search("b/x", "minimize")).direction == "minimize"
    with pytest.raises(InputError, match="say whether"):
        settings.as_given(settings.Search("b/psnr"))
    with pytest.raises(InputError, match="give benchmark=c"):
        settings.check_benchmark("c/psnr", benchmark())


def test_a_line_is_on_the_disk_before_the_next_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def fsync(number: int) -> None:
        seen.append(Path(f"/proc/self/fd/{number}").resolve().read_text())

    monkeypatch.setattr(journal.os, "fsync", fsync)
    journal.append(tmp_path, line(0, "done", 1.0))
    assert seen and json.loads(seen[0])["job"] == 0  # after the write, not before


def test_axes_are_to_scale_by_logarithm_where_values_span_decades() -> None:
    assert axis("a", ["1", "2", "3"]).places.tolist() == pytest.approx([0, 0.5, 1])
    rates = axis("lr", ["1e-4", "1e-2", "1e-3"])
    assert rates.title == "lr (log)" and rates.places.tolist() == pytest.approx([0, 1, 0.5])
    assert [text for _, text in rates.ticks] == ["0.0001", "0.001", "0.01"]
    assert axis("a", ["b", "a", "b"]).places.tolist() == [1, 0, 1]
    assert axis("a", ["5", "5"]).places.tolist() == [0, 0]


def test_whole_numbers_stay_whole() -> None:
    widths = axis("width", [str(k) for k in (16, 24, 32, 48, 64, 80, 96, 128)])
    assert [text for _, text in widths.ticks] == ["16", "44", "72", "100", "128"]
    assert all(0 <= at <= 1 for at, _ in widths.ticks)


def test_values_that_lie_close_share_a_tick() -> None:
    """As those of a search, which draws most of its points where it has found the best."""
    found = axis("lr", ["1", "1.01", "1.5", "1.97", "1.99", "2"])
    assert [text for _, text in found.ticks] == ["1", "1.5", "2"]
    assert len(found.places) == 6
    assert [text for _, text in axis("x", ["1", "1"]).ticks] == ["1"]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_of_equal_jobs_the_first_is_the_best(direction: Any) -> None:
    found = best([line(k, "done", 1.0) for k in (2, 0, 1)], direction)
    assert found is not None and found.job == 2


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["done"], 0),
        (["done", "pruned"], 0),
        (["refused", "refused"], 2),
        (["refused", "done"], 1),
        (["refused", "failed"], 1),
        (["interrupted"], 1),
    ],
)
def test_a_sweep_is_refused_where_each_of_its_jobs_was(
    tmp_path: Path, statuses: list[str], code: int
) -> None:
    Sweep(["train.py"], str(tmp_path), "val/loss", "minimize").settle(tmp_path)
    for job, status in enumerate(statuses):
        journal.append(tmp_path, line(job, status, None))
    assert finish(tmp_path) == code


def test_a_whole_decade_is_shown_by_logarithm_and_seven_values_have_a_tick_each() -> None:
    assert axis("x", ["1", "10"]).title == "x (log)" and axis("x", ["1", "9.9"]).title == "x"
    for count, ticks in ((7, 7), (8, 5)):
        assert len(axis("x", [str(k / 8) for k in range(8, 8 + count)]).ticks) == ticks


def test_the_best_tenth_stands_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for count, best_ones in ((4, 1), (20, 2), (30, 3)):
        seen = list[int]()
        monkeypatch.setattr(plot, "_parallel", lambda *given, seen=seen: seen.append(given[-1]))
        monkeypatch.setattr(plot, "_effect", lambda *given, seen=seen: seen.append(given[-2]))
        values = [float(k) for k in range(count)]
        jobs = [line(k) for k in range(count)]
        settings_ = {"lr": [str(value) for value in values]}
        found = Found(jobs, settings_, {"a": values}, {"a": True}, [None] * count)
        plot.draw(tmp_path / "x.png", found, "a", [])
        assert seen == [best_ones] * 2
