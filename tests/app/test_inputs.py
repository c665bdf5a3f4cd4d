"""The files that a restoration starts from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from restore.app import canvas, inputs
from restore.types import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "uploaded.png"
    Image.fromarray(PIXELS).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def drawn() -> dict[str, Any]:
    """A green stroke over the first four rows."""
    layer = np.zeros((20, 28, 4), np.uint8)
    layer[:4] = (0, 255, 0, 255)
    return {"background": None, "layers": [Image.fromarray(layer)]}


@pytest.fixture
def soft(tmp_path: Path) -> str:
    path = tmp_path / "soft.png"
    Image.fromarray(np.full((20, 28), 128, np.uint8)).save(path)
    return str(path)


def test_without_a_photo_nothing_begins(tmp_path: Path, photo: Path) -> None:
    for nothing in (None, ""):
        with pytest.raises(InputError, match="choose a photo first"):
            inputs.find_upload(nothing)
    for gone in (tmp_path / "gone.png", tmp_path):
        with pytest.raises(InputError, match="no longer there"):
            inputs.find_upload(str(gone))
    assert inputs.find_upload(str(photo)) == photo
    assert inputs.size_of(photo) == (20, 28)


def test_a_hole_is_drawn(photo: Path, folder: Path, drawn: dict[str, Any], soft: str) -> None:
    made = inputs.write(folder, "hole", str(photo), drawn, soft)
    hole = np.zeros((20, 28), bool)
    hole[:4] = True
    assert made.mask is not None and made.marked is not None and made.strength_map is not None
    assert np.array_equal(np.asarray(Image.open(made.mask)) > 0, hole)
    assert np.array_equal(np.asarray(Image.open(made.photo)), PIXELS)
    assert np.array_equal((made.marked != PIXELS).any(-1), hole)
    assert canvas.read_shown(made.photo).shape == made.marked.shape


def test_colors_are_painted_onto_a_copy(photo: Path, folder: Path, drawn: dict[str, Any]) -> None:
    before = photo.read_bytes()
    made = inputs.write(folder, "colors", str(photo), drawn, "")
    painted = np.asarray(Image.open(made.photo))
    assert made.mask is None and made.strength_map is None and made.marked is not None
    assert np.array_equal(painted[4:], PIXELS[4:]) and not np.array_equal(painted, PIXELS)
    assert np.array_equal(made.marked, painted) and photo.read_bytes() == before


def test_a_photo_alone(photo: Path, folder: Path, drawn: dict[str, Any], soft: str) -> None:
    made = inputs.write(folder, "", str(photo), drawn, soft)
    assert made.photo.read_bytes() == photo.read_bytes() and made.strength_map is not None
    assert made.mask is None and made.marked is None
    assert np.asarray(Image.open(made.strength_map)).shape == (20, 28)
