"""PNG where Pillow is wrong: 16 bits, one transparent grey, texts and profiles over 1 MB."""

import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from restore.data.words import by_opencv, image_of, levels

_SIGNATURE = 8  # bytes
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_LONG = 2**16  # bytes of a text that are kept where Pillow refuses the whole: it takes 2^20
_MOST = 2**25


def pixels(image: Image.Image, packed: bytes) -> Image.Image:
    image.load()
    depth, color_type = packed[24], packed[25]
    if depth == 16 and color_type != 0:
        return _sixteen_bits(packed, grey=color_type == 4)
    key = image.info.get("transparency")
    if depth == 16 or (image.mode in ("1", "L") and isinstance(key, int)):
        return _grey(image, depth, key)
    return image


def _grey(image: Image.Image, depth: int, key: int | None) -> Image.Image:
    """L, or LA where one grey is transparent. Pillow compares the key of fewer bits with pixels
    that it has scaled to 8, and that of 16 bits with nothing."""
    values = np.asarray(image if depth == 16 else image.convert("L"))
    grey = levels(values) if depth == 16 else values
    if key is None:
        return image_of(grey)
    transparent = values == (key if depth == 16 else key * 255 // (2**depth - 1))
    return image_of(np.dstack([grey, np.where(transparent, 0, 255).astype(np.uint8)]))


def _sixteen_bits(packed: bytes, grey: bool) -> Image.Image:
    """Rounded to 8 bits; Pillow drops the lower ones of all but grey without transparency."""
    words = by_opencv(packed)
    if words.dtype != np.uint16 or words.ndim != 3:
        raise ValueError("16-bit pixels that cannot be decoded")
    return image_of(levels(words[..., [0, 3]] if grey else words))


def without_long_text(packed: bytes) -> tuple[bytes, bytes | None]:
    """The file without the texts and the profile that Pillow refuses, and that profile."""
    kept, profile = [packed[:_SIGNATURE]], None
    for kind, body, whole in _chunks(packed):
        if kind == b"iCCP":
            unpacked = _unpacked(body.partition(b"\0")[2][1:])
            if len(unpacked) > _LONG:
                profile = unpacked
                continue
        elif kind in _TEXT and (len(body) > _LONG or len(_unpacked(_text(kind, body))) > _LONG):
            continue
        kept.append(whole)
    return b"".join(kept), profile


def _chunks(packed: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Type, content and all bytes of each chunk."""
    start = _SIGNATURE
    while start + 12 <= len(packed):
        stop = start + 12 + int.from_bytes(packed[start : start + 4], "big")
        yield packed[start + 4 : start + 8], packed[start + 8 : stop - 4], packed[start:stop]
        start = stop


def _text(kind: bytes, body: bytes) -> bytes:
    """The compressed part of a text chunk, empty where there is none."""
    rest = body.partition(b"\0")[2]
    if kind == b"zTXt":
        return rest[1:]
    compressed = kind == b"iTXt" and rest[:1] == b"\1"
    return rest[2:].partition(b"\0")[2].partition(b"\0")[2] if compressed else b""


def _unpacked(content: bytes) -> bytes:
    """The decompressed content, at most _MOST bytes of it."""
    try:
        return zlib.decompressobj().decompress(content, _MOST)
    except zlib.error:
        return b""
