"""TIFF where Pillow is wrong: signed values, YCbCr without compression, 16 bits."""

import io

import numpy as np
from PIL import Image, TiffImagePlugin

from restore.data.deep_pixels import image_of, levels, on_white
from restore.data.tiff_page import MADE

_BITS, _COMPRESSION, _PHOTOMETRIC, _FORMAT = 258, 259, 262, 339
_YCBCR = 6


def pixels(image: Image.Image, packed: bytes) -> Image.Image:
    """Of a page that `tiff_page` has written anew, or one that Pillow alone knows."""
    if _is_deep(image):
        return image_of(levels(_words(packed)))
    image.load()
    return image


def deep(image: Image.Image, packed: bytes) -> np.ndarray | None:
    """uint16 [H, W] or [H, W, 3] of a page of more than 8 bits, on white and as it lies in the
    file; None of any other."""
    if not _is_deep(image):
        return None
    words = _words(packed)
    if words.shape[-1] == 4:
        return on_white(words[..., :3], words[..., 3:])
    return words[..., 0] if words.shape[-1] == 1 else words


def _is_deep(image: Image.Image) -> bool:
    """Whether there are 16 bits; ValueError for numbers that are no levels of light."""
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags = image.tag_v2
    if set(_numbers(tags.get(_FORMAT, 1))) & {2, 3, 5, 6}:
        raise ValueError(
            "signed, float or complex values have no defined range: save 8 or 16 unsigned bits"
        )
    if tags.get(_PHOTOMETRIC) == _YCBCR and tags.get(_COMPRESSION, 1) == 1:
        raise ValueError("YCbCr without compression, which is not supported: save it as RGB")
    return set(_numbers(tags.get(_BITS, 1))) == {16}


def _words(packed: bytes) -> np.ndarray:
    """uint16 [H, W, samples]; ValueError for a page that was not written anew."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(packed)) as file:
        page = file.pages.first
        if page.software != MADE:
            raise ValueError("16-bit pixels that cannot be decoded")
        return np.asarray(page.asarray()).reshape(page.imagelength, page.imagewidth, -1)


def _numbers(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)
