"""Photos that come back as files: with their own numbers, depth and colour profile."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from restore.data import image_file
from restore.data.color_profile import is_srgb
from restore.data.deep_file import words_of
from restore.data.image_file import load_image, opened
from restore.folder import write_whole

_GREY = ("1", "L", "LA", "I", "F")
_SIGNATURE_AND_HEADER = 8 + 25  # bytes of a PNG before the place of its profile
_TURNS: dict[
    int, Callable[[np.ndarray], np.ndarray]
] = {  # EXIF orientation, of an array [H, W, ...]
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def read_photo(path: Path, colors: bool = False) -> tuple[np.ndarray, bytes | None]:
    """uint8 or uint16 [H, W] or [H, W, 3], upright, and the ICC profile of these numbers.

    Numbers are the file's own, and not converted to sRGB, so that what is not restored comes back
    bit for bit; where that cannot be (CMYK), and with `colors`, they are sRGB. 16 bits stay 16 in
    PNG and TIFF files, on white where they are transparent; with `colors` where they are sRGB.
    What else `load_image` does holds.

    Raises:
        ImageError: what `load_image` raises.
    """
    plain = load_image(path, 3)  # says what is wrong with a file
    with opened(path) as (image, packed, profile):
        grey = image.mode in _GREY or image.mode.startswith("I;16")
        words = None if image.mode == "CMYK" else words_of(image, packed)
        mode = "RGB" if words is not None and words.ndim == 3 else "L"
        if words is not None and (not colors or is_srgb(profile, mode)):
            turn = _TURNS.get(image_file.orientation(image))
            turned = words if turn is None else np.ascontiguousarray(turn(words))
            return turned, None if colors else profile
        if colors or image.mode == "CMYK":
            return plain.permute(1, 2, 0).numpy(), None
        own = load_image(path, 1 if grey else 3, convert=False)
    return (own[0] if grey else own.permute(1, 2, 0)).numpy(), profile


def write_png(array: np.ndarray, path: Path, profile: bytes | None = None) -> None:
    """uint8 or uint16 [H, W] or [H, W, 3] with its profile; the file is whole or not there."""
    import cv2

    ordered = array if array.ndim == 2 else array[..., ::-1]
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(ordered))
    assert done
    packed = encoded.tobytes()
    if profile is not None:
        head, rest = packed[:_SIGNATURE_AND_HEADER], packed[_SIGNATURE_AND_HEADER:]
        packed = head + _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)) + rest
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, packed)


def _chunk(kind: bytes, body: bytes) -> bytes:
    checked = kind + body
    return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))
