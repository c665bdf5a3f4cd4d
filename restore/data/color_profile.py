"""ICC profiles: from the colours of a file to sRGB."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_INPUT = {"GRAY": ("L",), "RGB ": ("RGB",), "CMYK": ("CMYK",)}
_STEPS = 9  # grid points a channel by which a profile is told from sRGB


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An L, RGB or CMYK image in sRGB by its profile; L or RGB as it is where none is of use."""
    transform = _transform(profile, image.mode) if profile else None
    if transform is not None:
        return ImageCms.applyTransform(image, transform) or image
    return image.convert("RGB") if image.mode == "CMYK" else image


def words_to_srgb(words: np.ndarray, profile: bytes) -> Image.Image | None:
    """RGB in sRGB of uint16 [H, W] or [H, W, 3]; None where the profile is of no use.

    Between the 8-bit neighbours that lcms converts it is linear. Rounded to 8 bits before, values
    in proportion to light would leave every second dark level out.
    """
    transform = _transform(profile, "L" if words.ndim == 2 else "RGB")
    if transform is None:
        return None
    low, rest = np.divmod(words, 257)
    low, rest = low.astype(np.uint8), rest.astype(np.float32) / 257

    def converted(levels: np.ndarray) -> np.ndarray:
        return np.asarray(ImageCms.applyTransform(Image.fromarray(levels), transform)).astype(int)

    base = converted(low)
    total = base.astype(np.float32)
    for place in [(..., k) for k in range(3)] if words.ndim == 3 else [(...,)]:
        step = low.copy()
        step[place] += low[place] < 255
        total += rest[place][..., None] * (converted(step) - base)
    return Image.fromarray(total.round().clip(0, 255).astype(np.uint8))


def is_srgb(profile: bytes | None, mode: str) -> bool:
    """Whether pixels of that mode are in sRGB as they are."""
    return not profile or _transform(profile, mode) is None


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way to sRGB; None for a profile that is broken, of other images, or without effect.

    What a profile does counts, not what it is named: some that are named sRGB are linear.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode not in _INPUT.get(source.profile.xcolor_space, ()):
            return None
        srgb = ImageCms.createProfile("sRGB")
        # lcms approximates the dark end of a grey curve when it optimises it for 8 bits.
        flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(source, srgb, mode, "RGB", flags=flags)
    except (OSError, ImageCms.PyCMSError):
        return None
    return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether levels move by one at most: by as much sRGB profiles differ in rounding."""
    if mode == "L":
        colors = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    else:
        levels = np.linspace(0, 255, _STEPS).astype(np.uint8)
        grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1)
        colors = Image.fromarray(grid.reshape(1, -1, 3))
    converted = ImageCms.applyTransform(colors, transform)
    assert converted is not None
    change = np.asarray(converted).astype(int) - np.asarray(colors.convert("RGB"))
    return int(np.abs(change).max()) <= 1
