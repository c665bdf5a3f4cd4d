"""Pixels of TIFF files that Pillow does not open, or opens as black, in files made here."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, UnidentifiedImageError

from restore.data import tiff_page
from restore.data.image_file import ImageError, load_image, upright_size
from restore.data.photo_file import read_photo
from restore.data.tiff_page import is_tiff, opened

HEIGHT, WIDTH = 5, 7


def numbers(count: int, bits: int) -> np.ndarray:
    """int64 [H, W, count] from 0 to 2^bits - 1."""
    return np.random.default_rng(bits).integers(0, 2**bits, (HEIGHT, WIDTH, count))


def packed(rows: np.ndarray, bits: int, order: str) -> bytes:
    """[H, ...] row by row: whole bytes in that order, fewer bits from the left, rows padded."""
    if bits in (8, 16):
        return rows.astype(f"{order}u{bits // 8}").tobytes()
    made = b""
    for row in rows.reshape(len(rows), -1):
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        made += int(text, 2).to_bytes(len(text) // 8, "big")
    return made


def tiff(
    strips: list[bytes], bits: int, count: int, photometric: int, order: str = "<", **more: int
) -> bytes:
    tags: dict[int, list[int]] = {256: [WIDTH], 257: [HEIGHT], 258: [bits] * count, 259: [1]}
    tags |= {262: [photometric], 277: [count], 278: [HEIGHT], 279: [len(one) for one in strips]}
    tags |= {int(tag[1:]): [value] for tag, value in more.items()}
    place, tags[273] = 8, []
    for one in strips:
        tags[273].append(place)
        place += len(one)
    behind, far = b"", place + 2 + 12 * len(tags) + 4
    table = struct.pack(f"{order}H", len(tags))
    for tag, values in sorted(tags.items()):
        value = struct.pack(f"{order}{len(values)}H", *values)
        if len(value) > 4:
            value, behind = struct.pack(f"{order}L", far + len(behind)), behind + value
        table += struct.pack(f"{order}HHL", tag, 3, len(values)) + value.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HL", 42, place)
    return head + b"".join(strips) + table + bytes(4) + behind


def assert_read(file: bytes, wanted: np.ndarray) -> None:
    """wanted: [H, W, 1 or 3] from 0 to 1."""
    read = load_image(file, 3).permute(1, 2, 0).numpy()
    assert np.abs(read - wanted * 255).max() <= 0.51


@pytest.mark.parametrize("bits", [6, 10, 12, 14, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_grey_of_any_depth_and_either_black(bits: int, order: str) -> None:
    values, largest = numbers(1, bits), 2**bits - 1
    for white_is_zero in (False, True):
        stored = largest - values if white_is_zero else values
        file = tiff([packed(stored, bits, order)], bits, 1, 0 if white_is_zero else 1, order)
        assert_read(file, values / largest)


@pytest.mark.parametrize("bits", [2, 4, 10, 12])
def test_colours_of_few_or_many_bits_pixel_by_pixel_and_in_planes(bits: int) -> None:
    values = numbers(3, bits)
    assert_read(tiff([packed(values, bits, "<")], bits, 3, 2), values / (2**bits - 1))
    planes = [packed(values[..., k], bits, "<") for k in range(3)]
    assert_read(tiff(planes, bits, 3, 2, t284=2), values / (2**bits - 1))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_grey_with_a_second_sample(bits: int, order: str) -> None:
    """Which is nothing, or transparency that is laid on white, multiplied already or not."""
    largest = 2**bits - 1
    grey, alpha = numbers(2, bits)[..., :1], numbers(3, bits)[..., 2:]
    share = alpha / largest
    on_white = grey / largest * share + 1 - share
    times = np.round(grey * share).astype(int)
    for extra, stored, wanted in ((0, grey, grey / largest), (1, times, on_white)):
        file = packed(np.concatenate([stored, alpha], -1), bits, order)
        assert_read(tiff([file], bits, 2, 1, order, t338=extra), wanted)
    file = packed(np.concatenate([grey, alpha], -1), bits, order)
    read = load_image(tiff([file], bits, 2, 1, order, t338=2), 1)[0].numpy()
    assert np.abs(read - on_white[..., 0] * 255).max() <= 1.51  # both are rounded before


def test_grey_with_transparency_keeps_its_16_bits(tmp_path: Path) -> None:
    grey, alpha = numbers(2, 16)[..., 0], numbers(3, 16)[..., 2]
    file = tiff([packed(np.stack([grey, alpha], -1), 16, "<")], 16, 2, 1, t338=2)
    (tmp_path / "a.tif").write_bytes(file)
    share = alpha / 65535
    read, _ = read_photo(tmp_path / "a.tif")
    assert np.array_equal(read, np.rint(grey * share + 65535 * (1 - share)).astype(np.uint16))


def test_what_is_written_anew_keeps_its_turn_and_its_16_bits(tmp_path: Path) -> None:
    values = numbers(1, 16)
    stored = packed(65535 - values, 16, ">")
    (tmp_path / "a.tif").write_bytes(tiff([stored], 16, 1, 0, ">", t274=6))
    turned = np.rot90(values[..., 0], -1)
    read, _ = read_photo(tmp_path / "a.tif")
    assert read.dtype == np.uint16 and np.array_equal(read, turned)
    assert upright_size(tmp_path / "a.tif") == turned.shape


def test_a_palette_of_8_bits_is_not_black() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (3, 256))
    index = numbers(1, 8)
    wanted = colors[:, index[..., 0]].transpose(1, 2, 0) / 255
    for factor in (1, 257):
        file = with_palette(tiff([packed(index, 8, "<")], 8, 1, 3), colors * factor)
        assert_read(file, wanted)
    assert load_image(with_palette(tiff([bytes(35)], 8, 1, 3), colors * 0), 3).max() == 0


def with_palette(file: bytes, colors: np.ndarray) -> bytes:
    """The file with one more tag, the last, and the palette behind all."""
    (start,) = struct.unpack_from("<L", file, 4)
    (count,) = struct.unpack_from("<H", file, start)
    tags = file[start + 2 : start + 2 + 12 * count]
    table = len(file)
    palette = struct.pack("<HHLL", 320, 3, colors.size, table + 2 + 12 * (count + 1) + 4)
    body = struct.pack("<H", count + 1) + tags + palette + bytes(4)
    return file[:4] + struct.pack("<L", table) + file[8:] + body + colors.astype("<u2").tobytes()


def test_what_cannot_be_read_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    packed_bits = tiff([packed(numbers(2, 8), 8, "<")], 8, 2, 5)
    with pytest.raises(ImageError, match=r"8 bits a sample \(2 a pixel\).*: save it as RGB or"):
        load_image(packed_bits, 3, "a.tif")
    with pytest.raises(ImageError, match=r"32 bits .*: save 8"):
        load_image(tiff([bytes(4 * HEIGHT * WIDTH * 3)], 32, 3, 2), 3, "a.tif")
    whole = tiff([packed(numbers(1, 10), 10, "<")], 10, 1, 1)
    with pytest.raises(ImageError, match="a damaged TIFF"):
        load_image(whole[:40], 3, "a.tif")
    assert not caplog.records


def made(values: np.ndarray, **settings: Any) -> bytes:
    """Big-endian, and white as zero, which Pillow does not open in 16 bits."""
    file = io.BytesIO()
    order: Any = {"byteorder": ">", "photometric": "miniswhite", "metadata": None}
    tifffile.imwrite(file, values.astype(values.dtype.newbyteorder(">")), **order | settings)
    return file.getvalue()


def test_a_large_file_by_its_number_is_a_tiff_and_keeps_its_profile() -> None:
    values = np.arange(40 * 41, dtype=np.uint16).reshape(40, 41)
    profile = b"a profile of 20 byte"
    for big in (False, True):
        file = made(values, bigtiff=big, iccprofile=profile)
        assert is_tiff(file) and is_tiff(b"II" + file[3:1:-1])
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(file))
        with opened(file, ["TIFF"], values.size)[0] as image:
            assert np.array_equal(np.asarray(image), 65535 - values)
            assert image.info["icc_profile"] == profile


def test_what_would_be_read_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = made(np.arange(35, dtype=np.int16).reshape(5, 7))
    ten = packed(numbers(1, 10), 10, "<")
    odd = [tiff([ten], 10, 1, 1, **more) for more in ({"t259": 5}, {"t266": 2})]
    for file in (signed, *odd):
        with pytest.raises(ImageError):
            load_image(file, 1)
    whole = tiff([ten], 10, 1, 1)
    with pytest.raises(UnidentifiedImageError):
        opened(whole, ["TIFF"], 34)
    assert opened(whole, ["TIFF"], 35)[0].size == (WIDTH, HEIGHT)
    monkeypatch.setattr("restore.data.image_file.MAX_PIXELS", 34)
    with pytest.raises(ImageError):
        load_image(whole, 1)


def test_a_fourth_plane_without_a_word_is_refused_where_it_would_be_misread() -> None:
    values = numbers(4, 8)
    planes = [packed(values[..., k], 8, "<") for k in range(4)]
    share = values[..., 3:] / 255
    read = load_image(tiff(planes, 8, 4, 2, t284=2), 3).permute(1, 2, 0).numpy()
    assert np.abs(read - values[..., :3] * share - 255 * (1 - share)).max() <= 1.01
    deflated = tiff([zlib.compress(plane) for plane in planes], 8, 4, 2, t284=2, t259=8)
    with pytest.raises(ImageError, match="a fourth plane that is not said to be transparency"):
        load_image(deflated, 3)


def test_grey_in_planes_and_a_sample_that_says_nothing_of_itself() -> None:
    for bits in (10, 16):
        values, largest = numbers(1, bits), 2**bits - 1
        file = tiff([packed(largest - values, bits, ">")], bits, 1, 0, ">", t284=2)
        assert_read(file, values / largest)
    values = numbers(2, 8)
    share = values[..., 1:] / 255
    read = load_image(tiff([packed(values, 8, "<")], 8, 2, 1), 1)[0].numpy()
    on_white = values[..., :1] * share + 255 * (1 - share)  # as transparency, like those of colours
    assert np.abs(read - on_white[..., 0]).max() <= 0.51


def test_premultiplied_colours_brighter_than_their_share_are_white() -> None:
    for largest in (255, 65535):
        words = np.array([[[largest - 5, 100], [50, 100]]], dtype=np.uint16)
        colors = tiff_page.colors_of(words, tiff_page.BLACK_IS_ZERO, 1, largest)
        assert colors.tolist() == [[[largest], [largest - 50]]]
    for space, count in ((tiff_page.BLACK_IS_ZERO, 3), (tiff_page.RGB, 5), (tiff_page.RGB, 2)):
        with pytest.raises(ValueError, match=f"{count} samples of 8 bits in colour space {space}"):
            tiff_page.colors_of(np.zeros((1, 1, count), np.uint16), space, 0, 255)
