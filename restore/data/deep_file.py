"""Files of 16 bits, with all of their numbers."""

import numpy as np
from PIL import Image

from restore.data import png_file, tiff_file


def words_of(image: Image.Image, packed: bytes) -> np.ndarray | None:
    """uint16 [H, W] or [H, W, 3] of a PNG or TIFF of 16 bits, on white; None of any other file."""
    if image.format == "TIFF":
        return tiff_file.deep(image, packed)
    return png_file.deep(image, packed) if image.format == "PNG" else None


def opaque_words(image: Image.Image, packed: bytes) -> np.ndarray | None:
    """Those of a file without transparency, None of any other."""
    return None if image.has_transparency_data else words_of(image, packed)
