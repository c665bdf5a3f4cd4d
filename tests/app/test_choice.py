"""Models that a tab offers once more, after runs have come and gone."""

import shutil
from pathlib import Path

import pytest
from small_models import write_model

from restore import released
from restore.app import choice
from restore.app.models import Models
from restore.app.purpose import PURPOSES

INPAINTING = PURPOSES[0]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    monkeypatch.setattr(released, "names", list)
    for name in ("inpainter", "prior", "blind", "denoiser"):
        write_model(name, tmp_path)
    return Models([tmp_path], device="cpu")


def chosen(models: Models, *names: object) -> list[object]:
    offered = choice.offer(models, INPAINTING, *names)
    return [offered[part]["value"] for part in ("model", "then", "other")]


def test_what_is_chosen_stays_as_far_as_it_is_there(models: Models, tmp_path: Path) -> None:
    assert chosen(models, "inpainter", ["blind", "denoiser"], "prior") == [
        "inpainter",
        ["blind", "denoiser"],
        "prior",
    ]
    assert chosen(models, None, None, None) == ["prior", [], ""]
    for name in ("inpainter", "blind"):
        shutil.rmtree(tmp_path / name)
    models.refresh()
    kept = chosen(models, "inpainter", ["blind", "denoiser"], "inpainter")
    assert kept == ["prior", ["denoiser"], ""]


def test_only_a_model_of_the_tab_is_offered_for_the_place_of_the_first(models: Models) -> None:
    offered = choice.offer(models, INPAINTING, None, None, None)
    assert (
        offered["other"]["choices"]
        == ["", *offered["model"]["choices"]]
        == ["", "prior", "inpainter"]
    )
    assert set(offered["then"]["choices"]) == {"prior", "inpainter", "blind", "denoiser"}
