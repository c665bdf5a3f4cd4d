"""What differs between a described system and ours, from composed configs and recorded jobs."""

from pathlib import Path

import pytest

from restore.evaluation import departures, studies, table
from restore.evaluation.results import write


def test_settings_that_differ_are_told_once() -> None:
    theirs = {
        "same": 1,
        "lr": 1e-4,
        "network": {"_target_": "a.Old", "width": 3},
        "loss": {"pixels": {"_target_": "a.Pixels", "weight": 1.0, "over": "region"}},
        "gamma": None,
    }
    ours = {
        "same": 1,
        "lr": 1e-3,
        "network": {"_target_": "a.New", "depth": 2},
        "loss": {"pixels": {"_target_": "a.Pixels", "weight": 6.0, "over": "region"}, "tv": None},
        "gamma": 5.0,
        "scheduler": {"_target_": "a.OneCycle"},
    }
    assert list(departures.differences(theirs, ours)) == [
        ("lr", "0.0001", "0.001"),
        ("network", "Old", "New"),  # not the settings of two classes
        ("loss.pixels.weight", "1.0", "6.0"),
        ("gamma", "none", "5.0"),
        ("scheduler", "none", "OneCycle"),
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two seeds of each diffusion; of the inpainters one alone."""
    jobs = [
        *(("ddpm_original", seed, 0.2 + 0.1 * seed) for seed in (0, 1)),
        *(("ddpm_digits", seed, 0.6 + 0.1 * seed) for seed in (0, 1)),
        ("inpaint_original", 0, 0.5),
    ]
    origin = {"status": "done", "device": "a processor", "commit": "01", "dirty": "False"}
    costs = {"updates": "600", "seconds": "9", "images_per_second": "99", "parameters": "1000"}
    rows = [
        {"experiment": name, "seed": str(seed), "settings": "", **origin, **costs}
        | {"overrides": f"experiment={name} data=digits network=unet_digits seed={seed}"}
        | {"digits_half/original_label_share": str(value)}
        for name, seed, value in jobs
    ]
    folder = tmp_path / "experiments" / studies.FOLDER / departures.STUDY
    folder.mkdir(parents=True)
    columns = [*studies.COLUMNS, "digits_half/original_label_share"]
    write(folder / studies.JOBS, columns, rows)
    (tmp_path / "ARCHITECTURE.md").write_text("<!-- table:departures -->\n<!-- /table -->\n")
    return tmp_path


def test_a_row_has_settings_of_the_configs_and_numbers_of_the_jobs(root: Path) -> None:
    [made] = departures.departures(root)
    [row] = made.rows  # a task of which one system alone was trained has none
    task, described, ours, differing, updates, n, measured = row
    assert (task, described, ours) == ("diffusion", "ddpm_original", "ddpm_digits")
    assert {"schedule: LinearBeta, Cosine", "parameterization: eps, v"} <= {*differing.split("; ")}
    assert "network" not in differing  # both were given one
    assert (updates, n) == ("600", "2")
    assert measured == "digits_half/original_label_share: 0.2500 ± 0.071, 0.6500 ± 0.071"


def test_a_number_changed_by_hand_is_caught(root: Path) -> None:
    assert table.main([], root) == 0 and table.main(["--check"], root) == 0
    page = root / "ARCHITECTURE.md"
    page.write_text(page.read_text().replace("0.6500", "0.7500"))
    assert table.main(["--check"], root) == 1


def test_without_records_there_is_no_table(tmp_path: Path) -> None:
    assert departures.departures(tmp_path) == []
