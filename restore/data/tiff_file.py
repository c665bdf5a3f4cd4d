"""TIFF where Pillow is wrong: more than 8 bits, signed values, white as zero, dark palettes."""

import io
import struct
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from restore.data.deep_pixels import by_opencv, image_of, levels
from restore.data.tiff_page import ALPHA, BLACK_IS_ZERO, RGB, WHITE_IS_ZERO, colors_of, words_of

_BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _EXTRA, _FORMAT = 258, 262, 274, 277, 338, 339
_COMPRESSION, _FILL_ORDER, _PLANAR = 259, 266, 284
_COLORMAP, _TILE = 320, 322
_CMYK, _YCBCR = 5, 6


def pixels(image: Image.Image, packed: bytes) -> Image.Image:
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags = image.tag_v2
    if set(_numbers(tags.get(_FORMAT, 1))) & {2, 3, 5, 6}:
        raise ValueError("signed, float or complex values have no defined range")
    _check_read(tags)
    bits = max(_numbers(tags.get(_BITS, 1)))
    if bits <= 8 or bits > 16:
        image.load()
        _lighten(image, tags.get(_COLORMAP))
        return image
    largest = 2**bits - 1
    if tags.get(_SAMPLES, 1) > 1:
        return _colors(_words(packed), tags, largest)
    return image_of(levels(_grey_words(image, largest), largest))


def _lighten(image: Image.Image, colors: tuple[int, ...] | None) -> None:
    """Takes a palette that was written with 8 bits instead of 16 at its word, as libtiff does."""
    if image.mode == "P" and colors is not None and 0 < max(colors) < 256:
        image.putpalette(np.reshape(colors, (3, -1)).T.ravel().tolist())


def deep(image: Image.Image, packed: bytes) -> np.ndarray | None:
    """uint16 [H, W] or [H, W, 3] of a page that `pixels` reads, on white; None where it is not of
    16 bits, or neither grey nor RGB.

    It lies as in the file; a grey page without transparency is turned, and `image` says so.
    """
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags = image.tag_v2
    samples, photometric = tags.get(_SAMPLES, 1), tags.get(_PHOTOMETRIC)
    if set(_numbers(tags.get(_BITS, 1))) != {16}:
        return None
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        return None
    if samples == 1:
        return _grey_words(image, 2**16 - 1)
    kind = _numbers(tags.get(_EXTRA, ALPHA))[0]
    made = words_of(_words(packed), photometric, kind)
    return made[..., 0] if made.shape[-1] == 1 else made


def _grey_words(image: TiffImagePlugin.TiffImageFile, largest: int) -> np.ndarray:
    white_is_zero = image.tag_v2.get(_PHOTOMETRIC) == WHITE_IS_ZERO
    image.load()
    words = np.asarray(image).astype(np.uint16)
    return largest - words if white_is_zero else words


def _check_read(tags: TiffImagePlugin.ImageFileDirectory_v2) -> None:
    """Raises ValueError for what Pillow reads without a word, and wrongly."""
    packed, planar = tags.get(_COMPRESSION, 1) != 1, tags.get(_PLANAR, 1) == 2
    reason = None
    if tags.get(_PHOTOMETRIC) == _YCBCR and not packed:
        reason = "YCbCr without compression"
    elif planar and packed and tags.get(_SAMPLES, 1) == 2:
        reason = "grey and transparency in planes of their own under compression"
    elif planar and not packed and tags.get(_FILL_ORDER, 1) == 2:
        reason = "planes whose bits lie the other way round"
    elif planar and (packed or _TILE in tags) and _is_unexplained(tags):
        reason = "a fourth plane that is not said to be transparency"
    if reason is not None:
        raise ValueError(f"{reason}, which is not supported: save it as RGB, pixel by pixel")


