"""16-bit colours in planes under LZW, which tifffile alone does not unpack, in files made here."""

import io
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from restore.data import deep_file
from restore.data.image_file import ImageError, load_image, opened

HEIGHT, WIDTH = 19, 13
ROWS = 8  # of a strip


def lzw(data: bytes) -> bytes:
    """A clear code before every byte keeps all codes at 9 bits (TIFF 6.0, section 13)."""
    codes = [code for byte in data for code in (256, byte)] + [257]
    bits = "".join(f"{code:09b}" for code in codes)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def strips(plane: np.ndarray, order: str, predictor: int) -> Iterator[bytes]:
    words = plane.astype(np.uint16)
    if predictor == 2:  # horizontal differences
        words = np.diff(words, axis=1, prepend=np.uint16(0))
    for top in range(0, HEIGHT, ROWS):
        yield lzw(words[top : top + ROWS].astype(f"{order}u2").tobytes())


def tiff(words: np.ndarray, photometric: int, order: str = "<", predictor: int = 1) -> bytes:
    """uint16 [planes, H, W]."""
    packed = [one for plane in words for one in strips(plane, order, predictor)]
    offsets, place = [], 8
    for one in packed:
        offsets.append(place)
        place += len(one) + len(one) % 2
    body = b"".join(one + b"\0" * (len(one) % 2) for one in packed)
    lists: list[tuple[int, str, list[int]]] = [
        (256, "L", [WIDTH]), (257, "L", [HEIGHT]), (258, "H", [16] * len(words)), (259, "H", [5]),
        (262, "H", [photometric]), (273, "L", offsets), (277, "H", [len(words)]),
        (278, "L", [ROWS]), (279, "L", [len(one) for one in packed]), (284, "H", [2]),
        (317, "H", [predictor]),
    ]  # fmt: skip
    tail, table = place + 2 + 12 * len(lists) + 4, struct.pack(f"{order}H", len(lists))
    behind = b""
    for tag, kind, values in lists:
        value = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(value) > 4:
            value, behind = struct.pack(f"{order}L", tail + len(behind)), behind + value
        kinds = {"H": 3, "L": 4}
        table += struct.pack(f"{order}HHL", tag, kinds[kind], len(values)) + value.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HL", 42, place) + body + table + bytes(4) + behind


def words(planes: int) -> np.ndarray:
    return np.random.default_rng(planes).integers(0, 2**16, (planes, HEIGHT, WIDTH), np.uint16)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("behind", [b"", b"x"], ids=["even", "odd"])  # length of the file
def test_colors_in_planes_under_lzw(order: str, predictor: int, behind: bytes) -> None:
    colors = words(3)
    read = load_image(tiff(colors, 2, order, predictor) + behind, 3, "it").numpy()
    assert np.array_equal(read, np.floor(colors / 65535 * 255 + 0.5))


def test_inks_in_planes_under_lzw() -> None:
    """As Pillow turns the same inks of 8 bits into colours."""
    inks = words(4)
    read = load_image(tiff(inks, 5), 3, "it").numpy()
    eight = np.floor(inks / 65535 * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
    truth = Image.frombytes("CMYK", (WIDTH, HEIGHT), eight.tobytes()).convert("RGB")
    assert np.array_equal(read, np.asarray(truth).transpose(2, 0, 1))
    with opened(tiff(inks, 5)) as file:
        assert deep_file.words_of(file.image, file.packed) is None  # profiles are of 8 bits


def test_a_plane_that_is_cut_off_is_damage() -> None:
    packed = tiff(words(3), 2)
    with Image.open(io.BytesIO(packed)) as image:
        assert image.size == (WIDTH, HEIGHT)
    broken = bytearray(packed)
    broken[8:40] = bytes(32)  # codes that no encoder writes
    with pytest.raises(ImageError, match=r"^it: "):
        load_image(bytes(broken), 3, "it")
