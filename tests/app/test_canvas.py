"""Uploads without what cameras write into them; strokes as holes and as colours."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore.app import canvas
from restore.data.photo_file import read_photo, write_png
from restore.types import InputError

PHOTO = np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8)


def bomb(width: int, height: int) -> bytes:
    """A small PNG whose header promises many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(height * (width // 1 + 1)) if width * height < 2**22 else b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def layer(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 4), np.uint8)


def drawn(*layers: np.ndarray) -> dict[str, object]:
    return {"background": None, "layers": [Image.fromarray(one) for one in layers]}


def test_an_upload_keeps_pixels_alone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "at home"
    exif.get_ifd(0x8825)[1] = "N"  # a place
    Image.fromarray(PHOTO).save(tmp_path / "a.png", exif=exif)
    (tmp_path / "new").mkdir()
    made = canvas.accept(tmp_path / "a.png", tmp_path / "new")
    found, _ = read_photo(made)
    assert np.array_equal(found, np.rot90(PHOTO, -1))
    with Image.open(made) as image:
        assert not dict(image.getexif()) and "exif" not in image.info
    assert b"at home" in (tmp_path / "a.png").read_bytes()
    assert b"at home" not in made.read_bytes()


def test_sixteen_bits_stay(tmp_path: Path) -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (9, 7, 3)).astype(np.uint16)
    write_png(deep, tmp_path / "a.png")
    (tmp_path / "new").mkdir()
    found, _ = read_photo(canvas.accept(tmp_path / "a.png", tmp_path / "new"))
    assert found.dtype == np.uint16 and np.array_equal(found, deep)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (bomb(canvas.MAX_PIXELS + 1, 1), "more than 33 megapixels: make it smaller first"),
        (b"no image", "the file: "),
        (b"", "the file: "),
    ],
    ids=["a pixel too many", "text", "empty"],
)
def test_a_bad_upload_is_one_line(
    tmp_path: Path, content: bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    canvas.limit_pixels()
    (tmp_path / "secret.png").write_bytes(content)
    for read in (
        lambda path: canvas.accept(path, tmp_path),
        lambda path: canvas.read_hole(path, (20, 28)),
        lambda path: canvas.accept_strength(path, (20, 28), tmp_path),
    ):
        with pytest.raises(InputError) as raised:
            read(tmp_path / "secret.png")
        assert says in str(raised.value) and str(tmp_path) not in str(raised.value)


def test_a_hole_is_whatever_was_drawn() -> None:
    one, two = layer(20, 28), layer(20, 28)
    one[2:5, 3:9] = (255, 45, 85, 140)
    two[10, 10, 3] = 1
    hole = canvas.hole_of(drawn(one, two), (20, 28))
    wanted = np.zeros((20, 28), bool)
    wanted[2:5, 3:9] = wanted[10, 10] = True
    assert np.array_equal(hole, wanted)
    assert not canvas.hole_of(None, (4, 4)).any() and not canvas.hole_of({}, (4, 4)).any()


def test_a_hole_on_a_smaller_canvas_has_the_photos_size() -> None:
    one = layer(10, 14)
    one[1:3, 4:6, 3] = 255
    wanted = np.zeros((20, 28), bool)
    wanted[2:6, 8:12] = True
    assert np.array_equal(canvas.hole_of(drawn(one), (20, 28)), wanted)


def test_an_editor_gives_back_the_hole_that_it_got(tmp_path: Path) -> None:
    write_png(PHOTO, tmp_path / "a.png")
    hole = np.zeros((20, 28), bool)
    hole[3:7, 2:20] = True
    value = canvas.editor(tmp_path / "a.png", hole)
    large = np.asarray(value["background"])
    assert large.shape == (9 * 20, 9 * 28, 3) and np.array_equal(large[4::9, 4::9], PHOTO)
    assert (large.reshape(20, 9, 28, 9, 3) == PHOTO[:, None, :, None]).all()
    assert np.array_equal(canvas.hole_of(value, (20, 28)), hole)
    assert canvas.editor(tmp_path / "a.png")["layers"] == []


def test_masks_of_another_size_are_brought_to_the_photos(tmp_path: Path) -> None:
    small = np.zeros((10, 14), np.uint8)
    small[1:3, 4:6] = 255
    write_png(small, tmp_path / "m.png")
    hole = canvas.read_hole(tmp_path / "m.png", (20, 28))
    assert hole.sum() == 16 and hole[2:6, 8:12].all()
    with pytest.raises(InputError, match=r"14 x 10 pixels and the photo 28 x 28"):
        canvas.read_hole(tmp_path / "m.png", (28, 28))


def test_a_strength_map_is_grey_and_of_the_photos_size(tmp_path: Path) -> None:
    drawn = np.zeros((10, 14, 3), np.uint8)
    drawn[:, 7:] = 200
    exif = Image.Exif()
    exif[0x010E] = "at home"
    Image.fromarray(drawn).save(tmp_path / "m.png", exif=exif)
    made = canvas.accept_strength(tmp_path / "m.png", (20, 28), tmp_path)
    found, _ = read_photo(made)
    assert (
        found.shape == (20, 28) and found.dtype == np.uint8 and b"at home" not in made.read_bytes()
    )
    assert (found[:, :12] == 0).all() and (found[:, 16:] == 200).all()
    with pytest.raises(InputError, match=r"the strength map has 14 x 10 pixels and the photo 28"):
        canvas.accept_strength(tmp_path / "m.png", (28, 28), tmp_path)


def test_a_hole_is_something_and_not_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="draw over"):
        canvas.write_hole(np.zeros((4, 4), bool), tmp_path / "m.png")
    with pytest.raises(InputError, match="all of the photo"):
        canvas.write_hole(np.ones((4, 4), bool), tmp_path / "m.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strokes_lie_over_the_photo(dtype: type) -> None:
    scale = np.iinfo(dtype).max // 255
    photo = PHOTO.astype(dtype) * dtype(scale)
    one = layer(20, 28)
    one[2:4, 3:5] = (200, 100, 0, 255)
    one[8:9, 3:5] = (200, 100, 0, 51)
    made = canvas.paint_over(photo, drawn(one))
    assert made.dtype == dtype
    assert (made[2:4, 3:5] == np.array([200, 100, 0]) * scale).all()
    mixed = 0.8 * photo[8, 3:5].astype(float) + 0.2 * np.array([200, 100, 0]) * scale
    assert np.abs(made[8, 3:5] - mixed).max() <= 0.5
    untouched = one[..., 3] == 0
    assert np.array_equal(made[untouched], photo[untouched])


def test_a_grey_photo_gets_colours_from_strokes_alone(tmp_path: Path) -> None:
    grey = PHOTO[..., 0]
    write_png(grey, tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    canvas.paint(tmp_path / "a.png", drawn(layer(20, 28)))
    assert (tmp_path / "a.png").read_bytes() == before
    one = layer(20, 28)
    one[0, 0] = (200, 100, 0, 255)
    canvas.paint(tmp_path / "a.png", drawn(one))
    found, _ = read_photo(tmp_path / "a.png")
    assert found.shape == (20, 28, 3) and tuple(found[0, 0]) == (200, 100, 0)
    assert np.array_equal(found[1:], np.repeat(grey[1:, :, None], 3, -1))


def test_large_photos_are_shown_smaller() -> None:
    wide = np.zeros((10, 3000, 3), np.uint8)
    assert canvas.shown(wide).shape == (7, 2048, 3)
    covered = canvas.with_hole(canvas.shown(wide), np.ones((10, 3000), bool))
    assert covered.shape == (7, 2048, 3) and (covered == covered[0, 0]).all()


def test_memory_is_not_filled_by_a_header(tmp_path: Path) -> None:
    Image.new("L", (1, 1)).save(buffer := io.BytesIO(), "PNG")
    assert len(bomb(9000, 9000)) < 200 + len(buffer.getvalue())
