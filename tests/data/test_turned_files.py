"""Files that lie on their side, are damaged, or say more than Pillow takes: seen as they are."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from restore.data.image_file import ImageError, header_size, load_image, upright_size
from restore.data.mask_files import read_mask
from restore.data.photo_file import read_photo, write_png
from restore.types import InputError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
WORDS = RGB.astype(np.uint16) * 257
UPRIGHT: dict[int, Any] = {  # TIFF 6.0, Orientation: where row 0 and column 0 lie
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
KINDS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "raw": (RGB, {}),
    "lzw": (RGB, {"compression": 5}),
    "grey": (RGB[..., 0], {}),
    "16 bits grey": (WORDS[..., 0], {}),
    "16 bits": (WORDS, {}),
    "16 bits in planes": (np.moveaxis(WORDS, -1, 0), {"planarconfig": 2}),
    "16 bits deflated": (WORDS, {"compression": 8}),
}


def tiff(array: np.ndarray, orientation: int, grey: bool = False, **options: Any) -> bytes:
    file = io.BytesIO()
    grey = grey or array.ndim == 2
    extra = [(274, "H", 1, orientation, True)]
    if options.get("compression") == 5:  # of Pillow: tifffile writes none
        made = Image.fromarray(array)
        made.save(file, "TIFF", compression="tiff_lzw", tiffinfo={274: orientation})
        return file.getvalue()
    photometric = "minisblack" if grey else "rgb"
    tifffile.imwrite(file, array, photometric=photometric, extratags=extra, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", KINDS)
def test_a_turned_tiff_is_turned_once(tmp_path: Path, kind: str, orientation: int) -> None:
    array, options = KINDS[kind]
    packed = tiff(array, orientation, **options)
    expected = UPRIGHT[orientation](RGB[..., :1].repeat(3, 2) if "grey" in kind else RGB)
    got = load_image(packed, 3).permute(1, 2, 0).numpy()
    assert np.array_equal(got, expected)
    (tmp_path / "a.tif").write_bytes(packed)
    assert upright_size(tmp_path / "a.tif") == expected.shape[:2]
    own = WORDS if array.dtype == np.uint16 else RGB
    found, _ = read_photo(tmp_path / "a.tif")
    assert found.dtype == array.dtype  # 16 bits stay 16
    assert np.array_equal(found, UPRIGHT[orientation](own[..., 0] if "grey" in kind else own))


def test_white_as_zero_of_16_bits(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", WORDS[..., 0], photometric="miniswhite")
    assert np.array_equal(read_photo(tmp_path / "a.tif")[0], 65535 - WORDS[..., 0])


def laid_on_white(words: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha / 65535
    return np.rint(words * share + 65535 * (1 - share)).astype(np.uint16)


ALPHA = np.random.default_rng(1).integers(0, 65536, WORDS.shape[:2]).astype(np.uint16)
ALPHA[0, :3] = 0, 65535, 32768


@pytest.mark.parametrize(("file", "grey"), [("png", False), ("png", True), ("tif", False)])
def test_transparent_photos_of_16_bits_are_laid_on_white_with_16(
    tmp_path: Path, file: str, grey: bool
) -> None:
    colors = WORDS[..., :1] if grey else WORDS
    wanted = laid_on_white(colors, ALPHA[..., None])
    path = tmp_path / f"a.{file}"
    layered = np.concatenate([colors, ALPHA[..., None]], axis=-1)
    if file == "tif":
        tifffile.imwrite(path, layered, photometric="rgb", extrasamples=["unassalpha"])
    else:
        path.write_bytes(png_words(layered))
    found, _ = read_photo(path)
    assert found.dtype == np.uint16 and np.array_equal(found, wanted[..., 0] if grey else wanted)
    eight = load_image(path, 1 if grey else 3).permute(1, 2, 0).numpy()
    assert np.abs(eight.astype(int) - np.rint(wanted / 257)).max() <= 1  # as training sees it


def test_premultiplied_and_unknown_samples_of_16_bits(tmp_path: Path) -> None:
    seen = (WORDS * (ALPHA[..., None] / 65535)).astype(np.uint16)
    layered = np.concatenate([seen, ALPHA[..., None]], axis=-1)
    for kind, wanted in (
        ("assocalpha", seen + (65535 - ALPHA[..., None])),
        ("unspecified", seen),
    ):
        tifffile.imwrite(tmp_path / "a.tif", layered, photometric="rgb", extrasamples=[kind])
        assert np.array_equal(read_photo(tmp_path / "a.tif")[0], wanted)


@pytest.mark.parametrize("grey", [True, False])
def test_one_transparent_colour_of_16_bits_is_white(tmp_path: Path, grey: bool) -> None:
    colors = WORDS[..., 0] if grey else WORDS
    key = np.atleast_1d(colors[1, 2])
    wanted = colors.copy()
    wanted[(colors == colors[1, 2]) if grey else (colors == key).all(axis=-1)] = 65535
    (tmp_path / "a.png").write_bytes(png_words(colors, key.astype(">u2").tobytes()))
    assert np.array_equal(read_photo(tmp_path / "a.png")[0], wanted)


def png_words(words: np.ndarray, key: bytes | None = None) -> bytes:
    """A PNG of 16 bits with uint16 [H, W] or [H, W, 1 to 4]; key: of its transparent colour."""
    layers = words if words.ndim == 3 else words[..., None]
    height, width, count = layers.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in layers)
    head = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *([] if key is None else [chunk(b"tRNS", key)])]
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", *parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


def test_transparent_colours_of_16_bits_as_opencv_writes_them(tmp_path: Path) -> None:
    """Under LZW, and the file does not say what its fourth sample is."""
    (tmp_path / "a.tif").write_bytes(lzw_words(np.dstack([WORDS[..., ::-1], ALPHA])))
    wanted = laid_on_white(WORDS, ALPHA[..., None])
    assert np.array_equal(read_photo(tmp_path / "a.tif")[0], wanted)
    eight = load_image(tmp_path / "a.tif", 3).permute(1, 2, 0).numpy()
    assert np.abs(eight - wanted / 257).max() <= 1.01  # both were rounded before


def lzw_words(words: np.ndarray = WORDS[..., ::-1]) -> bytes:
    """Blue, green, red of 16 bits under LZW, as OpenCV writes it."""
    import cv2

    done, encoded = cv2.imencode(".tif", words, [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert done
    return bytes(encoded.tobytes())


def tagged(packed: bytes, tag: int, value: int) -> bytes:
    """A TIFF with another value of a tag, in a table of its own behind the old one."""
    (start,) = struct.unpack_from("<L", packed, 4)
    (count,) = struct.unpack_from("<H", packed, start)
    entries = [packed[start + 2 + 12 * k : start + 14 + 12 * k] for k in range(count)]
    entries = [one for one in entries if _tag(one) != tag]
    entries.append(struct.pack("<HHLHH", tag, 3, 1, value, 0))
    table = struct.pack("<H", len(entries)) + b"".join(sorted(entries, key=_tag)) + bytes(4)
    padded = packed + b"\0" * (len(packed) % 2)
    return padded[:4] + struct.pack("<L", len(padded)) + padded[8:] + table


def _tag(entry: bytes) -> int:
    return int(struct.unpack("<H", entry[:2])[0])


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_words_under_lzw_are_turned_once(orientation: int) -> None:
    got = load_image(tagged(lzw_words(), 274, orientation), 3).permute(1, 2, 0).numpy()
    assert np.array_equal(got, UPRIGHT[orientation](RGB))


def test_ycbcr_that_pillow_misreads_is_refused() -> None:
    with pytest.raises(ImageError, match=r"YCbCr without compression.*: save it as RGB"):
        load_image(tagged(tiff(RGB, 1), 262, 6), 3)


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "form"), [(3, "HH"), (1, "BBH"), (4, "L")])
def test_an_orientation_behind_a_broken_tag_counts(order: str, kind: int, form: str) -> None:
    """The tag before it says that its text lies outside of the block, where Pillow stops."""
    mark = b"II" if order == "<" else b"MM"
    text = struct.pack(f"{order}HHLL", 270, 2, 4000, 60000)
    values = (6,) if form == "L" else (6,) + (0,) * (len(form) - 1)
    turn = struct.pack(f"{order}HHL{form}", 0x0112, kind, 1, *values)
    block = mark + struct.pack(f"{order}HLH", 42, 8, 2) + text + turn + bytes(4)
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "PNG", exif=b"Exif\0\0" + block)
    assert np.array_equal(load_image(file.getvalue(), 3).permute(1, 2, 0), np.rot90(RGB, -1))


def png(array: np.ndarray, extra: bytes = b"") -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    packed = file.getvalue()
    at = packed.index(b"IDAT") - 4
    return packed[:at] + extra + packed[at:]


def test_a_damaged_png_is_refused_wherever_a_bit_has_changed() -> None:
    packed = png(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    start = packed.index(b"IDAT") + 4
    length = int.from_bytes(packed[start - 8 : start - 4], "big")
    for place in range(start, start + length, 97):
        damaged = bytearray(packed)
        damaged[place] ^= 4
        with pytest.raises(ImageError, match="checksum"):
            load_image(bytes(damaged), 3)


def test_bytes_behind_the_end_of_a_png_do_no_harm() -> None:
    behind = struct.pack(">I", 4) + b"IDAT" + b"abcd" + bytes(4)
    assert np.array_equal(load_image(png(RGB) + behind, 3).permute(1, 2, 0), RGB)


def long_text(kind: bytes = b"zTXt") -> bytes:
    body = b"parameters\0\0" + zlib.compress(b"a" * 3_000_000)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_png_with_long_text_is_a_photo_and_a_mask_as_others(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(RGB, long_text()))
    found, profile = read_photo(tmp_path / "a.png")
    assert np.array_equal(found, RGB) and profile is None
    assert upright_size(tmp_path / "a.png") == header_size(tmp_path / "a.png") == (5, 7)
    assert header_size(png(RGB, long_text())) == (5, 7)
    drawn = np.full((5, 7, 4), 255, np.uint8)
    drawn[..., 3] = RGB[..., 0] // 128 * 255
    (tmp_path / "m.png").write_bytes(png(drawn, long_text()))
    assert np.array_equal(read_mask(tmp_path / "m.png", False)[0], drawn[..., 3])


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_white_strokes_on_nothing_turn_with_the_mask(tmp_path: Path, orientation: int) -> None:
    drawn = np.full((5, 7, 4), 255, np.uint8)
    drawn[..., 3] = RGB[..., 0] // 128 * 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(drawn).save(tmp_path / "m.png", exif=exif)
    found = read_mask(tmp_path / "m.png", False)[0].numpy()
    assert np.array_equal(found, UPRIGHT[orientation](drawn[..., 3]))


@pytest.mark.parametrize("end", ["png", "tif"])
def test_a_coloured_mask_of_16_bits_that_holds_0_and_1_is_refused(tmp_path: Path, end: str) -> None:
    import cv2

    labels = np.repeat(RGB[..., :1] > 99, 3, axis=2).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"m.{end}"), labels)
    with pytest.raises(InputError, match=r"brightest is 1 of 65535"):
        read_mask(tmp_path / f"m.{end}", False)
    cv2.imwrite(str(tmp_path / f"m.{end}"), labels * 0)
    assert not read_mask(tmp_path / f"m.{end}", False).any()


def test_white_as_zero_of_16_bits_is_not_taken_for_its_brightest(tmp_path: Path) -> None:
    labels = (RGB[..., 0] > 99).astype(np.uint16)
    tifffile.imwrite(tmp_path / "m.tif", 65535 - labels, photometric="miniswhite")
    with pytest.raises(InputError, match=r"brightest is 1 of 65535"):
        read_mask(tmp_path / "m.tif", False)


@pytest.mark.parametrize("end", ["png", "tif"])
def test_a_mask_of_16_bits_that_holds_0_and_1_is_refused(tmp_path: Path, end: str) -> None:
    labels = (RGB[..., 0] > 99).astype(np.uint16)
    Image.fromarray(labels).save(tmp_path / f"m.{end}")
    with pytest.raises(InputError, match=r"brightest is 1 of 65535"):
        read_mask(tmp_path / f"m.{end}", False)
    Image.fromarray(labels * 0).save(tmp_path / f"m.{end}")
    assert not read_mask(tmp_path / f"m.{end}", False).any()
    Image.fromarray(labels * 65535).save(tmp_path / f"m.{end}")
    assert np.array_equal(read_mask(tmp_path / f"m.{end}", False)[0], labels * 255)


def test_a_result_may_have_the_longest_name(tmp_path: Path) -> None:
    write_png(RGB, tmp_path / f"{'n' * 251}.png")
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


@pytest.mark.parametrize("orientation", [*range(12), 65535])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_the_size_by_the_header_is_that_of_what_is_read(
    tmp_path: Path, format: str, orientation: int
) -> None:
    """Whatever number stands there: a mask of that size fits."""
    image, path = Image.fromarray(RGB), tmp_path / "a"
    exif = image.getexif()
    exif[274] = orientation
    image.save(path, format, exif=exif)
    _, height, width = load_image(path, 3).shape
    assert upright_size(path) == (height, width)
    assert (height, width) == UPRIGHT.get(orientation, UPRIGHT[1])(RGB).shape[:2]
