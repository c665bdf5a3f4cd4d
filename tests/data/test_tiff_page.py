"""Pixels of TIFF files that Pillow does not open, or opens as black, in files made here."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, UnidentifiedImageError
from test_planes import lzw

from restore.data import tiff_file, tiff_page
from restore.data.image_file import ImageError, load_image, upright_size
from restore.data.mask_files import read_mask
from restore.data.photo_file import read_photo
from restore.data.tiff_page import is_tiff, opened
from restore.types import InputError

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
    where, place = [], 8
    for one in strips:
        where.append(place)
        place += len(one)
    tags[273] = where
    if 322 in tags:
        tags[324], tags[325] = tags.pop(273), tags.pop(279)
        tags.pop(278)
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
    for factor in (1, 256, 257):
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
    with pytest.raises(ImageError, match=r"2 bands in colour space 5, .*: save it as RGB or"):
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
    with pytest.raises(ImageError):
        load_image(made(np.arange(35, dtype=np.int16).reshape(5, 7)), 1)
    ten = packed(numbers(1, 10), 10, "<")
    whole = tiff([ten], 10, 1, 1)
    with pytest.raises(ValueError, match="7 x 5 pixels, at most 34 are read"):
        opened(whole, ["TIFF"], 34)
    assert opened(whole, ["TIFF"], 35)[0].size == (WIDTH, HEIGHT)
    monkeypatch.setattr("restore.data.image_file.MAX_PIXELS", 34)
    with pytest.raises(ImageError):
        load_image(whole, 1)


@pytest.mark.parametrize("packing", [1, 8])
def test_what_is_cut_off_is_told(packing: int) -> None:
    ten = packed(numbers(1, 10), 10, "<")
    strip = ten if packing == 1 else zlib.compress(ten)
    assert_read(tiff([strip], 10, 1, 1, t259=packing), numbers(1, 10) / 1023)
    with pytest.raises(ImageError, match=r"a\.tif: cannot be read as an image"):
        load_image(tiff([strip[:-9]], 10, 1, 1, t259=packing), 1, "a.tif")
    with pytest.raises(ImageError, match="damaged: 1 strips or tiles of 5"):
        load_image(tiff([strip], 10, 1, 1, t259=packing, t278=1), 1)
    with pytest.raises(ImageError, match="predictor 2 of 10 bits"):
        load_image(tiff([zlib.compress(ten)], 10, 1, 1, t259=8, t317=2), 1)


def test_a_fourth_plane_without_a_word_is_transparency() -> None:
    values = numbers(4, 8)
    planes = [packed(values[..., k], 8, "<") for k in range(4)]
    share = values[..., 3:] / 255
    deflated = tiff([zlib.compress(plane) for plane in planes], 8, 4, 2, t284=2, t259=8)
    for file in (tiff(planes, 8, 4, 2, t284=2), deflated):
        read = load_image(file, 3).permute(1, 2, 0).numpy()
        assert np.abs(read - values[..., :3] * share - 255 * (1 - share)).max() <= 1.01


@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16])
def test_bits_of_bytes_the_other_way_round(bits: int) -> None:
    turned = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    values = numbers(3, bits)
    planes = [packed(values[..., k], bits, "<").translate(turned) for k in range(3)]
    assert_read(tiff(planes, bits, 3, 2, t284=2, t266=2), values / (2**bits - 1))


PACKINGS: dict[int, Callable[[bytes], bytes]] = {1: bytes, 5: lzw, 8: zlib.compress}


def cut(values: np.ndarray, side: int | None) -> Iterator[np.ndarray]:
    """Strips of two rows, or tiles, of which the last go on beyond the image."""
    if side is None:
        yield from (values[top : top + 2] for top in range(0, HEIGHT, 2))
        return
    whole = np.pad(values, ((0, -HEIGHT % side), (0, -WIDTH % side), (0, 0)))
    for top in range(0, HEIGHT, side):
        yield from (whole[top : top + side, left : left + side] for left in range(0, WIDTH, side))


@pytest.mark.parametrize("bits", [2, 8, 12, 16])
@pytest.mark.parametrize("side", [None, 4])
@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("planes", [1, 2])
def test_colours_in_every_layout(bits: int, side: int | None, packing: int, planes: int) -> None:
    values = numbers(3, bits)
    layers = [values] if planes == 1 else np.split(values, 3, axis=-1)
    parts = [part for layer in layers for part in cut(layer, side)]
    more = {"t284": planes, "t259": packing} | ({"t278": 2} if side is None else {})
    more |= {} if side is None else {"t322": side, "t323": side}
    for order in "<>":
        stored = [PACKINGS[packing](packed(part, bits, order)) for part in parts]
        assert_read(tiff(stored, bits, 3, 2, order, **more), values / (2**bits - 1))
        if packing > 1 and bits in (8, 16):  # differences, too
            steps = [np.diff(part, axis=1, prepend=0) % 2**bits for part in parts]
            stored = [PACKINGS[packing](packed(step, bits, order)) for step in steps]
            assert_read(tiff(stored, bits, 3, 2, order, t317=2, **more), values / (2**bits - 1))


def test_a_large_page_of_bits_is_unpacked_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    values = numbers(1, 12)
    monkeypatch.setattr("restore.data.tiff_samples._BLOCK", 2 * 12 * WIDTH)
    assert_read(tiff([packed(values, 12, "<")], 12, 1, 1), values / 4095)


def test_what_lies_behind_colours_is_nothing_unless_it_says_so() -> None:
    values = numbers(6, 8)
    share = values[..., 4:5] / 255
    seen = values[..., :3] / 255 * share + 1 - share
    for kinds, wanted in (([0, 0, 0], values[..., :3] / 255), ([0, 2, 1], seen)):
        colors = tiff_page.colors_of(values, tiff_page.RGB, tuple(kinds), 255)
        assert colors.shape[-1] == (4 if 2 in kinds else 3)
        file = io.BytesIO()
        names = {0: "unspecified", 1: "assocalpha", 2: "unassalpha"}
        tifffile.imwrite(
            file, values.astype(np.uint8), photometric="rgb", planarconfig="contig",
            extrasamples=[names[kind] for kind in kinds],
        )  # fmt: skip
        read = load_image(file.getvalue(), 3).permute(1, 2, 0).numpy()
        assert np.abs(read - wanted * 255).max() <= 1.01


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


def test_grey_of_three_samples_is_refused_and_so_are_words_that_nobody_made() -> None:
    for bits in (8, 16):
        grey = tiff([packed(numbers(3, bits), bits, "<")], bits, 3, 1)
        with pytest.raises(ImageError, match=r"3 bands in colour space 1, .*: save it as RGB"):
            load_image(grey, 3)
    inks = [packed(numbers(5, 8), 8, "<")]
    with pytest.raises(ImageError, match="5 bands in colour space 5"):  # with transparency
        load_image(tiff(inks, 8, 5, 5, t338=2), 3)
    shown = load_image(tiff(inks, 8, 5, 5, t338=0), 3).permute(1, 2, 0).numpy()
    bare = 1 - numbers(5, 8) / 255
    assert np.abs(shown - 255 * bare[..., :3] * bare[..., 3:4]).max() <= 1.6
    words = tiff([packed(numbers(1, 16), 16, "<")], 16, 1, 1)
    with Image.open(io.BytesIO(words)) as image, pytest.raises(ValueError, match="16-bit pixels"):
        tiff_file.deep(image, words)


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_twelve_bits_are_kept_in_photos_and_in_masks(tmp_path: Path, white_is_zero: bool) -> None:
    values = numbers(1, 12)
    for name, array in (("photo.tif", values), ("mask.tif", values % 2)):
        stored = packed(4095 - array if white_is_zero else array, 12, "<")
        (tmp_path / name).write_bytes(tiff([stored], 12, 1, 0 if white_is_zero else 1))
    read, _ = read_photo(tmp_path / "photo.tif")
    assert np.abs(read / 65535 - values[..., 0] / 4095).max() <= 0.51 / 65535
    with pytest.raises(InputError, match="nothing in it is half white"):
        read_mask(tmp_path / "mask.tif", invert=False)


def test_premultiplied_colours_brighter_than_their_share_are_white() -> None:
    for largest in (255, 65535):
        words = np.array([[[largest - 5, 100], [50, 100]]], dtype=np.uint16)
        colors = tiff_page.colors_of(words, tiff_page.BLACK_IS_ZERO, (1,), largest)
        assert colors.tolist() == [[[largest], [largest - 50]]]
