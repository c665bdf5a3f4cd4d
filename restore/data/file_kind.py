"""What a file is that cannot be read as an image, in the words of its one line."""

import io

_NOT = "not a PNG, JPEG, WebP, AVIF, TIFF or BMP image"
_MAGIC = (
    (0, b"GIF8", "a GIF"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (4, b"ftyphei", "a HEIC"),
    (4, b"ftyphev", "a HEIC"),
    (4, b"ftypmif1", "a HEIF"),
    (0, b"8BPS", "a Photoshop"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR"),
    (0, b"%PDF", "a PDF"),
    (0, b"<svg", "an SVG"),
    (0, b"<?xml", "an XML"),
    (0, b"\0\0\1\0", "an ICO"),
    *((0, b"P%d" % digit, "a Netpbm") for digit in range(1, 8)),
    *((0, mark, "a PFM") for mark in (b"PF", b"Pf")),
)
_INSTEAD = (  # of what a download left in the place of a photo, in small letters
    (b"version https://git-lfs", "a pointer of Git LFS: fetch the file by git lfs pull"),
    (b"<!doctype html", "a web page: download the image itself"),
    (b"<html", "a web page: download the image itself"),
)
_LARGEST_PLAIN = 4  # samples a pixel


def describe(packed: bytes) -> str:
    """Why bytes that no reader takes are not read: their kind, where it can be told."""
    if not packed:
        return f"an empty file, {_NOT}"
    if packed[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(packed)
    if packed.startswith(b"\xff\xd8"):
        return _jpeg(packed)
    for words, kind in _INSTEAD:
        if packed[:64].lstrip().lower().startswith(words):
            return f"{_NOT}, but {kind}"
    for start, magic, kind in _MAGIC:
        if packed[start:].startswith(magic):
            return f"{kind} file, {_NOT}: convert it"
    return _NOT


def _tiff(packed: bytes) -> str:
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(packed)) as file:
            page = file.pages.first
            bits, samples, format = page.bitspersample, page.samplesperpixel, page.sampleformat
    except Exception:  # as Pillow's, its parser raises nearly everything
        return f"a damaged TIFF, {_NOT}"
    if format != 1:
        kind = {2: "signed", 3: "float"}.get(int(format), "complex or void")
        return f"a TIFF of {kind} values, which have no defined range: save 8 or 16 unsigned bits"
    if samples > _LARGEST_PLAIN:
        return f"a TIFF of {samples} bands, which is not supported: save it as RGB or grey"
    way_out = "it as RGB or grey" if bits == 8 else "8"
    kind = f"{bits} bits a sample ({samples} a pixel)"
    return f"a TIFF of {kind}, which is not supported: save {way_out}"


def _jpeg(packed: bytes) -> str:
    """The kind by the frame header: libjpeg reads 8 bits a sample, baseline or progressive."""
    start = 2
    while start + 9 <= len(packed) and packed[start] == 0xFF:
        marker = packed[start + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, lossless = packed[start + 4], marker in (0xC3, 0xC7, 0xCB, 0xCF)
            if bits != 8 or lossless:
                kind = "lossless JPEG" if lossless else "JPEG"
                return f"a {kind} of {bits} bits a sample, which is not supported: save 8 bits"
            break
        start += 2 + int.from_bytes(packed[start + 2 : start + 4], "big")
    return f"a damaged JPEG, {_NOT}"
