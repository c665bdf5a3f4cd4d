"""restore predict: what is said, what is written, and what is left as it was."""

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from predicting import lines, runner
from small_models import write_model

from restore import chain, photos
from restore.data.image_file import load_image, upright_size
from restore.data.photo_file import read_photo, write_png


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    names = ("denoiser", "blind", "inpainter", "colorizer", "prior")
    return {name: str(write_model(name, folder)) for name in names}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    return runner(tmp_path, monkeypatch, capsys)


def pixels(seed: int = 0, size: tuple[int, ...] = (20, 28, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def save(path: Path, array: np.ndarray, **more: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **more)


def test_known_pixels_size_and_source_stay(
    run: Any, models: dict[str, str], tmp_path: Path
) -> None:
    array = pixels()
    save(tmp_path / "a.png", array)
    hole = np.zeros((20, 28), np.uint8)
    hole[4:9, 5:20] = 255
    save(tmp_path / "mask.png", hole)
    before = (tmp_path / "a.png").read_bytes()
    ended = run(models["inpainter"], "a.png", "-o", "out", "--mask", "mask.png")
    assert ended.code == 0, ended.err
    made = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert np.array_equal(made[hole == 0], array[hole == 0])
    assert not np.array_equal(made[hole > 0], array[hole > 0])
    assert (tmp_path / "a.png").read_bytes() == before
    (line,) = lines(ended)
    assert line["outputs"] == ["out/a.png"] and line["models"] == ["inpainter"]
    save(tmp_path / "masks" / "a.PNG", 255 - hole)  # as cameras and Windows spell it
    run(models["inpainter"], "a.png", "-o", "two", "--mask", "masks", "--invert-mask")
    assert (tmp_path / "two" / "a.png").read_bytes() == (tmp_path / "out" / "a.png").read_bytes()


def test_bad_files_are_listed_and_the_others_done(
    run: Any, models: dict[str, str], tmp_path: Path
) -> None:
    save(tmp_path / "in" / "sub" / "a.jpg", pixels())
    save(tmp_path / "in" / "sub" / "a.png", pixels(1))
    save(tmp_path / "in" / "b.webp", pixels(2))
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    ended = run(models["blind"], "in", "in/*.webp", "-o", "out")
    assert ended.code == 1
    said = lines(ended)
    assert [Path(line["input"]).name for line in said] == ["b.webp", "bad.png", "a.jpg", "a.png"]
    assert "error" in said[1] and ended.err.count("failed: ") == 1 and "bad.png" in ended.err
    made = sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")
    )
    assert made == ["b.png", "sub/a.png", "sub/a.png.png"]


def test_a_link_to_itself_is_a_bad_file_as_others(
    run: Any, models: dict[str, str], tmp_path: Path
) -> None:
    save(tmp_path / "a.png", pixels())
    (tmp_path / "b.png").symlink_to("b.png")
    ended = run(models["blind"], "a.png", "b.png*", "-o", "out")
    assert ended.code in (1, 2) and "b.png" in ended.err and "Traceback" not in ended.err


def test_names_never_collide() -> None:
    taken: set[str] = set()
    names = [
        photos.targets_of(Path(n), Path("o"), 1, taken)
        for n in ("a.jpg", "A.png", "a.JPG", "a.jpg")
    ]
    flat = [str(target).casefold() for targets in names for target in targets]
    assert len(set(flat)) == 4
    assert names[3] == [Path("o/a.jpg_2.png")]


def test_each_photo_once_however_often_and_deep_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("in/deep/er/a.png"), pixels())
    Path("link.png").symlink_to("in/deep/er/a.png")
    named = photos.found(["in", "in/**/*.png", "link.png"]).photos
    assert named == [(Path("in/deep/er/a.png"), Path("deep/er/a.png"))]
    assert photos.found(["in/**/*.png"]).photos == [(Path("in/deep/er/a.png"), Path("a.png"))]


@pytest.mark.parametrize(
    "arguments",
    [
        ("a.png", "-o", "out", "--mask", ""),
        ("a.png", "-o", "out", "--strength-map="),
        ("a.png", "-o", ""),
        ("", "-o", "out"),
    ],
)
def test_an_empty_name_is_not_the_working_folder(
    run: Any, models: dict[str, str], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    save(tmp_path / "a.png", pixels())
    ended = run(models["inpainter"], *arguments)
    assert ended.code == 2 and "nothing is named" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_run_of_a_sweep_with_commas_in_its_name_is_no_chain(
    run: Any, models: dict[str, str], tmp_path: Path
) -> None:
    save(tmp_path / "a.png", pixels())
    (tmp_path / "lr=0.1,seed=0").symlink_to(models["blind"])
    ended = run("lr=0.1,seed=0", "a.png", "-o", "out")
    assert ended.code == 0 and lines(ended)[0]["models"] == ["blind"], ended.err


def test_a_chain_hands_on_and_sigma_is_estimated(
    run: Any, models: dict[str, str], tmp_path: Path
) -> None:
    import restore

    clean = np.full((64, 64), 128.0)
    noisy = clean + np.random.default_rng(0).normal(0, 15, clean.shape)
    array = noisy.round().clip(0, 255).astype(np.uint8)
    save(tmp_path / "a.png", array)
    ended = run(f"{models['denoiser']},{models['colorizer']}", "a.png", "-o", "out")
    (line,) = lines(ended)
    found = chain.estimate_sigma(np.repeat(array[..., None], 3, -1))
    assert line["sigma"] == pytest.approx(15, abs=0.7)
    assert line["sigma"] == pytest.approx(found, abs=0.0005)
    step = restore.load(models["denoiser"], device="cpu")(
        np.repeat(array[..., None], 3, -1), sigma=found
    )
    wanted = restore.load(models["colorizer"], device="cpu")(step)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), wanted)


