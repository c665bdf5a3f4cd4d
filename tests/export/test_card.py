"""What a card says of a training, by a model that is changed by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from entry import ROOT
from small_models import write_model

import restore
from restore.export import card


def model(**task: Any) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((ROOT / "experiments/denoise_any/model.json").read_text())
    said["config"]["task"] |= task
    return said


def test_accumulated_batches_are_counted() -> None:
    given = model(accumulate=1)
    size = given["config"]["data"]["batch_size"]
    assert f"updates of {size} images" in card.text("a", given)
    assert f"updates of {3 * size} images" in card.text("a", model(accumulate=3))


def test_the_setting_is_that_of_the_training() -> None:
    """Its updates are not those of the checkpoint, which may be an earlier one."""
    given = model(adversary=None)
    given |= {"parameters": 1234, "bytes": 5678, "progress": {"updates": 70}}
    given["record"]["training"]["updates"] = 90
    given["config"]["task"]["_target_"] = "restore.task.denoising.Denoiser"
    given["config"]["task"]["network"] = {"_target_": "restore.network.dncnn.DnCNN"}
    text = card.text("a", given)
    assert "Denoiser of DnCNN, without an adversary, 90 updates of" in text
    assert "- File: 1234 parameters as" in text and ", 5678 bytes, " in text
    given["record"] = None
    given["config"]["task"] |= {"network": None, "adversary": {"weight": 1.0}}
    assert "Denoiser of Denoiser, with an adversary, 70 updates of" in card.text("a", given)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("blind", ""),
        ("denoiser", " --sigma LEVEL"),
        ("inpainter", " --mask MASK"),
        ("prior", " --mask MASK"),
        ("sketcher", " --strength 0.5"),
    ],
)
def test_the_command_of_a_card_has_what_the_model_wants(
    tmp_path: Path, name: str, options: str
) -> None:
    loaded = restore.load(write_model(name, tmp_path), device="cpu")
    text = card.text("a", model(), loaded)
    assert f"- Use: `restore predict a PHOTO -o DIR{options}`, `python evaluate.py" in text
    given = {"hole": "mask" in options, "strength": 0.5 if "strength" in options else None}
    loaded.check(**given, sigma=25.0 if "sigma" in options else None)


def test_a_card_names_the_weights_that_a_training_began_with() -> None:
    given = model()
    given["record"]["init"] = {"experiment": "b", "updates": 7, "checkpoint": "c.ckpt@0123"}
    assert "- Start: weights of b after 7 updates (c.ckpt@0123; " in card.text("a", given)
    given["record"]["init"] = None
    assert "- Start: " not in card.text("a", given)


def test_names_of_data_are_whole() -> None:
    names = ("restore.data.digits.Digits", "train-*.tar", ".", "photos")
    text = card.text("a", {**model(), "data": dict.fromkeys(names, "so")})
    assert "Data: Digits: so; train-*.tar: so; photos of one's own: so; photos: so\n" in text


def test_what_a_training_measured_comes_before_what_its_export_measured() -> None:
    metrics = {"psnr": 30.123456, "fid_inception": 4.5, "kid_inception": 0.5}
    own = [{"benchmark": "own", "n": 7, "metrics": metrics}]
    check = {"later": {"metric": "psnr", "value": 20.0, "lost_db": -0.00001}}

    def answers(evaluation: Any, checked: Any) -> str:
        given = {**model(), "record": {"evaluation": evaluation}, "check": checked}
        [line] = [one for one in card.text("a", given).splitlines() if one.startswith("- Answer")]
        return line.removeprefix("- Answer: ")

    assert answers(own, check) == "own (n = 7): psnr 30.12, fid_inception 4.5"
    assert answers([], check) == "later: psnr 20"
    assert answers([], {}) == "not measured on a benchmark"
    measured = {"evaluation": own}
    assert card._benchmark(measured, check) == "own" and card._benchmark({}, check) == "later"
    assert card._loss(check) == "; against float32 it costs 0.0000 dB on later"
