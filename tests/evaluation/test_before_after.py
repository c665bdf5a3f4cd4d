"""The table of a model before and after it learnt from a folder, from what evaluate.py writes."""

import re
from pathlib import Path
from typing import Any

import pytest

from restore.evaluation import report, table
from restore.evaluation.before_after import FOLDER, before_after
from restore.evaluation.markup import markdown

PAGE = f"# Project\n\n<!-- table:{FOLDER} -->\n<!-- /table -->\n"


@pytest.fixture
def reports(make_report: Any) -> list[Any]:
    """Three methods on two photos: psnr rises by 1 and by 3."""
    return [
        make_report("zoo", {"psnr": [20.0, 22.0]}, kind="model"),
        make_report("zoo", {"psnr": [21.0, 25.0]}, kind="model"),
        make_report("push_pull", {"psnr": [19.0, 20.0]}),
    ]


def test_rows_are_named_and_the_gain_is_told(tmp_path: Path, reports: list[Any]) -> None:
    report.write_summary(tmp_path / "results.csv", reports)
    report.write_differences(tmp_path / "differences.csv", reports)
    text = markdown(*before_after(tmp_path))
    assert re.search(r"\| before: zoo \| \S+ \| 21\.00 \|", text)
    assert re.search(r"\| after: zoo \| \S+ \| \*\*23\.00\*\* \|", text)
    assert re.search(r"\| push_pull \| \S+ \| 19\.50 \|", text)
    assert text.startswith("2 photos, protocol 0123456789ab. After less before, psnr: +2.000, 95 %")


def test_no_table_where_nothing_is_kept(tmp_path: Path) -> None:
    assert before_after(tmp_path) == []


def test_the_page_gets_the_table(tmp_path: Path, reports: list[Any]) -> None:
    kept = tmp_path / "experiments" / FOLDER
    kept.mkdir(parents=True)
    report.write_summary(kept / "results.csv", reports)
    report.write_differences(kept / "differences.csv", reports)
    found = {FOLDER: before_after(kept)}
    assert "after: zoo" in table.fill(PAGE, found, tmp_path / "README.md")
    assert FOLDER not in table.pages(tmp_path / "experiments", found)[kept.parent / "README.md"]
