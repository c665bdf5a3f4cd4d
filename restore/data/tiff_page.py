"""Pages of a TIFF whose numbers are whole: written anew, as 8 or 16 bits pixel by pixel.

Pillow opens some of them, and some of these it reads wrongly, by how they lie and are packed.
"""

import contextlib
import io
import logging
from typing import Any

import numpy as np
from PIL import Image

from restore.data.deep_pixels import levels, on_white
from restore.data.tiff_samples import PACKINGS, samples

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
_PREMULTIPLIED, ALPHA = 1, 2  # a last sample that nothing explains is alpha, as to Pillow
_BANDS = {WHITE_IS_ZERO: (1, 2), BLACK_IS_ZERO: (1, 2), RGB: (3, 6), PALETTE: (1, 1), CMYK: (4, 6)}
_BITS, _PHOTOMETRIC, _ORIENTATION, _FORMAT, _PROFILE = 258, 262, 274, 339, 34675
_UNSIGNED, _VOID = 1, 4
MADE = "restore: written anew"  # tells such a page from others
_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Of damaged files they would print lines of their own beside the one that names the file.
for name in ("tifffile", "PIL.TiffImagePlugin"):
    logging.getLogger(name).disabled = True


def is_tiff(packed: bytes) -> bool:
    return packed[:4] in _MARKS


def opened(packed: bytes, formats: list[str], most: int) -> tuple[Image.Image, bytes]:
    """An image, and the file of which it is: of a TIFF of whole numbers without sign its first page
    written anew.

    Grey and colours of at most 16 bits in any order and packing that `samples` knows, palettes and
    inks are read so; all else, as JPEG in TIFF, is left to Pillow. Raises what Pillow raises, and
    ValueError for damage and for more than `most` pixels.
    """
    made = _anew(packed, most) if is_tiff(packed) else None
    packed = packed if made is None else made
    return Image.open(io.BytesIO(packed), formats=formats), packed


def _anew(packed: bytes, most: int) -> bytes | None:
    page = _first_page(packed)
    if page is None or not _is_plain(page):
        return None
    if page.imagewidth * page.imagelength > most:
        raise ValueError(f"{page.imagewidth} x {page.imagelength} pixels, at most {most} are read")
    _check_bands(page)
    numbers, largest = samples(page, packed), 2**page.bitspersample - 1
    if page.photometric == PALETTE:
        return _written(_painted(numbers[..., 0], page.colormap), page, "rgb")
    if page.photometric == CMYK:
        return _written(levels(numbers[..., :4], largest), page, "separated")
    kind = page.photometric, page.extrasamples
    if largest < 256:
        colors = levels(colors_of(numbers, *kind, largest), largest)
    elif numbers.shape[-1] == 2:  # Pillow opens no such grey with transparency
        colors = words_of(deepened(numbers, largest), *kind)
    else:
        colors = colors_of(deepened(numbers, largest), *kind, 2**16 - 1)
    return _written(colors, page, "rgb" if colors.shape[-1] > 2 else "minisblack")


def _first_page(packed: bytes) -> Any:
    """As tifffile has it; None of a file that it cannot read."""
    import tifffile

    # It raises nearly every built-in exception.
    with contextlib.suppress(Exception), tifffile.TiffFile(io.BytesIO(packed)) as file:
        return file.pages.first
    return None


def _is_plain(page: Any) -> bool:
    """Whether a page is one that `opened` writes anew."""
    kind = page.photometric if _PHOTOMETRIC in page.tags else None
    return bool(
        page.compression in PACKINGS
        and {*_all(page, _FORMAT, _UNSIGNED)} <= {_UNSIGNED, _VOID}
        and len({*_all(page, _BITS, 1)}) == 1
        and page.bitspersample <= (8 if kind == PALETTE else 16)
        and kind in _BANDS
        and (kind != PALETTE or page.samplesperpixel == 1)
        and page.imagedepth == 1
    )