def test_samples_have_files_of_their_own_and_a_seed(
    run: Any, models: dict[str, str], tmp_path: Path
) -> None:
    save(tmp_path / "a.png", pixels())
    mask = np.zeros((20, 28), np.uint8)
    mask[5:15, 5:15] = 255
    save(tmp_path / "m.png", mask)
    options = ("a.png", "--mask", "m.png", "--num-samples", "2", "--steps", "3")
    assert run(models["prior"], *options, "-o", "x", "--seed", "1").code == 0
    assert run(models["prior"], *options, "-o", "y", "--seed", "1").code == 0
    files = [(tmp_path / folder / f"a_{k}.png").read_bytes() for folder in "xy" for k in (1, 2)]
    assert files[0] == files[2] and files[1] == files[3] and files[0] != files[1]


def test_a_strength_map_says_where_a_sampler_acts(
    run: Any, models: dict[str, str], tmp_path: Path
) -> None:
    """Black keeps every pixel; a white map is none at all; of white strokes on nothing, the strokes
    are white."""
    array, drawn = pixels(), np.zeros((20, 28), np.uint8)
    save(tmp_path / "in" / "a.png", array)
    drawn[:, 12:] = 255
    save(tmp_path / "maps" / "a.png", drawn)
    save(tmp_path / "white.png", np.full_like(drawn, 255))
    save(tmp_path / "strokes.png", np.dstack([np.full_like(drawn, 255)] * 3 + [drawn]))
    edit = (models["prior"], "in", "--strength", "0.6", "-o")
    maps = {"some": ["maps"], "all": ["white.png"], "plain": [], "strokes": ["strokes.png"]}
    for folder, soft in maps.items():
        more = [word for given in soft for word in ("--strength-map", given)]
        ended = run(*edit, folder, *more)
        assert ended.code == 0, ended.err
    made = np.asarray(Image.open(tmp_path / "some" / "a.png"))
    assert np.array_equal(made[:, :12], array[:, :12])
    assert (made[:, 12:] != array[:, 12:]).any(axis=-1).mean() > 0.9
    for one, same in (("all", "plain"), ("strokes", "some")):
        assert (tmp_path / one / "a.png").read_bytes() == (tmp_path / same / "a.png").read_bytes()
    ended = run(models["prior"], "in", "-o", "one", "--strength-map", "maps")
    assert ended.code == 0 and lines(ended)[0]["outputs"] == ["one/a.png"]


def profile() -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_comes_back_with_its_depth_and_profile(
    tmp_path: Path, shape: tuple[int, ...], dtype: Any
) -> None:
    array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    given = profile()  # it holds the second in which it was made
    write_png(array, tmp_path / "a.png", given)
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.info["icc_profile"] == given
        if len(shape) == 2 or dtype == np.uint8:
            assert np.array_equal(np.asarray(opened), array)
    found, kept = read_photo(tmp_path / "a.png")
    assert found.dtype == dtype and np.array_equal(found, array) and kept == given
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("depth", [8, 16])
def test_photos_are_upright(tmp_path: Path, orientation: int, depth: int) -> None:
    array = pixels(size=(6, 4)).astype(np.uint16) * 257 if depth == 16 else pixels(size=(6, 4))
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "a.png", array, exif=exif)
    found, _ = read_photo(tmp_path / "a.png")
    assert found.dtype == array.dtype
    assert np.array_equal(
        (found // 257 if depth == 16 else found), load_image(tmp_path / "a.png", 1)[0]
    )
    assert upright_size(tmp_path / "a.png") == found.shape


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)], ids=str)
def test_16_bits_stay_16_where_colours_are_made(
    run: Any, models: dict[str, str], tmp_path: Path, shape: tuple[int, ...]
) -> None:
    """A colorizer wants sRGB, which numbers without a profile are; those of another lose depth."""
    array = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    write_png(array, tmp_path / "a.png")
    found, none = read_photo(tmp_path / "a.png", colors=True)
    assert found.dtype == np.uint16 and np.array_equal(found, array) and none is None
    assert run(f"{models['blind']},{models['colorizer']}", "a.png", "-o", "out").code == 0
    made, _ = read_photo(tmp_path / "out" / "a.png")
    assert made.dtype == np.uint16 and made.shape == (9, 7, 3)
    assert (made % 257).any()  # not 8 bits in 16


