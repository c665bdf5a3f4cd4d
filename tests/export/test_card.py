"""What a card says of a training, by a model that is changed by hand."""

import json
from typing import Any

from entry import ROOT

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


def test_names_of_data_are_whole() -> None:
    names = ("restore.data.digits.Digits", "train-*.tar", ".", "photos")
    text = card.text("a", {**model(), "data": dict.fromkeys(names, "so")})
    assert "Data: Digits: so; train-*.tar: so; photos of one's own: so; photos: so\n" in text
