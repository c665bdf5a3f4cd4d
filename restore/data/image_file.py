"""The one way from an image file to pixels, for training, evaluation, command line and app."""

import contextlib
import io
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from restore.data import bmp_file, jpeg_file, png_file, tiff_file, tiff_page
from restore.data.color_profile import is_srgb, to_srgb, words_to_srgb
from restore.data.deep_file import opaque_words
from restore.data.deep_pixels import image_of, levels
from restore.data.file_kind import describe
from restore.data.name import printable
from restore.types import InputError

FORMATS = {  # of several photos of a sample in a shard, the first in this order is taken
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
}
SUFFIXES = {suffix for suffixes in FORMATS.values() for suffix in suffixes}
MAX_PIXELS = 2**26
MAX_BYTES = 2**28

# What is wrong with a file is one line of restore; Pillow warns of it, and of whole files, too.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_ORIENTATION = 0x0112
_WHOLE = {1: "B", 3: "H", 4: "L"}  # types of whole numbers in EXIF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow alone gets wrong in some files of a format: its pixels, and its profile.
_PIXELS: dict[str | None, Callable[[Image.Image, bytes], Image.Image]] = {
    "PNG": png_file.pixels,
    "TIFF": tiff_file.pixels,
    "BMP": bmp_file.pixels,
}


class ImageError(InputError):
    """A file that is no image that restore reads; the message names it."""


def load_image(
    source: Path | bytes, channels: int, name: str | None = None, *, convert: bool = True
) -> Tensor:
    """An image file, or its bytes, as uint8 [channels, H, W] with 1 or 3 channels in sRGB.

    The EXIF orientation is applied, colour profiles are converted to sRGB (a PNG's gAMA and cHRM
    are not, as in other readers), 16 and 12 bits are scaled to 8, transparency is laid on white,
    grey becomes three equal channels and colour becomes luma (ITU-R 601). Of several frames the
    first is taken. `name` stands for bytes in messages. convert: False takes no notice of profiles.

    Raises:
        InputError: the file is gone. ImageError: no readable PNG, JPEG, WebP, AVIF, TIFF or BMP, a
            truncated one, a JPEG whose scan does not decode without a warning of libjpeg (CMYK
            aside), values without a defined range, or more than 2^26 pixels or 2^28 bytes.
    """
    assert channels in (1, 3)
    label = printable(name or (str(source) if isinstance(source, Path) else "image"))
    packed = b""
    try:
        packed = source if isinstance(source, bytes) else _read(source)
        return _decoded(packed, channels, convert)
    except FileNotFoundError:
        raise InputError(
            f"{label}: there is no such file any more: put its folder back, and go on"
        ) from None
    except UnidentifiedImageError:
        raise ImageError(f"{label}: {describe(packed)}") from None
    # Pillow's decoders raise nearly every built-in exception on damaged files.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{label}: cannot be read as an image ({printable(reason)})") from error


def header_size(source: Path | bytes) -> tuple[int, int] | None:
    """Height and width as the header has them; None where it cannot be read.

    A photo with an EXIF orientation lies on its side. Nothing is decoded.
    """
    # As in `load_image`; what is wrong with the file is told where it is decoded.
    with contextlib.suppress(Exception), _header(source) as image:
        return image.height, image.width
    return None


def upright_size(path: Path) -> tuple[int, int] | None:
    """Height and width by the header alone; None for a file that is no image."""
    with contextlib.suppress(Exception), _header(path) as image:
        # Pillow has turned the size of a TIFF when it opens one.
        turned = image.format != "TIFF" and orientation(image) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)
    return None


def frames(path: Path) -> int:
    """How many images a file holds, of which `load_image` takes the first; 1 where it is none."""
    with contextlib.suppress(Exception), _header(path) as image:
        return int(getattr(image, "n_frames", 1))
    return 1


def mode(path: Path) -> str:
    """What Pillow calls the pixels of a file, by its header; empty for a file that is no image."""
    with contextlib.suppress(Exception), _header(path) as image:
        return image.mode
    return ""


@contextlib.contextmanager
def _header(source: Path | bytes) -> Iterator[Image.Image]:
    """An image of which no more is read than its header, where Pillow needs no more."""
    where = io.BytesIO(source) if isinstance(source, bytes) else source
    with contextlib.ExitStack() as stack:
        try:
            image: Image.Image = stack.enter_context(Image.open(where, formats=list(FORMATS)))
        # A PNG with more text than Pillow takes, a TIFF of pixels that it does not know.
        except (ValueError, UnidentifiedImageError):
            image = stack.enter_context(opened(source)).image
        yield image


