"""restore predict of many photos: batches, folders of odd files, large photos, and new images."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from entry import ROOT
from PIL import Image
from predicting import lines, runner
from small_models import write_model

from restore import photos, predict
from restore.api import load

FILES = ROOT / "tests" / "data" / "files"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    names = ("denoiser", "blind", "inpainter", "grey_prior", "prior")
    return {name: str(write_model(name, folder)) for name in names}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    return runner(tmp_path, monkeypatch, capsys)


def photo(path: Path, seed: int, size: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def arrays(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.array(Image.open(path)) for path in sorted(folder.rglob("*.png"))}


def test_batches_are_of_equal_sizes_and_give_what_single_photos_give(
    run: Any, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(5):
        photo(Path(f"in/a{k}.png"), k, (20, 28, 3))
    photo(Path("in/b.png"), 9, (28, 20, 3))
    photo(Path("in/c0.png"), 7, (20, 28))
    photo(Path("in/c1.png"), 8, (20, 28, 3))  # of one size with c0, but not of its channels
    assert run(models["denoiser"], "in", "-o", "one").code == 0
    seen: list[int] = []

    def spied(self: Any, observation: Any, *rest: Any, **named: Any) -> Any:
        seen.append(len(observation["index"]))
        return original(self, observation, *rest, **named)

    kind = type(load(models["denoiser"]).task)
    original = kind.restore
    monkeypatch.setattr(kind, "restore", spied)
    ended = run(models["denoiser"], "in", "-o", "many", "--batch-size", "3")
    assert ended.code == 0 and len(lines(ended)) == 8
    assert seen == [3, 2, 1, 1, 1]
    one, many = arrays(Path("one")), arrays(Path("many"))
    assert one.keys() == many.keys()
    for name, image in one.items():
        assert many[name].shape == image.shape
        assert np.abs(many[name].astype(int) - image).max() <= 1
    sigmas = [line["sigma"] for line in lines(ended)]
    assert len(set(sigmas)) == 8  # estimated for each photo


def test_a_broken_photo_of_a_batch_ends_no_other(run: Any, models: dict[str, str]) -> None:
    for k in range(3):
        photo(Path(f"in/{k}.png"), k, (20, 28, 3))
    content = Path("in/1.png").read_bytes()
    Path("in/1.png").write_bytes(content[: len(content) // 2])  # its header is whole
    ended = run(models["blind"], "in", "-o", "out", "--batch-size", "3")
    assert ended.code == 1 and ["error" in line for line in lines(ended)] == [False, True, False]
    assert sorted(arrays(Path("out"))) == ["0.png", "2.png"]


def test_a_pipe_gets_lines_and_no_bar(run: Any, models: dict[str, str]) -> None:
    photo(Path("a.png"), 1, (20, 28, 3))
    ended = run(models["denoiser"], "a.png", "-o", "piped")
    assert ended.err == "" and len(ended.out.splitlines()) == 1, ended.err


def test_a_terminal_is_told_since_when_the_first_photo_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    next(predict._shown(iter([[]]), 1))
    assert "0/1 0:00:0" in re.sub(r"\x1b\[[^m]*m", "", capsys.readouterr().err)


def test_what_a_folder_has_beside_photos_is_said(run: Any, models: dict[str, str]) -> None:
    photo(Path("in/a.png"), 0, (20, 28, 3))
    photo(Path("in/deep/b.png"), 1, (20, 28, 3))
    for name in ("in/a.gif", "in/deep/b.gif", "in/notes.txt"):
        Path(name).write_bytes(b"x")
    ended = run(models["denoiser"], "in", "-o", "out")
    assert ended.code == 0 and len(lines(ended)) == 2
    assert "left out in in: 2 named .gif, 1 named .txt\n" in ended.err


def test_groups_hold_no_more_pixels_than_memory(tmp_path: Path) -> None:
    for k in range(3):
        photo(tmp_path / f"{k}.png", k, (1000, 1500, 3))
    jobs = [photos.Photo(tmp_path / f"{k}.png", None, []) for k in range(3)]
    assert [len(group) for group in photos.grouped(jobs, 8)] == [2, 1]


def test_two_photos_of_two_megapixels_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are 4 megapixels, 2^22, to the last pixel; a row more is too much."""
    jobs = [photos.Photo(Path(f"{k}.png"), None, []) for k in range(4)]
    for height, sizes in ((1024, [2, 2]), (1025, [1, 1, 1, 1])):
        monkeypatch.setattr(photos, "upright_size", lambda path, height=height: (2048, height))
        assert [len(group) for group in photos.grouped(jobs, 8)] == sizes