def _is_unexplained(tags: TiffImagePlugin.ImageFileDirectory_v2) -> bool:
    """Whether RGB of 8 bits has a fourth sample and says nothing of it: libtiff takes its plane for
    alpha that is multiplied already, and Pillow takes tiles of it from wrong places."""
    more = tags.get(_SAMPLES, 1) == 4 and _EXTRA not in tags
    return more and tags.get(_PHOTOMETRIC) == RGB and max(_numbers(tags.get(_BITS, 1))) <= 8


def _numbers(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _words(packed: bytes) -> np.ndarray:
    """The first page as uint16 [H, W, samples], in whichever planes it lies."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(packed)) as file:
        page = file.pages.first
        planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        try:
            words = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            words = _without_codecs(page, packed, planar)
    if words.dtype != np.uint16 or words.ndim != 3:
        raise ValueError("16-bit pixels that cannot be decoded")
    return np.moveaxis(words, 0, -1) if planar else words


def _without_codecs(page: Any, packed: bytes, planar: bool) -> np.ndarray:
    """What tifffile alone cannot unpack: LZW and its like."""
    if planar and page.bitspersample == 16:
        return np.stack([_plane(page, packed, number) for number in range(page.samplesperpixel)])
    if not planar and page.samplesperpixel in (3, 4):
        return by_opencv(_lying(page, packed))
    import tifffile

    raise ValueError(
        f"{page.samplesperpixel} samples of {page.bitspersample} bits under "
        f"{tifffile.COMPRESSION(page.compression).name} are read with the package imagecodecs "
        "only: pip install imagecodecs"
    )


def _lying(page: Any, packed: bytes) -> bytes:
    """The file without its orientation, which OpenCV would follow."""
    tag = page.tags.get(_ORIENTATION)
    if tag is None:
        return packed
    upright = struct.pack(f"{page.parent.byteorder}H", 1)
    return packed[: tag.valueoffset] + upright + packed[tag.valueoffset + 2 :]


def _plane(page: Any, packed: bytes, number: int) -> np.ndarray:
    """One plane as uint16 [H, W]: libtiff reads it as a grey image in a file of its own.

    That file is the old one with another table of tags behind it.
    """
    order = page.parent.byteorder
    count = len(page.dataoffsets) // page.samplesperpixel
    own = slice(number * count, (number + 1) * count)
    where, sizes = (324, 325) if page.is_tiled else (273, 279)
    tags = {256: [page.imagewidth], 257: [page.imagelength], 258: [16], 259: [page.compression]}
    tags |= {262: [BLACK_IS_ZERO], 277: [1], 317: [page.predictor], 266: [page.fillorder]}
    tags |= {322: [page.tilewidth], 323: [page.tilelength]} if page.is_tiled else {}
    tags |= {} if page.is_tiled else {278: [page.rowsperstrip]}
    tags |= {where: page.dataoffsets[own], sizes: page.databytecounts[own]}
    start = len(packed) + len(packed) % 2
    lists = start + 2 + 12 * len(tags) + 4
    table, tail = struct.pack(f"{order}H", len(tags)), b""
    for tag, values in sorted(tags.items()):
        value = struct.pack(f"{order}{len(values)}L", *values)
        if len(values) > 1:
            value, tail = struct.pack(f"{order}L", lists + len(tail)), tail + value
        table += struct.pack(f"{order}HHL", tag, 4, len(values)) + value
    head = packed[:2] + struct.pack(f"{order}HL", 42, start)
    body = packed[8:] + b"\0" * (len(packed) % 2)
    with Image.open(io.BytesIO(head + body + table + bytes(4) + tail)) as image:
        return np.asarray(image).astype(np.uint16)


def _colors(
    words: np.ndarray, tags: TiffImagePlugin.ImageFileDirectory_v2, largest: int
) -> Image.Image:
    photometric, count = tags.get(_PHOTOMETRIC), words.shape[-1]
    if photometric == _CMYK and count == 4:
        inks = levels(words, largest)
        return Image.frombytes("CMYK", (inks.shape[1], inks.shape[0]), inks.tobytes())
    kind = _numbers(tags.get(_EXTRA, ALPHA))[0]
    return image_of(levels(colors_of(words, photometric, kind, largest), largest))
