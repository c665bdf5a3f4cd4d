"""The numbers of a TIFF page, in whichever order, planes, strips, tiles and packing they lie.

TIFF 6.0 (Adobe, 1992), sections 3, 9, 14 and 15. libtiff unpacks: packed bytes are given to it as
a grey image of 8 bits, so that it need know nothing of what they mean.
"""

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import TiffImagePlugin

_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS, _LZMA, _ZSTD = 1, 5, 8, 32946, 32773, 34925, 50000
PACKINGS = {_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS, _LZMA, _ZSTD}
_SEPARATE, _REVERSED, _DIFFERENCES = 2, 2, 2  # planes, bits of each byte, a predictor
_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_MOST = 2**29  # numbers of a plane, with what tiles have beyond it
_BLOCK = 2**22  # bits that are unpacked at once, a byte each


def samples(page: Any, packed: bytes) -> np.ndarray:
    """uint8 or uint16 [H, W, samples] of a page of tifffile, as they are stored.

    Raises:
        ValueError or OSError: damaged or cut off, or a predictor of other numbers.
    """
    planes = page.samplesperpixel if page.planarconfig == _SEPARATE else 1
    parts = [
        packed[start : start + size]
        for start, size in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    if page.fillorder == _REVERSED:
        parts = [part.translate(_TURNED) for part in parts]
    each, count = len(parts) // planes, page.samplesperpixel // planes
    made = [_plane(page, parts[k * each : (k + 1) * each], count) for k in range(planes)]
    return made[0] if planes == 1 else np.concatenate(made, axis=-1)


def _plane(page: Any, parts: Sequence[bytes], count: int) -> np.ndarray:
    """[H, W, count] of the strips or tiles of one plane."""
    high, wide, tiled = page.imagelength, page.imagewidth, page.is_tiled
    lines, width = (page.tilelength, page.tilewidth) if tiled else (page.rowsperstrip, wide)
    lines = lines if tiled else min(lines, high)
    down, across = -(-high // lines), -(-wide // width)
    length = lines * down * across if tiled else high
    row = -(-width * count * page.bitspersample // 8)
    if length * width * count > _MOST:
        raise ValueError(f"damaged: {length} x {width} pixels in strips or tiles")
    if len(parts) != down * across:
        raise ValueError(f"damaged: {len(parts)} strips or tiles of {down * across}")
    unpack = _joined if page.compression == _NONE else _unpacked
    rows = unpack(parts, page.compression, lines, length, row)
    numbers = _numbers(rows, page.bitspersample, width * count, page.parent.byteorder)
    numbers = numbers.reshape(length, width, count)
    if page.predictor != 1 and page.compression not in (_NONE, _PACKBITS):
        if page.predictor != _DIFFERENCES or page.bitspersample not in (8, 16):
            raise ValueError(f"predictor {page.predictor} of {page.bitspersample} bits")
        numbers = np.cumsum(numbers, axis=1, dtype=numbers.dtype)
    if tiled:
        numbers = numbers.reshape(down, across, lines, width, count).swapaxes(1, 2)
        numbers = numbers.reshape(down * lines, across * width, count)[:high, :wide]
    return numbers


def _joined(
    parts: Sequence[bytes], compression: int, lines: int, length: int, row: int
) -> np.ndarray:
    """uint8 [length, row] of bytes that are not packed, in parts of so many lines."""
    wanted = [min(lines, length - start) * row for start in range(0, length, lines)]
    data = b"".join(part[:size] for part, size in zip(parts, wanted, strict=True))
    if any(len(part) < size for part, size in zip(parts, wanted, strict=True)):
        raise ValueError(f"truncated: {len(data)} of {sum(wanted)} bytes")
    return np.frombuffer(data, np.uint8).reshape(length, row)


def _unpacked(
    parts: Sequence[bytes], compression: int, lines: int, length: int, row: int
) -> np.ndarray:
    """What `_joined` gives of packed bytes: those of a TIFF of their own, unpacked by libtiff."""
    sizes = [len(part) for part in parts]
    starts = (8 + np.cumsum([0, *sizes[:-1]])).tolist()
    tags = {256: [row], 257: [length], 258: [8], 259: [compression], 262: [1], 273: starts}
    tags |= {277: [1], 278: [lines], 279: sizes}
    data = b"".join(parts) + b"\0" * (sum(sizes) % 2)
    lists = 8 + len(data) + 2 + 12 * len(tags) + 4
    table, tail = struct.pack("<H", len(tags)), b""
    for tag, values in tags.items():
        value = struct.pack(f"<{len(values)}L", *values)
        if len(values) > 1:
            value, tail = struct.pack("<L", lists + len(tail)), tail + value
        table += struct.pack("<HHL", tag, 4, len(values)) + value
    file = struct.pack("<2sHL", b"II", 42, 8 + len(data)) + data + table + bytes(4) + tail
    with TiffImagePlugin.TiffImageFile(io.BytesIO(file)) as image:
        return np.asarray(image)


def _numbers(rows: np.ndarray, bits: int, count: int, order: str) -> np.ndarray:
    """[H, count] of rows of bytes, in which numbers of any bits lie without gaps."""
    if bits == 8:
        return rows
    if bits == 16:
        return np.ascontiguousarray(rows).view(f"{order}u2").astype(np.uint16)
    weights = 1 << np.arange(bits, dtype=np.uint16)[::-1]
    made = np.empty((len(rows), count), np.uint16 if bits > 8 else np.uint8)
    step = max(1, _BLOCK // (count * bits))
    for start in range(0, len(rows), step):
        block = np.unpackbits(rows[start : start + step], axis=1)[:, : count * bits]
        made[start : start + step] = block.reshape(len(block), count, bits) @ weights
    return made