def odd_files(folder: Path) -> int:
    """60 files that are called photos: what people have, what programs leave, and mutations."""
    folder.mkdir()
    own = [path for path in sorted(FILES.iterdir()) if path.suffix in (".png", ".jpg", ".tif")]
    for path in own:
        shutil.copy(path, folder)
    photo(folder / "whole.png", 0, (24, 32, 3))
    whole = (folder / "whole.png").read_bytes()
    Image.open(folder / "whole.png").save(folder / "whole.jpg")
    jpeg = (folder / "whole.jpg").read_bytes()
    bomb = Image.new("1", (20000, 20000))
    bomb.save(folder / "bomb.png")
    (folder / "empty.png").touch()
    (folder / "zeros.png").write_bytes(bytes(1000))
    (folder / "page.png").write_text("<html>404</html>")
    (folder / "movie.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    (folder / "gif.png").write_bytes(b"GIF89a" + bytes(20))
    Image.new("RGBA", (9, 7), (255, 0, 0, 0)).save(folder / "glass.png")
    Image.new("P", (9, 7)).save(folder / "palette.png")
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    Image.new("RGB", (1, 40)).save(folder / "line.png")
    (folder / "ümlaut und leer.png").write_bytes(whole)
    (folder / "line\nbreak.png").write_bytes(whole)
    draw = np.random.default_rng(0)
    number = 0
    while len([*folder.iterdir()]) < 60:
        data = bytearray(whole if number % 2 else jpeg)
        if number % 3 == 0:
            data = data[: int(draw.integers(1, len(data)))]
        for place in draw.integers(0, len(data), 1 + number % 5):
            data[place] ^= 1 << int(draw.integers(8))
        (folder / f"mutated{number:02}.{'png' if number % 2 else 'jpg'}").write_bytes(data)
        number += 1
    return len([*folder.iterdir()])


def test_sixty_odd_files_are_sixty_lines(run: Any, models: dict[str, str], tmp_path: Path) -> None:
    count = odd_files(tmp_path / "odd")
    assert count == 60
    ended = run(models["blind"], "odd", "-o", "out", "--batch-size", "4")
    said = lines(ended)
    assert ended.code == 1 and len(said) == 60  # a line of JSON each
    assert len({line["input"] for line in said}) == 60
    failed = [line for line in said if "error" in line]
    assert 10 < len(failed) < 50
    assert "Traceback" not in ended.err
    reported = [line for line in ended.err.splitlines() if line.startswith("failed: ")]
    assert len(reported) == len(failed)
    for line in failed:
        assert "\n" not in line["error"] and line["input"] in line["error"]
    made = arrays(Path("out"))
    assert len(made) == 60 - len(failed)
    assert made["line.png"].shape == (40, 1, 3) and made["pixel.png"].shape == (1, 1, 3)
    assert made["ümlaut und leer.png"].shape == made["line\nbreak.png"].shape == (24, 32, 3)


def test_new_images_of_a_prior(run: Any, models: dict[str, str]) -> None:
    size = ("--size", "12x8", "--steps", "4")
    ended = run(models["prior"], "-o", "out", "--num-samples", "5", *size)
    assert ended.code == 0, ended.err
    assert [line["number"] for line in lines(ended)] == [0, 1, 2, 3, 4]
    made = arrays(Path("out"))
    assert {image.shape for image in made.values()} == {(8, 12, 3)}
    assert len({image.tobytes() for image in made.values()}) == 5
    run(models["prior"], "-o", "two", "--num-samples", "2", *size)
    assert all(np.array_equal(made[name], image) for name, image in arrays(Path("two")).items())
    run(models["prior"], "-o", "other", "--num-samples", "2", "--seed", "1", *size)
    assert not np.array_equal(arrays(Path("other"))["00000.png"], made["00000.png"])
    assert run(models["grey_prior"], "-o", "grey", "--size", "8", "--steps", "4").code == 0
    assert arrays(Path("grey"))["00000.png"].shape == (8, 8)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("denoiser", "-o", "o"), "denoiser restores photos and makes no new ones: give INPUT"),
        (("prior", "-o", "o"), "was trained on images of any size: give --size"),
        (("prior", "-o", "o", "--size", "7"), "--size 7 must be a side or WIDTHxHEIGHT in"),
        (("prior", "-o", "o", "--size", "axb"), "--size axb must be"),
        (("prior", "-o", "o", "--size", "8" * 20), "must be a side or WIDTHxHEIGHT in"),
        (("prior", "-o", "o", "--size", "8192x8200"), "has 67174400 pixels, at most 67108864 are"),
        (("prior", "-o", "o", "--size", "8", "--num-samples", "0"), "--num-samples 0 must be"),
        (("prior", "-o", "o", "--size", "8", "--sigma", "5"), "--sigma 5.0 is of photos"),
        (("prior", "-o", "there", "--size", "8"), "00000.png is there"),
        (("prior", "-o", "o", "--size", "8", "--guidance", "7"), "--guidance is of photos"),
        (("prior", "-o", "o", "--size", "8", "--batch-size", "2"), "--batch-size is of photos"),
        (("prior", "-o", "o", "--size", "8", "--invert-mask"), "--invert-mask is of a mask"),
        (("prior", "-o", "o", "--size", "8", "--seed", str(2**64)), f"--seed {2**64} must be"),
        (("prior", "-o", "o", "--size", "8", "--steps", "2000"), "more than the 1000 levels"),
        (("blind", "a.png", "-o", "o", "--seed", str(-(2**63) - 1)), "at most 64 bits"),
        (("inpainter", "a.png", "-o", "o", "--invert-mask"), "--invert-mask is of a mask"),
        (("blind", "a.png", "-o", "o", "--size", "8"), "--size 8 is of new images"),
        (("blind", "a.png", "-o", "o", "--batch-size", "0"), "--batch-size 0 must be at least 1"),
    ],
)
def test_what_cannot_be_is_one_line(
    run: Any, models: dict[str, str], arguments: tuple[str, ...], says: str
) -> None:
    photo(Path("a.png"), 0, (8, 8, 3))
    photo(Path("there/00000.png"), 0, (8, 8, 3))
    ended = run(models[arguments[0]], *arguments[1:])
    assert ended.code == 2 and says in ended.err, ended.err
    assert len(ended.err.splitlines()) == 1 and not Path("o").exists()


