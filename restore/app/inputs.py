"""The files that a restoration starts from: what was uploaded, and what was drawn over it."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from restore.app import canvas
from restore.data.image_file import upright_size
from restore.types import InputError


class Inputs(NamedTuple):
    """Files as the models get them. marked: the photo with what was drawn, uint8 [H, W, 3]."""

    photo: Path
    mask: Path | None
    strength_map: Path | None
    marked: np.ndarray | None


def find_upload(given: Any) -> Path:
    """The file of a component, which Gradio has checked to be one of its own uploads.

    Raises InputError where there is none, or no longer.
    """
    if not given:
        raise InputError("choose a photo first")
    path = Path(given)
    if not path.is_file():
        raise InputError("the photo is no longer there: choose it again")
    return path


def size_of(photo: Path) -> tuple[int, int]:
    """Height and width in px, as the photo is seen upright."""
    return upright_size(photo) or (0, 0)


def write(folder: Path, draws: str, given: Any, drawn: Any, soft: Any) -> Inputs:
    """Writes photo, mask and strength map into `folder`.

    draws: what the canvas is for, as `Purpose.draws`. given, drawn, soft: the values of the
    components of photo, canvas and strength map.
    """
    photo = folder / "photo.png"
    shutil.copyfile(find_upload(given), photo)
    strength_map = canvas.accept_strength(Path(soft), size_of(photo), folder) if soft else None
    if draws == "hole":
        mask = folder / "mask.png"
        hole = canvas.hole_of(drawn, size_of(photo))
        canvas.write_hole(hole, mask)
        marked = canvas.with_hole(canvas.read_shown(photo), hole)
        return Inputs(photo, mask, strength_map, marked)
    if draws == "colors":
        canvas.paint(photo, drawn)
        return Inputs(photo, None, strength_map, canvas.read_shown(photo))
    return Inputs(photo, None, strength_map, None)
