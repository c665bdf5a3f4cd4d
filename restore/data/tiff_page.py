"""Pages of a TIFF that Pillow does not know: written anew, as grey or RGB of 8 or 16 bits."""

import contextlib
import io
import logging
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from restore.data.deep_pixels import levels, on_white

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
_PREMULTIPLIED, ALPHA = 1, 2  # a last sample that nothing explains is alpha, as to Pillow
_ORIENTATION, _PROFILE = 274, 34675
_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Of damaged files it would print lines of its own beside the one that names the file.
logging.getLogger("tifffile").disabled = True


def is_tiff(packed: bytes) -> bool:
    return packed[:4] in _MARKS


def opened(packed: bytes, formats: list[str], most: int) -> tuple[Image.Image, bytes]:
    """An image, and the file of which it is: of a TIFF that Pillow does not open, its first page
    written anew, if that can be read and has at most that many pixels.

    Such are pixels of 10 bits, white as zero with the high byte first, a second sample that is said
    to be nothing. Raises what Pillow raises.
    """
    try:
        return Image.open(io.BytesIO(packed), formats=formats), packed
    except UnidentifiedImageError:
        if is_tiff(packed):
            # tifffile raises nearly every built-in exception; Pillow's stands for them all.
            with contextlib.suppress(Exception):
                made = _anew(packed, most)
                return Image.open(io.BytesIO(made), formats=formats), made
        raise


def _anew(packed: bytes, most: int) -> bytes:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(packed)) as file:
        page = file.pages.first
        bits = page.bitspersample
        if page.sampleformat != 1 or bits > 16 or page.imagewidth * page.imagelength > most:
            raise ValueError("no whole numbers of at most 16 bits, or too many")
        kind = (page.extrasamples or (ALPHA,))[0]
        samples, largest = _samples(page, packed), 2**bits - 1
        if bits == 16:
            return _written(words_of(samples, page.photometric, kind), page)
        return _written(levels(colors_of(samples, page.photometric, kind, largest), largest), page)


def _written(colors: np.ndarray, page: Any) -> bytes:
    """A plain TIFF of colours [H, W, 1 to 4], with the profile and the turn of a page."""
    import tifffile

    count = colors.shape[-1]
    profile, turn = (page.tags.get(tag) for tag in (_PROFILE, _ORIENTATION))
    made = io.BytesIO()
    tifffile.imwrite(
        made,
        colors if count > 1 else colors[..., 0],
        photometric="rgb" if count > 2 else "minisblack",
        planarconfig="contig" if count > 1 else None,
        extrasamples=["unassalpha"] if count in (2, 4) else None,
        iccprofile=profile.value if profile else None,
        extratags=[(_ORIENTATION, 3, 1, int(turn.value), True)] if turn else (),
        metadata=None,
    )
    return made.getvalue()


def colors_of(words: np.ndarray, photometric: int | None, extra: int, largest: int) -> np.ndarray:
    """uint16 [H, W, 1 to 4]: grey or RGB, black is zero, with alpha where `extra` says that the
    last sample is one; premultiplied ones are laid on white.

    words [H, W, samples] from 0 to largest. Raises ValueError for other colour spaces or samples.
    """
    colors, alpha = _separated(words, photometric, extra, largest)
    return colors if alpha is None else np.concatenate([colors, alpha], axis=-1)


def words_of(words: np.ndarray, photometric: int | None, extra: int) -> np.ndarray:
    """The colours of `colors_of` with 16 bits, [H, W, 1 or 3], all laid on white."""
    colors, alpha = _separated(words, photometric, extra, 2**16 - 1)
    return colors if alpha is None else on_white(colors, alpha)


def _separated(
    words: np.ndarray, photometric: int | None, extra: int, largest: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours [H, W, 1 or 3] as `colors_of` has them, and alpha [H, W, 1] where there is one."""
    count, colored = words.shape[-1], 3 if photometric == RGB else 1
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) or count - colored not in (0, 1):
        raise ValueError(
            f"{count} samples of {largest.bit_length()} bits in colour space {photometric} are "
            "not supported: save it as RGB"
        )
    colors = words[..., :colored].astype(np.int64)
    if photometric == WHITE_IS_ZERO:
        colors = largest - colors
    if count > colored and extra == _PREMULTIPLIED:  # on white: what is lacking is white
        colors = np.minimum(colors + largest - words[..., -1:], largest)
    alpha = words[..., -1:] if count > colored and extra == ALPHA else None
    return colors.astype(np.uint16), alpha


def _samples(page: Any, packed: bytes) -> np.ndarray:
    """[H, W, samples] of unsigned numbers."""
    import tifffile

    planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1
    if page.bitspersample in (8, 16):
        found: np.ndarray = page.asarray()
    else:
        found = _unpacked(page, packed, page.samplesperpixel if planar else 1)
    if planar:
        return np.moveaxis(found, 0, -1)
    return found.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)


def _unpacked(page: Any, packed: bytes, planes: int) -> np.ndarray:
    """[planes, H, W] or [1, H, W * samples] of numbers that lie without gaps in rows of bytes."""
    if page.compression != 1 or page.is_tiled or page.fillorder != 1:
        raise ValueError("bits under compression, in tiles, or the other way round")
    bits, count = page.bitspersample, page.imagewidth * page.samplesperpixel // planes
    places = zip(page.dataoffsets, page.databytecounts, strict=True)
    data = b"".join(packed[start : start + size] for start, size in places)
    rows = np.frombuffer(data, np.uint8).reshape(planes * page.imagelength, -(-count * bits // 8))
    each = np.unpackbits(rows, axis=1)[:, : count * bits].reshape(len(rows), count, bits)
    words: np.ndarray = each @ (1 << np.arange(bits, dtype=np.uint16)[::-1])
    return words.reshape(planes, page.imagelength, count)