def test_numbers_of_another_profile_are_kept(tmp_path: Path) -> None:
    """A profile whose red and blue are exchanged: converted to sRGB nothing would stay."""
    data = bytearray(profile())
    red, blue = data.index(b"rXYZ"), data.index(b"bXYZ")
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    array = pixels()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", icc_profile=bytes(data))
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    found, kept = read_photo(tmp_path / "a.png")
    assert np.array_equal(found, array) and kept == bytes(data)
    colors, none = read_photo(tmp_path / "a.png", colors=True)
    assert none is None and not np.array_equal(colors, array)


REFUSED = [
    ("nothing a.png -o out", "nothing does not exist"),
    ("a.png -o out", "a.png is an image and no model: give one first, such as denoise"),
    ("{blind} none.png -o out", "none.png: no images there"),
    ("{blind} a.png -o a.png", "-o a.png cannot be"),
    ("nothing b.png -o a.png/out", "-o a.png/out cannot be written: "),
    ("{blind} a.png -o .", "would overwrite a.png"),
    ("{blind} photo.bmp -o .", "-o . would overwrite photo.png"),
    ("{inpainter} a.png -o holes --mask holes", "-o holes would overwrite holes/a.png"),
    ("{prior} a.png -o holes --strength-map holes", "-o holes would overwrite holes/a.png"),
    ("{blind} pipe -o out", "pipe is no file and no folder"),
    ("{blind} a.png -o out --strength 0.5", "--strength is of no use to blind"),
    ("{blind} a.png -o out --num-samples 2", "--num-samples is of no use"),
    ("{blind} a.png -o out --mask small.png", "--mask is of no use"),
    ("{inpainter} a.png -o out", "give a mask"),
    ("{inpainter} a.png -o out --mask small.png", "has 10x10 px and a.png has 28x20"),
    ("{inpainter} a.png -o out --mask none", "--mask none: no file"),
    ("{inpainter} a.png -o out --mask sub", "sub has no mask for a.png"),
    ("{prior} a.png -o out --mask small.png --strength 2", "strength=2.0 must be"),
    ("{prior} a.png -o out --strength 0.01", "strength=0.01: start=0.01 leaves none of"),
    ("{prior} a.png -o out --strength-map small.png", "the strength map small.png has 10x10 px"),
    ("{prior} a.png -o out --strength-map none", "--strength-map none: no file"),
    ("{prior} a.png -o out --strength-map sub", "sub has no strength map for a.png"),
    ("{blind} a.png -o out --strength-map small.png", "--strength-map is of no use to blind"),
    ("{prior} -o out --strength-map small.png", "is of photos, and there is no INPUT"),
    ("{prior} -o out --mask small.png", "is of photos, and there is no INPUT"),
    ("{denoiser} a.png -o out --sigma -4", "sigma=-4.0 must be"),
    ("{blind} a.png -o out --batch-size 0", "--batch-size 0 must be at least 1"),
]


@pytest.mark.parametrize(("line", "says"), REFUSED, ids=[line for line, _ in REFUSED])
def test_refused_in_one_line_before_work(
    run: Any, models: dict[str, str], tmp_path: Path, line: str, says: str
) -> None:
    for name in ("a.png", "photo.bmp", "photo.png"):
        save(tmp_path / name, pixels())
    hole = np.zeros((10, 10), np.uint8)
    hole[2:4] = 255
    save(tmp_path / "small.png", hole)
    (tmp_path / "sub").mkdir()
    save(tmp_path / "holes" / "a.png", np.zeros((20, 28), np.uint8))
    os.mkfifo(tmp_path / "pipe")
    drawn = (tmp_path / "holes" / "a.png").read_bytes()
    ended = run(*line.format(**models).split())
    assert (ended.code, ended.out) == (2, ""), ended.err
    assert ended.err.startswith("error: ") and ended.err.count("\n") == 1 and says in ended.err
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["a.png", "holes", "photo.bmp", "photo.png", "pipe", "small.png", "sub"]
    assert (tmp_path / "holes" / "a.png").read_bytes() == drawn


def test_numbers_of_a_bmp_are_kept_with_their_profile(tmp_path: Path) -> None:
    """A header of version 5 that holds a profile, as editors write it."""
    array, own = pixels(size=(6, 4, 3)), profile()
    rows = array[::-1, :, ::-1].tobytes()
    sizes = struct.pack("<LllHHLLllLL", 124, 4, 6, 1, 24, 0, len(rows), 0, 0, 0, 0)
    masks = bytes(16) + b"DEBM" + bytes(36 + 12)  # MBED: the profile lies in this file
    ends = struct.pack("<LLLL", 4, 124 + len(rows), len(own), 0)
    file = b"BM" + struct.pack("<LHHL", 138 + len(rows) + len(own), 0, 0, 138)
    (tmp_path / "a.bmp").write_bytes(file + sizes + masks + ends + rows + own)
    found, kept = read_photo(tmp_path / "a.bmp")
    assert np.array_equal(found, array) and kept == own
