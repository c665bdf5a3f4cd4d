import io
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from entry import ROOT
from PIL import Image, ImageCms, ImageFile

from restore.data.image_file import ImageError, header_size, load_image
from restore.types import InputError

H, W = 5, 7
RGB = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
GREY = RGB[..., 0]
WORDS = np.random.default_rng(1).integers(0, 2**16, (H, W), dtype=np.uint16)


def encode(image: Image.Image | np.ndarray, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    made = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    made.save(file, format, **options)
    return file.getvalue()


def chw(array: np.ndarray) -> torch.Tensor:
    array = array[..., None].repeat(3, axis=2) if array.ndim == 2 else array
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def on_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return color * share + 255 * (1 - share)


def palette(transparent: bool) -> bytes:
    image = Image.new("P", (W, H), 1)
    image.putpalette([255, 0, 0, 10, 20, 30])
    image.putpixel((2, 3), 0)
    return encode(image, "PNG", **({"transparency": 0} if transparent else {}))


def palette_expected(first: tuple[int, int, int]) -> np.ndarray:
    expected = np.tile(np.array([10, 20, 30], np.uint8), (H, W, 1))
    expected[3, 2] = first
    return expected


def animation(format: str) -> bytes:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    return encode(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)


SIXTEEN = np.round(WORDS / 65535 * 255).astype(np.uint8)
ALPHA = np.random.default_rng(2).choice([0, 255], (H, W)).astype(np.uint8)
EXACT: dict[str, tuple[bytes, np.ndarray]] = {
    "png rgb": (encode(RGB, "PNG"), RGB),
    "png grey": (encode(GREY, "PNG"), GREY),
    "png 1 bit": (encode(Image.fromarray(GREY > 99), "PNG"), (GREY > 99) * np.uint8(255)),
    "png 16 bits": (encode(WORDS, "PNG"), SIXTEEN),
    "png palette": (palette(transparent=False), palette_expected((255, 0, 0))),
    "png palette transparent": (palette(transparent=True), palette_expected((255, 255, 255))),
    "png rgba": (
        encode(np.dstack([RGB, ALPHA]), "PNG"),
        on_white(RGB, ALPHA).astype(np.uint8),
    ),
    "png grey alpha": (
        encode(np.dstack([GREY, ALPHA]), "PNG"),
        on_white(GREY[..., None].repeat(3, 2), ALPHA).astype(np.uint8),
    ),
    "apng": (animation("PNG"), RGB),
    "tiff rgb": (encode(RGB, "TIFF"), RGB),
    "tiff lzw": (encode(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "tiff grey": (encode(GREY, "TIFF"), GREY),
    "tiff 16 bits": (encode(WORDS, "TIFF"), SIXTEEN),
    "tiff 16 bits big endian": (encode(WORDS.astype(">u2"), "TIFF"), SIXTEEN),
    "tiff pages": (animation("TIFF"), RGB),
    "bmp rgb": (encode(RGB, "BMP"), RGB),
    "bmp grey": (encode(GREY, "BMP"), GREY),
    "webp lossless": (encode(RGB, "WEBP", lossless=True), RGB),
    "webp animated": (animation("WEBP"), RGB),
}


@pytest.mark.parametrize("kind", EXACT)
def test_golden(kind: str) -> None:
    packed, expected = EXACT[kind]
    image = load_image(packed, channels=3)
    assert image.dtype == torch.uint8 and image.is_contiguous()
    assert torch.equal(image, chw(expected))


@pytest.mark.parametrize("kind", [kind for kind, (_, array) in EXACT.items() if array.ndim == 2])
def test_grey_files_keep_their_values_in_one_channel(kind: str) -> None:
    packed, expected = EXACT[kind]
    assert torch.equal(load_image(packed, channels=1), chw(expected)[:1])


def test_color_to_luma() -> None:
    luma = RGB @ np.array([0.299, 0.587, 0.114])
    got = load_image(encode(RGB, "PNG"), channels=1)[0].numpy()
    np.testing.assert_allclose(got, luma, atol=0.51)


def test_partial_transparency_is_laid_on_white() -> None:
    alpha = np.arange(H * W, dtype=np.uint8).reshape(H, W) * 7
    got = load_image(encode(np.dstack([RGB, alpha]), "PNG"), channels=3).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got, on_white(RGB, alpha), atol=1.01)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg(mode: str) -> None:
    ramp = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    array = ramp if mode == "L" else np.dstack([ramp, ramp.T, 255 - ramp])
    got = load_image(encode(array, "JPEG", quality=100, subsampling=0), channels=3)
    assert (got.int() - chw(array).int()).abs().max() <= 6


def test_cmyk_jpeg() -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    got = load_image(encode(cmyk, "JPEG", quality=100), channels=3)
    assert (got - torch.tensor([255, 0, 0]).view(3, 1, 1)).abs().max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = load_image(encode(RGB, "PNG", exif=exif), channels=3)
    assert torch.equal(got, chw(undo[orientation](RGB)))


def test_color_profiles_are_converted() -> None:
    """A profile that names the red primary blue: its red must arrive as blue."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for start in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12):
        tag = profile[start : start + 4]
        swapped = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(bytes(tag), tag)
        profile[start : start + 4] = swapped
    plain = bytes(profile).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    red = Image.new("RGB", (4, 4), (250, 0, 0))
    got = load_image(encode(red, "PNG", icc_profile=plain), channels=3)[:, 0, 0].tolist()
    assert got[2] > 240 and max(got[:2]) < 10
    broken = load_image(encode(red, "PNG", icc_profile=b"no profile"), channels=3)
    assert broken[:, 0, 0].tolist() == [250, 0, 0]


def test_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert torch.equal(load_image(encode(RGB, "PNG", icc_profile=profile), 3), chw(RGB))


def test_path_and_bytes_are_equal(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(RGB, "PNG"))
    assert torch.equal(load_image(path, 3), load_image(path.read_bytes(), 3))


def test_a_png_of_many_pixels_is_refused_before_decoding(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb)
    with pytest.raises(ImageError, match=r"bomb\.png.*9000 x 9000 pixels"):
        load_image(path, 3)


def test_a_large_file_is_refused_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(2**28 + 1)
    with pytest.raises(ImageError, match=r"large\.png.*bytes"):
        load_image(path, 3)


@pytest.mark.parametrize("array", [WORDS.astype(np.float32), WORDS.astype(np.int32)])
def test_values_without_a_range_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match="no defined range"):
        load_image(encode(array, "TIFF"), 3)


@pytest.mark.parametrize("format", ["GIF", "PPM", "ICO", "TGA"])
def test_formats_outside_the_list_are_refused(format: str) -> None:
    with pytest.raises(ImageError, match="not a PNG"):
        load_image(encode(RGB, format), 3)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_truncated_files_are_refused(format: str, share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    packed = encode(noise, format)
    path = tmp_path / "cut.img"
    path.write_bytes(packed[: int(share * len(packed))])
    with pytest.raises(ImageError, match=r"cut\.img"):
        load_image(path, 3)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png"):
        load_image(tmp_path / "gone.png", 3)


def test_pillow_reads_no_truncated_images() -> None:
    """Filling up truncated files with grey is a global switch of Pillow that must stay off."""
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def mutate(packed: bytes, rng: random.Random) -> bytes:
    mutated = bytearray(packed)
    for _ in range(rng.randint(1, 8)):
        mutated[rng.randrange(len(mutated))] = rng.randrange(256)
    if rng.random() < 0.3:
        del mutated[rng.randrange(len(mutated)) :]
    return bytes(mutated)


@pytest.mark.filterwarnings("ignore")
def test_fuzz() -> None:
    """200 mutated files: an image of a sane shape, or ImageError."""
    rng = random.Random(0)
    sources = [packed for packed, _ in EXACT.values()]
    sources += [encode(RGB, "JPEG"), encode(RGB, "WEBP")]
    outcomes = set()
    for number in range(200):
        try:
            image = load_image(mutate(sources[number % len(sources)], rng), 3, name="mutant")
            assert image.shape[0] == 3 and image.dtype == torch.uint8
            outcomes.add("image")
        except ImageError as error:
            assert "mutant" in str(error) and "\n" not in str(error)
            outcomes.add("error")
    assert outcomes == {"image", "error"}


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_the_header_tells_the_size(tmp_path: Path, format: str) -> None:
    packed = encode(RGB, format)
    (tmp_path / "a").write_bytes(packed)
    assert header_size(packed) == header_size(tmp_path / "a") == (H, W)
    assert header_size(b"no image") is None and header_size(tmp_path / "b") is None


def test_a_file_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/a\.png: there is no such file any more"):
        load_image(tmp_path / "a.png", 3)


def test_pillow_says_nothing_beside_restore(tmp_path: Path) -> None:
    """It would print two lines of a photo that is too large, as of an attack, and two of a whole
    BigTIFF with the high byte first, as of one whose EXIF is cut."""
    import tifffile

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 12000, 9000, 8, 2, 0, 0, 0))
    ends = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + ends)
    values = np.arange(35, dtype=np.uint16).reshape(5, 7) * 257
    tifffile.imwrite(tmp_path / "b.tif", values, byteorder=">", bigtiff=True)
    code = "import sys; from restore.data.image_file import load_image, upright_size, ImageError\n"
    code += "print(load_image(__import__('pathlib').Path(sys.argv[2]), 1).sum())\n"
    code += "print(upright_size(sys.argv[1]))\n"
    code += "try: load_image(__import__('pathlib').Path(sys.argv[1]), 3)\n"
    code += "except ImageError as error: print(error)"
    command = [sys.executable, "-c", code, str(tmp_path / "a.png"), str(tmp_path / "b.tif")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    total, size, refusal = ran.stdout.splitlines()
    assert total == f"tensor({sum(range(35))})" and size == "(9000, 12000)"
    assert "12000 x 9000 pixels, at most 2^26 are read" in refusal
    assert ran.stderr == ""
