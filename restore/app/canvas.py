"""What people draw: strokes as a hole, strokes as colours, and pictures that show them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from restore.data.image_file import load_image
from restore.data.mask_files import read_drawn, read_mask
from restore.data.photo_file import read_photo, write_png
from restore.types import InputError

MAX_PIXELS = 2**25  # of a photo: 33 megapixels
LONGEST = 2048  # px of a picture that is drawn on or shown; files have all of them
SHORTEST = 256  # px of what is drawn on: on fewer, the thinnest brush covers half of the photo
BRUSH = (255, 45, 85)
COVER = 0.55  # of the brush's colour over the photo


def accept(upload: Path, folder: Path) -> Path:
    """An uploaded photo as a PNG file of its own numbers, upright, without EXIF.

    Raises:
        InputError: no photo, or one with more than MAX_PIXELS.
    """
    try:
        array, profile = read_photo(upload)
    except InputError as error:
        raise _refusal(error, upload) from None
    path = folder / "photo.png"
    write_png(array, path, profile)
    return path


def limit_pixels() -> None:
    """Lets Pillow, and with it Gradio, refuse what has more than MAX_PIXELS, by its header."""
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses at the double of it


def _refusal(error: InputError, upload: Path) -> InputError:
    """What is wrong with an upload, in words that name no path of the server."""
    if isinstance(error.__cause__, Image.DecompressionBombError):
        most = f"{MAX_PIXELS // 10**6} megapixels"
        return InputError(f"the file has more than {most}: make it smaller first")
    return InputError(str(error).replace(str(upload), "the file"))


def shown(image: np.ndarray) -> np.ndarray:
    """uint8 RGB [H, W, 3] to be shown, of LONGEST px at most, of uint8 [H, W, 3]."""
    height, width = _within(*image.shape[:2])
    picture = Image.fromarray(image)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture)


def _within(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, LONGEST / max(height, width))
    return max(round(height * scale), 1), max(round(width * scale), 1)


def read_shown(photo: Path) -> np.ndarray:
    """A photo of a file to be shown, in sRGB."""
    return shown(load_image(photo, 3).permute(1, 2, 0).numpy())


def editor(photo: Path, hole: np.ndarray | None = None) -> dict[str, Any]:
    """What an ImageEditor takes: the photo, a small one enlarged, and a hole [H, W] as strokes."""
    background = _enlarged(Image.fromarray(read_shown(photo)))
    if hole is None:
        return {"background": background, "layers": [], "composite": background}
    layer = np.zeros((background.height, background.width, 4), np.uint8)
    layer[_resized(hole, background.height, background.width)] = (*BRUSH, round(255 * COVER))
    strokes = Image.fromarray(layer)
    composite = Image.alpha_composite(background.convert("RGBA"), strokes).convert("RGB")
    return {"background": background, "layers": [strokes], "composite": composite}


def _enlarged(picture: Image.Image) -> Image.Image:
    """Each pixel of a small picture becomes a square, so that the longer side nears SHORTEST."""
    times = max(1, SHORTEST // max(picture.size))
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


def _resized(hole: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool [height, width], by the nearest pixel."""
    if hole.shape == (height, width):
        return hole
    picture = Image.fromarray(hole.astype(np.uint8) * 255)
    return np.asarray(picture.resize((width, height), Image.Resampling.NEAREST)) > 0


def hole_of(drawn: Any, size: tuple[int, int]) -> np.ndarray:
    """bool [H, W] of the photo's size: whatever strokes an ImageEditor's value has."""
    hole = np.zeros(size, bool)
    for layer in _layers(drawn):
        hole |= _resized(np.asarray(layer)[..., 3] > 0, *size)
    return hole


def _layers(drawn: Any) -> list[Image.Image]:
    layers = drawn.get("layers") if isinstance(drawn, dict) else None
    return [layer.convert("RGBA") for layer in layers or () if isinstance(layer, Image.Image)]


def read_hole(upload: Path, size: tuple[int, int]) -> np.ndarray:
    """bool [H, W] of an uploaded mask, white = to be filled, brought to the photo's size.

    Raises:
        InputError: no image, one of another shape than the photo's, or no mask.
    """
    try:
        hole = read_mask(upload, invert=False)[0].numpy() > 127
    except InputError as error:
        raise _refusal(error, upload) from None
    _check_shape("mask", hole.shape, size)
    return _resized(hole, *size)


def accept_strength(upload: Path, size: tuple[int, int], folder: Path) -> Path:
    """An uploaded strength map as a grey PNG file of the photo's size (H, W), without EXIF.

    Raises:
        InputError: no image, or one of another shape than the photo's.
    """
    try:
        drawn = read_drawn(upload)[0].numpy()
    except InputError as error:
        raise _refusal(error, upload) from None
    _check_shape("strength map", drawn.shape, size)
    picture = Image.fromarray(drawn).resize(size[::-1], Image.Resampling.BILINEAR)
    write_png(np.asarray(picture), folder / "strength.png")
    return folder / "strength.png"


def _check_shape(word: str, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    """Raises InputError unless the sides [H, W] of what was drawn fit those of the photo."""
    height, width = shape
    if abs(height * size[1] - width * size[0]) > max(*size, height, width):
        raise InputError(
            f"the {word} has {width} x {height} pixels and the photo {size[1]} x {size[0]}: give "
            "one of the same shape"
        )


def write_hole(hole: np.ndarray, path: Path) -> None:
    """White is to be filled.

    Raises:
        InputError: nothing or everything is to be filled.
    """
    if not hole.any():
        raise InputError("draw over what is to be filled, or upload a mask")
    if hole.all():
        raise InputError("all of the photo is to be filled: leave something to fill it from")
    write_png(hole.astype(np.uint8) * 255, path)


def paint(photo: Path, drawn: Any) -> None:
    """Puts strokes onto the photo of a file, which becomes sRGB where it has another profile."""
    if not any(np.asarray(layer)[..., 3].any() for layer in _layers(drawn)):
        return
    array, profile = read_photo(photo)
    if profile is not None:
        array, _ = read_photo(photo, colors=True)
    write_png(paint_over(array, drawn), photo)


def paint_over(photo: np.ndarray, drawn: Any) -> np.ndarray:
    """Paints strokes over the photo [H, W] or [H, W, 3]; elsewhere it keeps its own numbers.

    A grey photo gets colours only from strokes that have some.
    """
    for layer in _layers(drawn):
        height, width = photo.shape[:2]
        strokes = np.asarray(layer.resize((width, height), Image.Resampling.NEAREST)).astype(float)
        touched = strokes[..., 3] > 0
        if not touched.any():
            continue
        colors, alpha = strokes[..., :3], strokes[..., 3:] / 255
        if photo.ndim == 2:
            photo = np.repeat(photo[..., None], 3, -1)
        top = np.iinfo(photo.dtype).max
        mixed = (1 - alpha) * photo + alpha * colors * (top / 255)
        photo = np.where(touched[..., None], mixed.round(), photo).astype(photo.dtype)
    return photo


def with_hole(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] in which the hole is tinted."""
    covered = _resized(hole, *picture.shape[:2])[..., None]
    tinted = (1 - COVER) * picture + COVER * np.asarray(BRUSH)
    return np.where(covered, tinted.round(), picture).astype(np.uint8)
