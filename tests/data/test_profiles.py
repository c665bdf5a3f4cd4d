"""Colours by what a profile does, whatever it is named and in whichever file it lies."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from restore.data.image_file import ImageError, load_image
from restore.data.photo_file import read_photo, write_png

FILES = Path(__file__).parent / "files"
RAMP = np.arange(256, dtype=np.uint8)[None]
COLORS = np.stack([RAMP, RAMP[:, ::-1], RAMP // 2], axis=-1)


def linear(mode: str) -> bytes:
    """The profile of a file whose values are in proportion to light."""
    name = "grey_linear_profile.png" if mode == "L" else "rgb_linear_profile.png"
    profile = Image.open(FILES / name).info["icc_profile"]
    assert isinstance(profile, bytes)
    return profile


def encoded(levels: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1: light in [0, 255] to sRGB in [0, 255]."""
    light = levels / 255.0
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def saved(array: np.ndarray, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, format, **options)  # type: ignore[arg-type]
    return file.getvalue()


def bmp(array: np.ndarray, profile: bytes) -> bytes:
    """24 bits, bottom row first, under a header of version 5 that points to the profile."""
    rows = b"".join(row[:, ::-1].tobytes() + bytes(-row.size % 4) for row in array[::-1])
    offset = 14 + 124
    header = struct.pack("<IiiHHIIiiII", 124, array.shape[1], array.shape[0], 1, 24, 0, len(rows),
                         0, 0, 0, 0)  # fmt: skip
    header += (
        bytes(16)
        + b"DEBM"
        + bytes(36 + 12)
        + struct.pack("<IIII", 4, 124 + len(rows), len(profile), 0)
    )
    size = offset + len(rows) + len(profile)
    return struct.pack("<2sIII", b"BM", size, 0, offset) + header + rows + profile


def named(profile: bytes, name: str) -> bytes:
    """The same profile under another description (an ICC text of version 2)."""
    count = int.from_bytes(profile[128:132], "big")
    text = b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name.encode() + bytes(80)
    table = bytearray(profile[132 : 132 + 12 * count])
    for at in range(0, len(table), 12):
        if table[at : at + 4] == b"desc":
            table[at + 4 : at + 12] = struct.pack(">II", len(profile), len(text))
    whole = profile[:132] + bytes(table) + profile[132 + 12 * count :] + text
    return struct.pack(">I", len(whole)) + whole[4:8] + b"\2\x10\0\0" + whole[12:]


@pytest.mark.parametrize("name", ["sRGB IEC61966-2.1", "sRGB", "camera"])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP", "BMP"])
def test_colors(format: str, name: str) -> None:
    profile = named(linear("RGB"), name)
    described = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    assert described.strip() == name
    if format == "BMP":
        packed = bmp(COLORS, profile)
    else:
        lossless = {"lossless": True} if format == "WEBP" else {}
        exact = {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
        packed = saved(COLORS, format, icc_profile=profile, **lossless, **exact)
    got = load_image(packed, 3).permute(1, 2, 0).numpy()
    source = np.asarray(Image.open(io.BytesIO(packed)).convert("RGB"))
    np.testing.assert_allclose(got, encoded(source), atol=1.01)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
def test_grey(format: str) -> None:
    exact = {"quality": 100} if format == "JPEG" else {}
    packed = saved(RAMP, format, icc_profile=linear("L"), **exact)
    source = np.asarray(Image.open(io.BytesIO(packed)))
    for channels in (1, 3):
        got = load_image(packed, channels).numpy()
        np.testing.assert_allclose(got, encoded(source)[None].repeat(channels, 0), atol=1.01)


def test_grey_with_alpha_is_converted_before_it_is_laid_on_white() -> None:
    alpha = RAMP[:, ::-1]
    packed = saved(np.dstack([RAMP, alpha]), "PNG", icc_profile=linear("L"))
    expected = encoded(RAMP) * (alpha / 255) + 255 - alpha
    np.testing.assert_allclose(load_image(packed, 1)[0], expected, atol=1.01)


def test_colors_with_alpha_are_converted_before_they_are_laid_on_white() -> None:
    alpha = RAMP[:, ::-1, None]
    packed = saved(np.dstack([COLORS, alpha]), "PNG", icc_profile=linear("RGB"))
    expected = encoded(COLORS) * (alpha / 255) + 255 - alpha.astype(float)
    got = load_image(packed, 3).permute(1, 2, 0)
    np.testing.assert_allclose(got, expected, atol=1.51)


def test_a_palette_has_the_profile_of_its_colors() -> None:
    image = Image.fromarray(RAMP, "L").convert("P")
    image.putpalette(np.stack([COLORS[0]]).tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", icc_profile=linear("RGB"))
    got = load_image(file.getvalue(), 3).permute(1, 2, 0)
    np.testing.assert_allclose(got, encoded(COLORS), atol=1.01)


def test_a_profile_of_another_kind_of_image_is_left_alone() -> None:
    packed = saved(COLORS, "PNG", icc_profile=linear("L"))
    assert np.array_equal(load_image(packed, 3).permute(1, 2, 0), COLORS)
    packed = saved(RAMP, "PNG", icc_profile=linear("RGB"))
    assert np.array_equal(load_image(packed, 1)[0], RAMP)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


MEGABYTES = zlib.compress(b"a" * 3_000_000)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"parameters\0\0" + MEGABYTES),
        chunk(b"iTXt", b"parameters\0\1\0\0\0" + MEGABYTES),
        chunk(b"tEXt", b"parameters\0" + b"a" * 3_000_000),
        b"".join(chunk(b"tEXt", b"k%d\0" % k + b"a" * 1_000_000) for k in range(70)),
    ],
)
def test_png_with_long_texts(extra: bytes, behind: bool) -> None:
    packed = saved(COLORS, "PNG")
    at = packed.index(b"IEND" if behind else b"IDAT") - 4
    assert np.array_equal(load_image(packed[:at] + extra + packed[at:], 3).permute(1, 2, 0), COLORS)


