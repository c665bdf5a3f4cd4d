"""The one way from an image file to pixels, for training, evaluation, command line and app."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from restore.types import InputError

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
}
SUFFIXES = {suffix for suffixes in FORMATS.values() for suffix in suffixes}
MAX_PIXELS = 2**26
MAX_BYTES = 2**28


class ImageError(InputError):
    """A file that is no image that restore reads; the message names it."""


def load_image(source: Path | bytes, channels: int, name: str | None = None) -> Tensor:
    """An image file, or its bytes, as uint8 [channels, H, W] with 1 or 3 channels in sRGB.

    The EXIF orientation is applied, colour profiles are converted to sRGB, 16 bits are scaled to
    8, transparency is laid on white, grey becomes three equal channels and colour becomes luma
    (ITU-R 601). Of several frames the first is taken. `name` stands for bytes in messages.

    Raises:
        ImageError: no readable PNG, JPEG, WebP, TIFF or BMP, a damaged or truncated one, values
            without a defined range, or more than 2^26 pixels or 2^28 bytes.
    """
    assert channels in (1, 3)
    label = name or (str(source) if isinstance(source, Path) else "image")
    try:
        packed = source if isinstance(source, bytes) else _read(source)
        with Image.open(io.BytesIO(packed), formats=list(FORMATS)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"{image.width} x {image.height} pixels, at most 2^26 are read")
            return _pixels(image, channels)
    except UnidentifiedImageError:
        raise ImageError(f"{label}: not a PNG, JPEG, WebP, TIFF or BMP image") from None
    # Pillow's decoders raise nearly every built-in exception on damaged files.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{label}: cannot be read as an image ({reason})") from error


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise ImageError(f"{path.stat().st_size} bytes, at most 2^28 are read")
    return path.read_bytes()


def _pixels(image: Image.Image, channels: int) -> Tensor:
    image.load()
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        # convert() would clip at 255; 65535 / 255 = 257.
        words = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((words + 128) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ImageError(f"32-bit pixels of mode {image.mode} have no defined range")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    if image.mode not in ("1", "L"):
        image = _to_srgb(image if image.mode == "CMYK" else image.convert("RGB"), profile)
    image = image.convert("RGB" if channels == 3 else "L")
    pixels = torch.from_numpy(np.array(image)).view(image.height, image.width, channels)
    return pixels.permute(2, 0, 1).contiguous()


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB or CMYK to sRGB by the embedded profile, or as it is where there is none of use."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        if not ImageCms.getProfileDescription(source).startswith("sRGB"):
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
            return converted or image
    except (OSError, ImageCms.PyCMSError):
        pass
    return image.convert("RGB")
