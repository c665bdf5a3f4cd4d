"""Damage inside a scan is an error, what is merely odd is none."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from restore.data.image_file import ImageError, load_image

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def jpeg(array: np.ndarray = NOISE, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", **options)  # type: ignore[arg-type]
    return file.getvalue()


def pillow(packed: bytes) -> np.ndarray:
    array = np.asarray(Image.open(io.BytesIO(packed)))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(48, 64), (47, 33), (1, 1), (8, 9)])
def test_the_same_bits_as_pillow(
    mode: str, progressive: bool, subsampling: int, size: tuple[int, int]
) -> None:
    array = NOISE[: size[0], : size[1]]
    options = {"progressive": progressive, "subsampling": subsampling, "quality": 80}
    packed = jpeg(array if mode == "RGB" else array[..., 0].copy(), **options)
    assert np.array_equal(load_image(packed, 1 if mode == "L" else 3), pillow(packed))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", np.linspace(0.02, 0.98, 9).tolist())
def test_lost_parts_of_a_scan_are_refused(progressive: bool, share: float) -> None:
    """A tenth of it; where less is lost, the rest may be as many blocks by chance."""
    packed = jpeg(NOISE.repeat(4, 0).repeat(4, 1), progressive=progressive)
    start = packed.rindex(b"\xff\xda") + 14
    at = start + int(share * (0.9 * (len(packed) - start) - 2))
    damaged = packed[:at] + packed[at + (len(packed) - start) // 10 :]
    assert pillow(damaged).shape == (3, 192, 256)  # silently
    with pytest.raises(ImageError, match=r"damaged inside its scan"):
        load_image(damaged, 3)


@pytest.mark.parametrize("number", [0, 3, 7])
def test_a_lost_restart_marker_is_refused(number: int) -> None:
    packed = jpeg(restart_marker_blocks=1)
    at = packed.index(b"\xff" + bytes([0xD0 + number]))
    with pytest.raises(ImageError, match=r"damaged inside its scan"):
        load_image(packed[:at] + packed[at + 2 :], 3)


def test_what_is_merely_odd_is_read() -> None:
    packed = jpeg()
    odd = {
        "bytes behind the end": packed + b"camera" * 100,
        "zeros before the end": packed[:-2] + bytes(40) + packed[-2:],
        "a strange JFIF version": packed.replace(b"JFIF\0\1", b"JFIF\0\7", 1),
        "restart markers": jpeg(restart_marker_rows=1),
    }
    for kind, one in odd.items():
        assert np.array_equal(load_image(one, 3), pillow(one)), kind


@pytest.mark.parametrize("text", [b"72 dpi", b"6"])
def test_the_orientation_alone_is_read_of_exif(text: bytes) -> None:
    """Text where numbers belong, here in XResolution and in a maker's tag."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x0110] = "maker"
    packed = jpeg(exif=exif, quality=90)
    at = packed.index(b"\x01\x10\x00\x02")  # the tag of the text becomes that of a resolution
    turned = packed[:at] + b"\x01\x1a" + packed[at + 2 :]
    plain = pillow(jpeg(quality=90))
    assert np.array_equal(load_image(turned, 3), np.rot90(plain, -1, (1, 2)))


def test_a_damaged_exif_block_turns_nothing() -> None:
    packed = jpeg(exif=b"Exif\0\0no TIFF at all", quality=90)
    assert np.array_equal(load_image(packed, 3), pillow(jpeg(quality=90)))


def test_a_progressive_file_that_ends_between_two_scans_is_cut() -> None:
    """Each scan is whole, so that libjpeg has nothing to warn of but the end that is missing."""
    packed = jpeg(NOISE.repeat(4, 0).repeat(4, 1), progressive=True)
    starts = [k for k in range(len(packed) - 1) if packed[k : k + 2] == b"\xff\xda"]
    assert len(starts) > 4
    for start in starts[1:]:
        tables = packed.rfind(b"\xff\xc4", 0, start)
        cut = tables if tables > starts[starts.index(start) - 1] else start
        with pytest.raises(ImageError):
            load_image(packed[:cut], 3)


@pytest.mark.parametrize("zeros", [0, 3])
def test_a_whole_scan_without_an_end_marker_is_read(zeros: int) -> None:
    packed = jpeg(NOISE.repeat(4, 0).repeat(4, 1))
    assert packed.endswith(b"\xff\xd9")
    wanted = load_image(packed, 3)
    given = packed[:-2] + b"\0" * zeros
    assert torch.equal(load_image(given, 3), wanted)