def test_png_with_a_long_profile() -> None:
    profile = linear("RGB")
    longer = profile + bytes(2_000_000)
    longer = struct.pack(">I", len(longer)) + longer[4:]
    packed = saved(COLORS, "PNG", icc_profile=longer)
    got = load_image(packed, 3).permute(1, 2, 0)
    np.testing.assert_allclose(got, encoded(COLORS), atol=1.01)


@pytest.mark.parametrize("depth", [8, 16])
def test_grey_with_transparency_comes_back_as_it_looks(tmp_path: Path, depth: int) -> None:
    """With its own numbers and profile, which is one of grey."""
    kind = np.uint8 if depth == 8 else np.uint16
    opaque = int(np.iinfo(kind).max)
    grey = RAMP.astype(kind) * kind(opaque // 255)
    words = np.stack([grey, np.full_like(grey, opaque)], axis=-1).astype(f">u{depth // 8}")
    header = struct.pack(">IIBBBBB", grey.shape[1], 1, depth, 4, 0, 0, 0)
    chunks = [
        (b"IHDR", header),
        (b"iCCP", b"grey\0\0" + zlib.compress(linear("L"))),
        (b"IDAT", zlib.compress(b"\0" + words.tobytes())),
        (b"IEND", b""),
    ]
    packed = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        check = struct.pack(">I", zlib.crc32(name + body))
        packed += struct.pack(">I", len(body)) + name + body + check
    (tmp_path / "a.png").write_bytes(packed)
    own, profile = read_photo(tmp_path / "a.png")
    assert own.shape == RAMP.shape and profile == linear("L")
    write_png(own, tmp_path / "b.png", profile)
    seen, again = (load_image(tmp_path / name, 3).int() for name in ("a.png", "b.png"))
    assert (seen - again).abs().max() <= 1
    assert np.abs(seen[0].numpy() - encoded(RAMP)).max() <= 2


def test_signed_numbers_have_no_range_whatever_their_profile() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, RAMP.astype(np.int16), iccprofile=linear("L"))
    with pytest.raises(ImageError, match="no defined range: save 8 or 16 unsigned bits"):
        load_image(file.getvalue(), 3)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_dark_levels_of_16_bits_are_not_rounded_before_they_are_converted(
    mode: str, format: str
) -> None:
    """The first 8-bit level above black would be 13 of sRGB, and nothing between."""
    words = np.arange(0, 2570, 10, dtype=np.uint16)[None]
    array = words if mode == "L" else np.stack([words, words[:, ::-1], words // 2], axis=-1)
    file = io.BytesIO()
    if format == "TIFF":
        photometric = "minisblack" if mode == "L" else "rgb"
        tifffile.imwrite(file, array, photometric=photometric, iccprofile=linear(mode))
        packed = file.getvalue()
    else:
        done, made = cv2.imencode(".png", array if mode == "L" else array[..., ::-1])
        assert done
        whole = made.tobytes()
        body = b"iCCP" + b"linear\0\0" + zlib.compress(linear(mode))
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        packed = whole[:33] + chunk + whole[33:]
    seen = load_image(packed, 3).permute(1, 2, 0).numpy()
    wanted = encoded(array / 257)
    assert np.abs(seen - (wanted[..., None] if mode == "L" else wanted)).max() <= 1.1
