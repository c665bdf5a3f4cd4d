"""Pixels of more than 8 bits: read without loss, and all rounded in one way."""

import numpy as np
from PIL import Image


def levels(words: np.ndarray, largest: int = 65535) -> np.ndarray:
    """0..largest of any shape to uint8, rounded."""
    if largest == 255:
        return words.astype(np.uint8, copy=False)
    return ((words.astype(np.uint32) * 255 + largest // 2) // largest).astype(np.uint8)


def on_white(words: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint16 colours of any shape, of which alpha says how much is seen, on white; rounded."""
    opaque = alpha.astype(np.uint32)  # products of two words fit, and so does their rounded sum
    return ((words * opaque + 65535 * (65535 - opaque) + 32767) // 65535).astype(np.uint16)


def image_of(array: np.ndarray) -> Image.Image:
    """uint8 [H, W] or [H, W, 1 to 4] as L, LA, RGB or RGBA."""
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)


def by_opencv(packed: bytes) -> np.ndarray:
    """uint8 or uint16, [H, W] or [H, W, 3 or 4] in the order red, green, blue, alpha.

    Raises:
        ValueError: OpenCV does not read it.
    """
    import cv2

    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)  # it would print what is raised here
    try:
        array = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if array is None:
        raise ValueError("pixels that cannot be decoded")
    pixels = np.asarray(array)
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
