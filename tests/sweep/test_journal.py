"""The journal: whole lines, from many processes, after a crash."""

import json
import os
from pathlib import Path

import pytest

from restore.sweep import journal, settings
from restore.sweep.journal import Line
from restore.sweep.plot import axis
from restore.sweep.ranking import ranked, swept
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
    assert sorted(json.loads(text)["job"] for text in texts) == [*range(200)]


def test_hash_is_of_the_content() -> None:
    assert journal.hash_of({"a": 1, "b": [1.0]}) == journal.hash_of({"b": [1.0], "a": 1})
    assert journal.hash_of({"a": 1}) != journal.hash_of({"a": 2})


def test_ranking_has_failures_last_and_only_what_differs() -> None:
    lines = [
        line(0, "done", 2.0, "seed=1", "lr=1"),
        line(1, "failed", None, "seed=1", "lr=2"),
        line(2, "done", 1.0, "seed=1", "lr=3", "extra=x"),
    ]
    assert [one.job for one in ranked(lines, "minimize")] == [2, 0, 1]
    assert [one.job for one in ranked(lines, "maximize")] == [0, 2, 1]
    assert swept(lines) == {"lr": ["1", "2", "3"], "extra": ["", "", "x"]}


def test_objective_is_found_by_name_in_a_record() -> None:
    measured = [{"benchmark": "digits_half", "metrics": {"psnr": 20.0, "fid": None}}]
    record = {"validation": {"val/loss": 0.5}, "evaluation": measured}
    assert settings.value_of("val/loss", record) == 0.5
    assert settings.value_of("digits_half/psnr", record) == 20.0
    assert settings.value_of("digits_half/fid", record) != settings.value_of("val/loss", record)
    with pytest.raises(KeyError, match="val/loss, digits_half/psnr"):
        settings.value_of("val/lose", record)
    with pytest.raises(InputError, match="choose from val/loss, b/psnr"):
        settings.check_objective(
            "b/ssim", {"benchmark": {"b": {"metric": {"psnr": {}, "x": None}}}}
        )


def test_axes_are_to_scale_by_logarithm_where_values_span_decades() -> None:
    assert axis(["1", "2", "3"])[0].tolist() == pytest.approx([0, 0.5, 1])
    heights, ticks = axis(["1e-4", "1e-2", "1e-3"])
    assert heights.tolist() == pytest.approx([0, 1, 0.5])
    assert [text for _, text in ticks] == ["0.0001", "0.001", "0.01"]
    assert axis(["b", "a", "b"])[0].tolist() == [1, 0, 1]
    assert axis(["5", "5"])[0].tolist() == [0, 0]
