"""Holes and strength maps in memory mean what those of files mean."""

import numpy as np
import pytest
import torch
from PIL import Image

from restore.data.photo import hole_of, strength_of
from restore.types import InputError

SHAPE = (1, 8, 8)


def drawn() -> np.ndarray:
    """bool [8, 8]."""
    hole = np.zeros((8, 8), bool)
    hole[2:5, 1:7] = True
    return hole


def strokes(level: int, opaque: np.ndarray) -> Image.Image:
    """Of one grey, with transparency."""
    grey = np.full_like(opaque, level, np.uint8)
    return Image.fromarray(np.dstack([grey] * 3 + [opaque.astype(np.uint8) * 255]))


@pytest.mark.parametrize(
    ("top", "kind"), [(255, np.uint16), (2, np.uint8), (127, np.uint8), (0.4, np.float32)]
)
def test_a_hole_that_is_nowhere_half_of_its_range_is_refused(top: float, kind: type) -> None:
    """It would be empty, and the photo would come back as it is."""
    with pytest.raises(InputError, match=f"nothing in it is half of its range .*{top:g} of"):
        hole_of((drawn() * top).astype(kind), SHAPE)
    assert not hole_of(np.zeros((8, 8), kind), SHAPE).any()


def test_half_of_the_range_is_hole() -> None:
    for top, kind in ((128, np.uint8), (32768, np.uint16), (0.5, np.float32)):
        hole = hole_of((drawn() * top).astype(kind), SHAPE)
        assert torch.equal(hole[0, 0] > 0, torch.from_numpy(drawn()))


def test_white_strokes_on_nothing_are_the_drawing() -> None:
    assert np.array_equal(hole_of(strokes(255, drawn()), SHAPE)[0, 0] > 0, drawn())
    assert np.array_equal(strength_of(strokes(255, drawn()), SHAPE)[0, 0] > 0, drawn())
    assert np.array_equal(hole_of(strokes(0, drawn()), SHAPE)[0, 0] > 0, ~drawn())
    assert hole_of(Image.new("L", (8, 8), 255), SHAPE).all()


def test_a_strength_map_of_zeros_and_ones_is_none_and_all() -> None:
    for kind in (bool, np.uint8, np.uint16, np.float32):
        strength = strength_of(drawn().astype(kind), SHAPE)
        assert np.array_equal(strength[0, 0].numpy(), drawn().astype(np.float32))
    half = strength_of(np.full((8, 8), 51, np.uint8), SHAPE)
    assert float(half.max()) == pytest.approx(0.2)
