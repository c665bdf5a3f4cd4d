"""BMP where Pillow is wrong: runs of 4-bit pixels, and embedded colour profiles."""

from PIL import Image

from restore.data.deep_pixels import by_opencv, image_of

_HEADER = 14  # bytes before the one that says its own size
_RLE4 = 2
_V5, _EMBEDDED = 124, b"DEBM"


def pixels(image: Image.Image, packed: bytes) -> Image.Image:
    if int.from_bytes(packed[30:34], "little") != _RLE4 or len(packed) < 54:
        image.load()
        return image
    array = by_opencv(packed)
    if array.shape[:2] != (image.height, image.width):
        raise ValueError("run-length encoded pixels that cannot be decoded")
    return image_of(array)


def profile(packed: bytes) -> bytes | None:
    """The ICC profile that a header of version 5 points to."""

    def number(at: int) -> int:
        return int.from_bytes(packed[_HEADER + at : _HEADER + at + 4], "little")

    if number(0) < _V5 or packed[_HEADER + 56 : _HEADER + 60] != _EMBEDDED:
        return None
    start = _HEADER + number(112)
    return packed[start : start + number(116)] or None