@pytest.mark.slow
def test_a_photo_of_6_megapixels_takes_little_memory(
    tmp_path: Path, models: dict[str, str], environment: dict[str, str]
) -> None:
    """Peak memory of predicting 3001x2003 px, over that of predicting 64x64: the model alone."""
    photo(tmp_path / "small" / "a.png", 0, (64, 64, 3))
    photo(tmp_path / "large" / "a.png", 1, (2003, 3001, 3))
    peaks = {}
    for name in ("small", "large"):
        code = "import sys, resource; from restore import predict; from pathlib import Path\n"
        code += f"predict.predict([{models['denoiser']!r}], [{str(tmp_path / name)!r}], "
        code += f"Path({str(tmp_path / 'out' / name)!r}), "
        code += "predict.PredictionSettings(sigma=25.0, device='cpu'))\n"
        code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        ran = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        peaks[name] = int(ran.stdout.splitlines()[-1]) * 1024
    made = np.array(Image.open(tmp_path / "out" / "large" / "a.png"))
    assert made.shape == (2003, 3001, 3)
    more = peaks["large"] - peaks["small"]
    print(f"3001x2003: {more / 2**20:.0f} MiB more than the model")
    assert more < 2 * 10**9


def test_of_several_images_in_a_file_the_first_is_restored_with_a_warning(
    run: Any, models: dict[str, str]
) -> None:
    pages = [Image.new("RGB", (12, 8), (level, level, level)) for level in (40, 90, 200)]
    names = {"a.tif": 3, "b.png": 3, "c.webp": 3, "two.tif": 2}
    for name, count in names.items():
        pages[0].save(name, save_all=True, append_images=pages[1:count])
    pages[0].save("one.tif")
    ended = run(models["blind"], *names, "one.tif", "-o", "out")
    assert ended.code == 0, ended.err
    told = [line for line in ended.err.splitlines() if line.startswith("warning")]
    assert told == [
        f"warning: {name} holds {count} images: the first is restored"
        for name, count in names.items()
    ]
    assert len(arrays(Path("out"))) == 5
