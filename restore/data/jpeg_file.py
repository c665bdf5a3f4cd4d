"""JPEG by libjpeg-turbo, whose warnings count: Pillow fills a damaged scan with grey, silently."""

import numpy as np


class DamagedScan(ValueError):
    """Part of a JPEG's picture is lost."""


def decode(packed: bytes, mode: str, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W] for mode L, [H, W, 3] for RGB: the bits that Pillow gives, and as fast.

    Harmless warnings, of bytes that follow the scan and of odd headers, are let pass.
    """
    for candidate in (packed, _tidied(packed)):
        array = None if candidate is None else _decode(candidate, mode)
        if array is not None and array.shape[:2] == size:
            return array[..., 0] if mode == "L" else array
    raise DamagedScan("truncated, or damaged inside its scan")


def _decode(packed: bytes, mode: str) -> np.ndarray | None:
    """The pixels; None where libjpeg-turbo gives an error or a warning."""
    from kornia_rs.io import decode_image_jpegturbo

    try:
        array = np.asarray(decode_image_jpegturbo(packed, "mono" if mode == "L" else "rgb"))
    except Exception:
        return None
    return array if array.ndim == 3 else array[..., None]


def _tidied(packed: bytes) -> bytes | None:
    """The file without its JFIF header, since odd versions cause a warning, and without the zeros
    that some cameras leave between the scan and the end marker. None for a progressive file without
    that marker: where it was cut between two scans, nothing else tells."""
    end = packed.rfind(b"\xff\xd9")
    if end < 0 and b"\xff\xc2" in packed:
        return None
    scan = packed[: end if end >= 0 else None].rstrip(b"\0")
    if scan.endswith(b"\xff"):
        scan += b"\0"
    start = 2
    if scan[2:4] == b"\xff\xe0":
        start = 4 + int.from_bytes(scan[4:6], "big")
    return scan[:2] + scan[start:] + b"\xff\xd9"
