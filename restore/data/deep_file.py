"""Opaque files of 16 bits, with all of their numbers."""

import numpy as np
from PIL import Image

from restore.data import tiff_file
from restore.data.deep_pixels import by_opencv


def words_of(image: Image.Image, packed: bytes) -> np.ndarray | None:
    """uint16 [H, W] or [H, W, 3] of an opaque PNG or TIFF of 16 bits, None of any other file."""
    if image.format == "TIFF":
        return tiff_file.deep(image, packed)
    opaque = packed[25:26] in (b"\0", b"\2") and "transparency" not in image.info
    is_deep = image.format == "PNG" and packed[24] == 16 and opaque
    return by_opencv(packed) if is_deep else None
