"""Small files in the image of public ones that were read wrongly, with the values they hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restore.data.image_file import ImageError, load_image

FILES = Path(__file__).parent / "files"
EXPECTED: dict[str, dict[str, Any]] = json.loads((FILES / "expected.json").read_text())
IMAGES = [name for name in EXPECTED if (FILES / name).suffix in (".tif", ".png", ".bmp", ".jpg")]


@pytest.mark.parametrize("name", [name for name in IMAGES if "error" not in EXPECTED[name]])
def test_right_values(name: str) -> None:
    expected = EXPECTED[name]
    image = load_image(FILES / name, 3).numpy()
    assert list(image.shape) == expected["shape"]
    tolerance = expected["tolerance"]
    np.testing.assert_allclose(image.mean(axis=(1, 2)), expected["mean"], atol=tolerance)
    np.testing.assert_allclose(image[:, 0, ::4].T, expected["first_row"], atol=tolerance)


@pytest.mark.parametrize("name", [name for name in IMAGES if "error" in EXPECTED[name]])
def test_refused_in_words(name: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(FILES / name, 3)
    assert all(word in str(caught.value) for word in EXPECTED[name]["error"])
