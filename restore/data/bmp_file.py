"""BMP where Pillow is wrong: run-length encoded pixels, profiles, and alpha that says nothing."""

from typing import Any

import numpy as np
from PIL import Image

_HEADER = 14  # bytes before the one that says its own size
_V5, _EMBEDDED = 124, b"DEBM"
_LINE, _BITMAP, _DELTA = 0, 1, 2  # what follows a count of 0; more is a count of literal pixels


def pixels(image: Image.Image, packed: bytes) -> Image.Image:
    """Pillow takes other places for the pixels of some runs, and refuses bitmaps that end early.

    A bitmap that is opaque nowhere says nothing by it: programs leave those bytes 0, and browsers
    show it.
    """
    file: Any = image
    kind, _, start, given = file.tile[0]
    if kind != "bmp_rle" or not isinstance(given, tuple):
        image.load()
        nowhere = image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)
        return image.convert("RGB") if nowhere else image
    _, by_four, direction = given
    rows = decoded(packed[start:], image.height, image.width, 4 if by_four else 8)
    indices = Image.fromarray(rows if direction == 1 else rows[::-1])
    if image.mode == "P" and image.palette is not None:
        rawmode, colors = image.palette.getdata()
        indices.putpalette(colors, rawmode)
    return indices


def decoded(packed: bytes, height: int, width: int, bits: int) -> np.ndarray:
    """Run-length encoded numbers of `bits`, 4 or 8, as uint8 [H, W] in the order of their rows.

    BI_RLE4 and BI_RLE8 of BITMAPINFOHEADER (Microsoft, "Bitmap Compression"). What no run reaches
    is 0, and what lies outside of the image is left out.

    Raises:
        ValueError: bytes that end before the image does.
    """
    rows = np.zeros((height, width), dtype=np.uint8)
    x = y = at = 0
    while y < height:
        pair = packed[at : at + 2]
        at += 2
        if len(pair) < 2:
            if (y, x) == (height - 1, width):
                break
            raise ValueError(f"truncated: its pixels end in row {y + 1} of {height}")
        count, value = pair
        if count:
            numbers = _numbers(bytes([value]) * count, bits)[:count]
        elif value == _LINE:
            x, y = 0, y + 1
            continue
        elif value == _BITMAP:
            break
        elif value == _DELTA:
            right, up = (packed[at : at + 2] + b"\0\0")[:2]
            x, y, at = x + right, y + up, at + 2
            continue
        else:
            length = (value * bits + 7) // 8
            numbers = _numbers(packed[at : at + length], bits)[:value]
            at += length + length % 2
        room = rows[y, x : x + len(numbers)]
        room[:] = numbers[: len(room)]
        x += len(numbers)
    return rows


def _numbers(packed: bytes, bits: int) -> np.ndarray:
    """One of each byte, or two, the upper four bits first."""
    whole = np.frombuffer(packed, np.uint8)
    return whole if bits == 8 else np.stack([whole >> 4, whole & 15], axis=1).ravel()


def profile(packed: bytes) -> bytes | None:
    """The ICC profile that a header of version 5 points to."""

    def number(at: int) -> int:
        return int.from_bytes(packed[_HEADER + at : _HEADER + at + 4], "little")

    if number(0) < _V5 or packed[_HEADER + 56 : _HEADER + 60] != _EMBEDDED:
        return None
    start = _HEADER + number(112)
    return packed[start : start + number(116)] or None
