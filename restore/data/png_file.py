"""PNG where Pillow is wrong: 16 bits, one transparent grey, long texts, pixels that are damaged."""

import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from restore.data.deep_pixels import by_opencv, image_of, levels, on_white

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_LONG = 2**16  # bytes of a text that are kept where Pillow refuses the whole
_TAKEN, _TAKEN_IN_ALL = 2**20, 2**26  # bytes of a text, and of all of them, that Pillow takes
_MOST = 2**25


def is_png(packed: bytes) -> bool:
    return packed.startswith(_SIGNATURE)


def pixels(image: Image.Image, packed: bytes) -> Image.Image:
    image.load()
    depth, color_type = packed[24], packed[25]
    if depth == 16 and color_type != 0:
        return _sixteen_bits(packed, grey=color_type == 4)
    key = image.info.get("transparency")
    if depth == 16 or (image.mode in ("1", "L") and isinstance(key, int)):
        return _grey(image, depth, key)
    return image


def deep(image: Image.Image, packed: bytes) -> np.ndarray | None:
    """uint16 [H, W] or [H, W, 3] of a file of 16 bits, on white; None of any other."""
    depth, color_type = packed[24], packed[25]
    if depth != 16:
        return None
    words = by_opencv(packed)
    if color_type == 0:
        key = image.info.get("transparency")
        return np.where(words == key, 65535, words).astype(np.uint16) if key is not None else words
    if words.shape[2:] != (4,):
        return words
    made = on_white(words[..., :3], words[..., 3:])
    return made[..., 0] if color_type == 4 else made


def _grey(image: Image.Image, depth: int, key: int | None) -> Image.Image:
    """L, or LA where one grey is transparent. Pillow compares the key of fewer bits with pixels
    that it has scaled to 8, and that of 16 bits with nothing."""
    values = np.asarray(image if depth == 16 else image.convert("L"))
    grey = levels(values) if depth == 16 else values
    if key is None:
        return image_of(grey)
    largest = 2**depth - 1  # other bits of the key are nothing
    transparent = values == (key if depth == 16 else (key & largest) * 255 // largest)
    return image_of(np.dstack([grey, np.where(transparent, 0, 255).astype(np.uint8)]))


def _sixteen_bits(packed: bytes, grey: bool) -> Image.Image:
    """Rounded to 8 bits; Pillow drops the lower ones of all but grey without transparency."""
    words = by_opencv(packed)
    if words.dtype != np.uint16 or words.ndim != 3:
        raise ValueError("16-bit pixels that cannot be decoded")
    return image_of(levels(words[..., [0, 3]] if grey else words))


def tidied(packed: bytes) -> tuple[bytes, bytes | None]:
    """The file as Pillow takes it, and its profile where that had to go.

    Where texts or the profile are longer than Pillow takes, the long ones are left out.

    Raises:
        ValueError: pixels that are not those that were written, which Pillow reads all the same.
    """
    lengths = [0]
    for kind, whole in _chunks(packed):
        if kind == b"IDAT" and zlib.crc32(whole[4:-4]) != int.from_bytes(whole[-4:], "big"):
            raise ValueError("damaged: the checksum of its pixels does not fit")
        if kind == b"iCCP" or kind in _TEXT:
            lengths.append(max(len(whole), len(_content(kind, whole))))
    if max(lengths) <= _TAKEN and sum(lengths) <= _TAKEN_IN_ALL:
        return packed, None
    kept, profile = [packed[: len(_SIGNATURE)]], None
    for kind, whole in _chunks(packed):
        content = _content(kind, whole)
        if kind == b"iCCP" and len(content) > _LONG:
            profile = content
        elif kind not in _TEXT or max(len(whole), len(content)) <= _LONG:
            kept.append(bytes(whole))
    return b"".join(kept), profile


def _chunks(packed: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Type and all bytes of each whole chunk."""
    start, view = len(_SIGNATURE), memoryview(packed)
    while start + 12 <= len(packed):
        stop = start + 12 + int.from_bytes(packed[start : start + 4], "big")
        kind = packed[start + 4 : start + 8]
        if stop > len(packed):
            return
        yield kind, view[start:stop]
        start = len(packed) if kind == b"IEND" else stop


def _content(kind: bytes, whole: memoryview) -> bytes:
    """What is compressed in a text or a profile, unpacked; empty where nothing is."""
    if kind == b"iCCP":
        return _unpacked(bytes(whole[8:-4]).partition(b"\0")[2][1:])
    return _unpacked(_text(kind, bytes(whole[8:-4]))) if kind in _TEXT else b""


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
