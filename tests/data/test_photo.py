"""Holes and strength maps in memory mean what those of files mean."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restore.data.mask_files import read_drawn
from restore.data.photo import hole_of, strength_of, values
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


def test_what_is_wrong_with_a_hole_is_said_of_the_hole() -> None:
    with pytest.raises(InputError, match="the hole of int64 is not read"):
        hole_of(drawn().astype(np.int64), SHAPE)
    with pytest.raises(InputError, match=r"the hole of shape \[2, 8, 8\] is not read"):
        hole_of(np.stack([drawn(), drawn()]), (2, 8, 8))
    with pytest.raises(InputError, match="the strength_map of floats from 0 to 9 is not read"):
        strength_of(drawn() * 9.0, SHAPE)


def test_floats_that_look_like_those_from_minus_one_to_one_are_told() -> None:
    ramp = torch.linspace(-1, 1, 64).view(1, 8, 8)
    with pytest.warns(
        UserWarning, match=r"from -1 to 1 is read as noise .* give \(image \+ 1\) / 2"
    ):
        values(ramp)
    noisy = torch.linspace(0, 1, 64).view(1, 8, 8) + 0.8 * ramp.flip(-1, -2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image in (noisy * 1.6 - 0.6, (ramp + 1) / 2, ramp * 0.5):
            values(image)


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


def test_light_greys_under_transparency_that_hides_nothing_are_the_drawing(tmp_path: Path) -> None:
    """Programs that paint save it with every picture."""
    light = Image.new("RGBA", (8, 8), (204, 204, 204, 255))
    light.save(tmp_path / "light.png")
    assert (read_drawn(tmp_path / "light.png") == 204).all()
    assert torch.allclose(strength_of(light, SHAPE), torch.tensor(0.8))