def _check_bands(page: Any) -> None:
    """Raises ValueError for more samples of a pixel than one can guess the meaning of."""
    least, most = _BANDS[page.photometric]
    seen_through = {ALPHA, _PREMULTIPLIED} & {*page.extrasamples}
    if not least <= page.samplesperpixel <= most or (page.photometric == CMYK and seen_through):
        raise ValueError(
            f"{page.samplesperpixel} bands in colour space {page.photometric}, which is not "
            "supported: save it as RGB or grey"
        )


def _all(page: Any, tag: int, default: int) -> tuple[int, ...]:
    value = page.tags[tag].value if tag in page.tags else default
    return value if isinstance(value, tuple) else (value,)


def _painted(indices: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] by a palette [3, colours] of 16 bits, or of 8 as libtiff takes it, too."""
    eight = colors if colors.max() < 256 else colors >> 8
    return np.moveaxis(eight.astype(np.uint8)[:, indices], 0, -1)


def deepened(numbers: np.ndarray, largest: int) -> np.ndarray:
    """0..largest of any shape to uint16, rounded."""
    if largest == 2**16 - 1:
        return numbers
    return ((numbers.astype(np.uint32) * (2**16 - 1) + largest // 2) // largest).astype(np.uint16)


def _written(colors: np.ndarray, page: Any, photometric: str) -> bytes:
    """A plain TIFF of colours [H, W, 1 to 4], with the profile and the turn of a page."""
    import tifffile

    count = colors.shape[-1]
    profile, turn = (page.tags.get(tag) for tag in (_PROFILE, _ORIENTATION))
    alpha = count in (2, 4) and photometric != "separated"
    made = io.BytesIO()
    tifffile.imwrite(
        made,
        colors if count > 1 else colors[..., 0],
        photometric=photometric,
        planarconfig="contig" if count > 1 else None,
        extrasamples=["unassalpha"] if alpha else None,
        iccprofile=profile.value if profile else None,
        extratags=[(_ORIENTATION, 3, 1, int(turn.value), True)] if turn else (),
        metadata=None,
        software=MADE,
    )
    return made.getvalue()


def colors_of(
    numbers: np.ndarray, photometric: int, extras: tuple[int, ...], largest: int
) -> np.ndarray:
    """[H, W, 1 to 4] of the same type: grey or RGB, black is zero, with alpha where one of `extras`
    is it; premultiplied colours are laid on white.

    numbers [H, W, samples] from 0 to largest; extras: what the samples behind the colours are.
    """
    colors, alpha = _separated(numbers, photometric, extras, largest)
    return colors if alpha is None else np.concatenate([colors, alpha], axis=-1)


def words_of(words: np.ndarray, photometric: int, extras: tuple[int, ...]) -> np.ndarray:
    """The colours of `colors_of` with 16 bits, [H, W, 1 or 3], all laid on white."""
    colors, alpha = _separated(words, photometric, extras, 2**16 - 1)
    return colors if alpha is None else on_white(colors, alpha)


def _separated(
    numbers: np.ndarray, photometric: int, extras: tuple[int, ...], largest: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours [H, W, 1 or 3] as `colors_of` has them, and alpha [H, W, 1] where there is one."""
    colored = 3 if photometric == RGB else 1
    colors, more = numbers[..., :colored], numbers[..., colored:]
    if photometric == WHITE_IS_ZERO:
        colors = largest - colors
    alpha = None
    for place, kind in enumerate((extras or (ALPHA,))[: more.shape[-1]]):
        if kind == ALPHA:
            alpha = more[..., place : place + 1]
        elif kind == _PREMULTIPLIED:  # on white: what is lacking is white
            lacking = largest - more[..., place : place + 1].astype(np.int32)
            colors = np.minimum(colors + lacking, largest).astype(numbers.dtype)
        if kind in (ALPHA, _PREMULTIPLIED):
            break
    return colors, alpha