class Opened(NamedTuple):
    """A file that is open, and its pixels not decoded yet."""

    image: Image.Image
    packed: bytes
    profile: bytes | None  # ICC profile of its numbers


@contextlib.contextmanager
def opened(source: Path | bytes) -> Iterator[Opened]:
    """An image file, or its bytes. Raises what Pillow raises, and ValueError for a damaged PNG."""
    packed = source if isinstance(source, bytes) else _read(source)
    packed, profile = png_file.tidied(packed) if png_file.is_png(packed) else (packed, None)
    image, packed = tiff_page.opened(packed, list(FORMATS), MAX_PIXELS)
    with image:
        if image.format == "BMP":
            profile = bmp_file.profile(packed)
        yield Opened(image, packed, profile or image.info.get("icc_profile"))


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.stat().st_size} bytes, at most 2^28 are read")
    return path.read_bytes()


def _decoded(packed: bytes, channels: int, convert: bool) -> Tensor:
    with opened(packed) as file:
        own = file.profile if convert else None
        return _pixels(file.image, file.packed, channels, own)


def _pixels(image: Image.Image, packed: bytes, channels: int, profile: bytes | None) -> Tensor:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels, at most 2^26 are read")
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
        array = jpeg_file.decode(packed, image.mode, (image.height, image.width))
        if orientation(image) == 1 and is_srgb(profile, image.mode):
            return _tensor(array, channels)
        made = Image.fromarray(array)
    elif profile and (words := opaque_words(image, packed)) is not None:
        made, profile = words_to_srgb(words, profile) or image_of(levels(words)), None
    else:
        made = _PIXELS.get(image.format, _loaded)(image, packed)
    return _tensor(np.asarray(on_white(upright(made, image), profile)), channels)


def upright(made: Image.Image, image: Image.Image) -> Image.Image:
    """`made`, which has the pixels of the opened `image`, as it is to be seen.

    Pillow turns a TIFF where it decodes one itself, and then takes its orientation away.
    """
    turn = _UPRIGHT.get(orientation(image))
    return made if turn is None else made.transpose(turn)


def _loaded(image: Image.Image, packed: bytes) -> Image.Image:
    image.load()
    return image


def orientation(image: Image.Image) -> int:
    """The value of that one tag, 1 where there is none: others may hold what their types forbid."""
    with contextlib.suppress(ValueError, TypeError, KeyError, SyntaxError, OSError, struct.error):
        if (found := image.getexif().get(_ORIENTATION)) is not None:
            return int(found)
    return _listed_orientation(image.info.get("exif") or b"")


def _listed_orientation(exif: bytes) -> int:
    """Of the first table of a block: Pillow reads none behind an entry that lies outside of it."""
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2], "=")
    with contextlib.suppress(struct.error):
        (start,) = struct.unpack_from(f"{order}L", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", block, place)
            if tag == _ORIENTATION and kind in _WHOLE:
                return int(struct.unpack_from(f"{order}{_WHOLE[kind]}", block, place + 8)[0])
    return 1


def on_white(image: Image.Image, profile: bytes | None = None) -> Image.Image:
    """Any mode to L or RGB in sRGB; colours are converted before they are laid on white."""
    alpha = None
    if image.has_transparency_data:
        layer = image if image.mode == "LA" else image.convert("RGBA")
        alpha = layer.getchannel("A")
        image = layer.convert("L" if layer.mode == "LA" else "RGB")
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError(f"pixels of mode {image.mode} have no defined range")
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    image = to_srgb(image, profile)
    if alpha is None:
        return image
    return Image.composite(image, Image.new(image.mode, image.size, "white"), alpha)


def _tensor(array: np.ndarray, channels: int) -> Tensor:
    """uint8 [H, W] or [H, W, 3] to [channels, H, W]."""
    if array.ndim == 3 and channels == 1:
        array = np.asarray(Image.fromarray(array).convert("L"))
    pixels = torch.from_numpy(np.array(array) if not array.flags.writeable else array)
    if array.ndim == 2:
        return pixels.expand(channels, -1, -1).contiguous()
    return pixels.permute(2, 0, 1).contiguous()
