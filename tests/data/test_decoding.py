"""What readers get wrong without a word, against values computed here."""

import io
import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from restore.data.image_file import SUFFIXES, ImageError, load_image

H, W = 20, 24
WORDS = np.random.default_rng(0).integers(0, 2**16, (H, W, 4), dtype=np.uint16)
FILES = Path(__file__).parent / "files"


def read(packed: bytes, channels: int = 3) -> np.ndarray:
    return load_image(packed, channels, "it").permute(1, 2, 0).numpy()


def levels(words: np.ndarray, largest: int = 65535) -> np.ndarray:
    return np.floor(words / largest * 255 + 0.5)


def on_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return color * (alpha / 255) + 255 * (1 - alpha / 255)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: list[bytes], width: int, depth: int, kind: int, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", content), chunk(b"IEND", b"")]
    return b"".join([b"\x89PNG\r\n\x1a\n", *chunks])


def png16(words: np.ndarray, *extra: bytes) -> bytes:
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[words.shape[2]]
    return png([row.astype(">u2").tobytes() for row in words], words.shape[1], 16, kind, *extra)


def tiff(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_png_of_16_bits_is_rounded_whatever_its_channels(count: int) -> None:
    words = WORDS[..., :count].copy()
    alpha = np.full((H, W, 1), 255.0)
    if count in (2, 4):
        alpha = levels(words[..., -1:])
        words_of_color = words[..., :-1]
    else:
        words_of_color = words
    expected = np.broadcast_to(on_white(levels(words_of_color), alpha), (H, W, 3))
    got = read(png16(words))
    if count in (1, 3):
        assert np.array_equal(got, expected)
    np.testing.assert_allclose(got, expected, atol=0.51)


@pytest.mark.parametrize("count", [1, 3])
def test_the_transparent_color_of_16_bits(count: int) -> None:
    words = WORDS[..., :count].copy()
    words[3, 4], words[5, 6] = words[1, 2], words[1, 2] ^ 1  # equal, and equal in the upper bits
    expected = np.broadcast_to(levels(words), (H, W, 3)).copy()
    expected[[1, 3], [2, 4]] = 255
    key = chunk(b"tRNS", words[1, 2].astype(">u2").tobytes())
    assert np.array_equal(read(png16(words, key)), expected)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_transparent_grey_of_few_bits(depth: int, channels: int) -> None:
    largest = 2**depth - 1
    values = np.arange(16) % (largest + 1)
    bits = np.unpackbits(values.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    key = bytes([8, 1 if depth == 8 else 1 + 2**depth])  # bits above those of a pixel say nothing
    packed = png([np.packbits(bits).tobytes()], 16, depth, 0, chunk(b"tRNS", key))
    expected = np.where(values == 1, 255, levels(values, largest))
    assert np.array_equal(read(packed, channels)[0, :, 0], expected)


LAYOUTS = [
    pytest.param(options, id="-".join(str(value) for value in options.values()))
    for options in (
        {"planarconfig": planes, "compression": packing, "tile": tile, "byteorder": order}
        for planes, packing, tile, order in itertools.product(
            ("contig", "separate"), (None, "zlib"), (None, (16, 16)), "<>"
        )
    )
]


@pytest.mark.parametrize("options", LAYOUTS)
@pytest.mark.parametrize("kind", ["rgb", "separated", "rgba", "grey"])
def test_tiff_of_16_bits_in_every_layout(options: dict[str, Any], kind: str) -> None:
    count = {"grey": 1, "rgb": 3}.get(kind, 4)
    words = WORDS[..., :count]
    color = levels(words)
    photometric = {"rgba": "rgb", "grey": "minisblack"}.get(kind, kind)
    given = {**options, "photometric": photometric}
    if kind == "rgba":
        given["extrasamples"] = ["unassalpha"]
        color = on_white(color[..., :3], color[..., 3:])
    if kind == "separated":  # ink without a profile: what is left of the light
        color = (255 - color[..., :3]) * (255 - color[..., 3:]) / 255
    array = words[..., 0] if count == 1 else words
    if count == 1:
        given.pop("planarconfig")
    elif given["planarconfig"] == "separate":
        array = np.ascontiguousarray(words.transpose(2, 0, 1))
    np.testing.assert_allclose(
        read(tiff(array, **given)), np.broadcast_to(color, (H, W, 3)), atol=1.01
    )


def test_16_bits_of_grey_and_of_colors_round_alike() -> None:
    ramp = np.arange(0, 65536, 13, dtype=np.uint16)[None, :, None]
    color = np.ascontiguousarray(ramp.repeat(3, axis=2))
    files = [png16(ramp), png16(color), tiff(ramp[..., 0]), tiff(color, photometric="rgb")]
    files.append(tiff(color.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"))
    for packed in files:
        assert np.array_equal(read(packed), np.broadcast_to(levels(ramp), color.shape))


def test_lzw_of_16_bits() -> None:
    """Written by libtiff, since tifffile alone has no LZW."""
    import cv2

    packed = cv2.imencode(".tif", WORDS[..., 2::-1].copy(), [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1]
    assert np.array_equal(read(packed.tobytes()), levels(WORDS[..., :3]))


def test_alpha_that_is_multiplied_already() -> None:
    alpha = WORDS[..., 3:].astype(np.float64)
    color = (WORDS[..., :3] * (alpha / 65535)).round()
    words = np.concatenate([color, alpha], axis=-1).astype(np.uint16)
    got = read(tiff(words, photometric="rgb", extrasamples=["assocalpha"]))
    np.testing.assert_allclose(got, (color + 65535 - alpha) / 65535 * 255, atol=1.01)


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_a_fourth_band_that_is_no_alpha_hides_nothing(planes: str) -> None:
    array = WORDS if planes == "contig" else np.ascontiguousarray(WORDS.transpose(2, 0, 1))
    packed = tiff(array, photometric="rgb", planarconfig=planes, extrasamples=["unspecified"])
    assert np.array_equal(read(packed), levels(WORDS[..., :3]))


@pytest.mark.parametrize("type", [np.uint8, np.uint16])
def test_white_as_zero(type: Any) -> None:
    values = (WORDS[..., 0] >> (8 if type is np.uint8 else 0)).astype(type)
    largest = np.iinfo(type).max
    got = read(tiff(values, photometric="miniswhite"))[..., 0]
    assert np.array_equal(got, levels(largest - values.astype(np.int64), largest))


@pytest.mark.parametrize("type", [np.int8, np.int16, np.int32, np.float32, np.float64, np.uint32])
@pytest.mark.parametrize("count", [1, 3])
def test_values_without_a_range(type: Any, count: int) -> None:
    array = WORDS[..., :count].astype(type).squeeze()
    with pytest.raises(ImageError, match=r"^it: .*(no defined range|32 bits a sample)"):
        read(tiff(array, photometric="rgb" if count == 3 else "minisblack"))


def patched(packed: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF whose short tag says something else."""
    at = packed.index(struct.pack("<HHI", tag, 3, 1)) + 8
    return packed[:at] + struct.pack("<H", value) + packed[at + 2 :]


def twelve_bit_jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG")
    packed = bytearray(file.getvalue())
    packed[packed.index(b"\xff\xc0") + 4] = 12
    return bytes(packed)


@pytest.mark.parametrize(
    "packed,words",
    [
        (patched(tiff(WORDS[..., 0]), 258, 24), "24 bits a sample"),
        (tiff(np.zeros((4, 4, 7), np.uint8), photometric="rgb", planarconfig="contig"), "7 bands"),
        (tiff(np.zeros((7, 4, 4), np.uint16), photometric="rgb", planarconfig="separate"), "7"),
        (patched((FILES / "grey12.tif").read_bytes(), 262, 3), "12 bits a sample"),
        (twelve_bit_jpeg(), "JPEG of 12 bits"),
        (b"GIF89a" + bytes(20), "a GIF file"),
        (b"P5 2 1 65535\n" + bytes(4), "a Netpbm file, .*: convert it"),
        (b"PF\n1 1\n-1.0\n" + bytes(12), "a PFM file, .*: convert it"),
        (b"\0\0\1\0" + bytes(20), "an ICO file, .*: convert it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE HTML>\n<html>", "a web page: download the image itself"),
        (b"\0\0\0\x1cftypheic" + bytes(20), "a HEIC file"),
        (b"", "empty file"),
    ],
)
def test_what_is_not_supported_is_named(packed: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read(packed)
    assert "\n" not in str(caught.value) and "damaged" not in str(caught.value)


def test_names_of_photos() -> None:
    assert {".jfif", ".jpe", ".avif", ".jpg", ".png"} <= SUFFIXES


def test_avif() -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 12), (200, 100, 50)).save(file, "AVIF", quality=100)
    assert np.abs(read(file.getvalue()).astype(int) - [200, 100, 50]).max() <= 2
