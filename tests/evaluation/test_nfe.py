"""The equal-NFE study: rows by hand, and one run of the command on a tiny prior."""

import math
from pathlib import Path

import pytest
from PIL import Image
from small_models import CONDITIONAL, write_model, write_run

from restore.evaluation import nfe, results
from restore.evaluation.nfe import CurvePoint
from restore.evaluation.results import Row
from restore.main import nfe as study
from restore.types import Facts, InputError


def row(sampler: str, settings: str, calls: int, value: str, guidance: str = "") -> Row:
    cells = dict.fromkeys(results.FIXED, "")
    cells |= {"experiment": "prior", "benchmark": "digits_half", "n": "9", "nfe": str(calls)}
    cells |= {"sampler": sampler, "sampler_settings": settings, "guidance": guidance}
    return cells | {"seconds_per_image": str(calls / 100), "hole_psnr": value}


ROWS = [
    row("ddim", "eta=0.0;num_steps=20", 20, "12.5", "NullSpace(confidence=7.0;sigma_data=0.5)"),
    row("ddim", "eta=0.0;num_steps=5", 5, "11.0", "NullSpace(confidence=7.0;sigma_data=0.5)"),
    row("RePaint", "jump_count=2;jump_length=2;num_steps=9", 20, "13.25"),
    row("heun", "num_steps=3", 5, ""),
]


def test_curves_are_families_in_the_order_of_calls() -> None:
    assert nfe.curves(ROWS, "hole_psnr") == {
        "prior, RePaint": [CurvePoint(20, 0.2, 13.25)],
        "prior, ddim (eta=0.0), NullSpace(confidence=7.0, sigma_data=0.5)": [
            CurvePoint(5, 0.05, 11.0),
            CurvePoint(20, 0.2, 12.5),
        ],
    }
    assert nfe.measured(ROWS) == ["hole_psnr"]
    plain = nfe.family(row("ddim", "eta=0.0;num_steps=3", 3, "", "Replacement()"))
    assert plain == "prior, ddim (eta=0.0), Replacement"
    assert nfe.family(row("heun", "num_steps=3", 5, "")) == "prior, heun, conditional"


def test_seconds_are_of_the_machine_of_most_rows() -> None:
    other = {**ROWS[0], "nfe": "40", "device": "another"}
    points = nfe.curves([*ROWS, other], "hole_psnr")[
        "prior, ddim (eta=0.0), NullSpace(confidence=7.0, sigma_data=0.5)"
    ]
    assert [point.seconds for point in points[:2]] == [0.05, 0.2]
    assert points[2].calls == 40 and math.isnan(points[2].seconds)


def test_the_table_marks_the_best_of_each_number_of_calls() -> None:
    assert nfe.table(ROWS, "hole_psnr").splitlines()[2:] == [
        "| prior, RePaint | – | **13.25** |",
        "| prior, ddim (eta=0.0), NullSpace(confidence=7.0, sigma_data=0.5) | **11** | 12.5 |",
    ]


def test_of_a_distance_the_least_is_best() -> None:
    rows = [{**row, "fid_flowers": value} for row, value in zip(ROWS, "3124", strict=True)]
    best = nfe.table(rows, "fid_flowers")
    assert best.count("**") == 4 and "**1**" in best and "**2**" in best


def test_a_study_has_every_method_at_every_number_of_calls() -> None:
    runs = list(study.settings("A", "B", (10, 20), without=True))
    assert len(runs) == 4 * 2 + 2 + 6 * 2
    assert ["checkpoint=A", "sampler=ddpm", "guidance=dps", "sampler.num_steps=20"] in runs
    assert ["checkpoint=B", "sampler=heun", "guidance=null", "sampler.num_steps=5"] in runs
    assert ["checkpoint=B", "sampler=ddim", "guidance=cfg", "sampler.num_steps=5"] in runs
    assert ["checkpoint=B", "sampler=renoise", "guidance=null", "sampler.num_steps=10"] in runs
    # No model adds its own guidance, and the calls of that, in silence.
    assert all(sum(word.startswith("guidance=") for word in one) == 1 for one in runs)
    assert not any("checkpoint=B" in one for one in study.settings("A", None, (10, 20), False))
    assert [one for one in runs if "checkpoint=B" in one] == list(
        study.settings(None, "B", (10, 20), without=True)
    )
    without = list(study.settings(None, "B", (10, 20), without=False))
    assert len(without) == 5 * 2 and not any("guidance=cfg" in one for one in without)


def test_a_study_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        study.main([])
    assert ended.value.code == 2 and "name a PRIOR" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.ci
def test_the_command_measures_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "JUMPING", ())
    monkeypatch.setattr("restore.precision.ratio", lambda device: 1.0)
    monkeypatch.chdir(tmp_path)
    prior, folder = write_model("grey_prior", tmp_path), study.FOLDER / "digits_half"
    precision = ["--with", "trainer.precision=bf16-mixed"]
    arguments = [str(prior), "--limit", "2", *precision, "--calls", "2"]
    study.main([*arguments, "3"])
    _, rows = results.read(folder / nfe.RESULTS)
    assert [one["nfe"] for one in rows] == ["2", "3"] * 4
    assert {one["guidance"].partition("(")[0] for one in rows} == {
        "Replacement", "NullSpace", "PiGDM", "DPS"
    }  # fmt: skip
    assert len({one["protocol"] for one in rows}) == 1
    assert {one["precision"] for one in rows} == {"bf16-mixed"}
    assert Image.open(folder / nfe.PLOT).width > 500
    assert "make nfe" in (folder / nfe.PAGE).read_text()
    monkeypatch.setattr(study, "ZERO_SHOT", study.ZERO_SHOT[:1])
    study.main(arguments)  # once more replaces the row of these calls
    assert len(results.read(folder / nfe.RESULTS)[1]) == 8


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_model_is_led_by_cfg_where_it_learned_to_do_without(
    dropout: float, tmp_path: Path
) -> None:
    """One that did not is measured by the samplers alone: the study does not end halfway."""
    condition = {"_target_": "restore.diffusion.condition.Condition", "dropout": dropout}
    facts = Facts(1, 1, None, None, has_hole=True)
    model = write_run({**CONDITIONAL, "condition": condition}, tmp_path, facts)
    assert study.does_without(str(model)) == (dropout > 0)
    assert study.does_without(str(write_model("grey_prior", tmp_path))) is False


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no rows"):
        nfe.write(tmp_path, "make nfe")
