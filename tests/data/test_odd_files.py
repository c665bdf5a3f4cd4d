"""A folder of whatever people have: one result per file, or an error that names the file."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restore.data.folder import Folder
from restore.data.framing import CenterSquare, Framing, RandomPatch, Whole
from restore.data.image_file import ImageError, load_image
from restore.data.module import DataModule
from restore.degradation.noise import Gaussian
from restore.types import InputError


def save(path: Path, image: Image.Image, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty grey levels high and wide in every mode, besides one pixel and a turned photo."""
    grey = Image.new("L", (30, 20), 100)
    turned = Image.Exif()
    turned[0x0112] = 6
    words = Image.fromarray(np.full((20, 30), 100 * 257, np.uint16))
    save(tmp_path / "val/a_grey.png", grey)
    save(tmp_path / "val/b_palette.png", grey.convert("RGB").quantize(4))
    save(tmp_path / "val/c_alpha.png", Image.new("RGBA", (30, 20), (100, 100, 100, 255)))
    save(tmp_path / "val/d_grey_alpha.png", Image.new("LA", (30, 20), (100, 255)))
    save(tmp_path / "val/e_cmyk.jpg", Image.new("CMYK", (30, 20), (0, 0, 0, 155)), quality=100)
    save(tmp_path / "val/f_words.png", words)
    save(tmp_path / "val/g_turned.jpg", grey, quality=100, exif=turned)
    save(tmp_path / "val/h_pixel.png", Image.new("RGB", (1, 1), (100, 100, 100)))
    return tmp_path


def module(root: Path, framing: Framing, **options: object) -> DataModule:
    return DataModule(
        source=partial(Folder),
        degradation=Gaussian(1.0),
        train_framing=framing,
        eval_framing=framing,
        root=str(root),
        **{"batch_size": 8, **options},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("framing", [CenterSquare(16), RandomPatch(64), RandomPatch(8)])
def test_every_kind_of_file_arrives_in_one_batch(folder: Path, framing: Framing) -> None:
    (raw,) = module(folder, framing).val_dataloader()
    assert raw["image"].shape == (8, 3, framing.size, framing.size)
    assert [name[4] for name in raw["name"]] == list("abcdefgh")
    assert (raw["image"].int() - 100).abs().max() <= 2


def test_a_turned_photo_is_upright(folder: Path) -> None:
    shapes = [
        tuple(x["image"].shape) for x in module(folder, Whole(), batch_size=1).val_dataloader()
    ]
    assert shapes == [(1, 3, 20, 30)] * 6 + [(1, 3, 30, 20), (1, 3, 1, 1)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_images_of_one_pixel_or_row(size: tuple[int, int], format: str, channels: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", size, (90, 90, 90)).save(file, format)
    image = load_image(file.getvalue(), channels)
    assert image.shape == (channels, size[1], size[0])
    assert (image.int() - 90).abs().max() <= 2
    assert CenterSquare(4)(image, 0).shape == RandomPatch(4)(image, 0).shape == (channels, 4, 4)


def cut(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    save(folder / "val/e_cut.jpg", Image.fromarray(noise))
    path = folder / "val/e_cut.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_truncated_photo_stops_the_pass_by_name(folder: Path, num_workers: int) -> None:
    cut(folder)
    loader = module(folder, CenterSquare(8), batch_size=1, num_workers=num_workers).val_dataloader()
    seen = []
    with pytest.raises((InputError, RuntimeError), match=r"e_cut\.jpg"):
        for raw in loader:
            seen.extend(raw["name"])
    assert "val/e_cut.jpg" not in seen and len(seen) <= 5


def test_a_truncated_photo_is_no_other_photo(folder: Path) -> None:
    """The number of samples and the places of the others stay as they are."""
    before = Folder(folder, "val")
    names = [before[index].name for index in range(len(before))]
    cut(folder)
    after = Folder(folder, "val")
    assert len(after) == 9
    with pytest.raises(ImageError, match=r"e_cut\.jpg"):
        after[5]
    kept = [after[index].name for index in range(9) if index != 5]
    assert kept == names


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_folder_is_named_before_any_work(tmp_path: Path, split: str) -> None:
    for name in ("train", "val", "test"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"no images for the {split} split") as caught:
        module(tmp_path, CenterSquare(8)).check(split)  # type: ignore[arg-type]
    assert str(tmp_path) in str(caught.value)


def test_a_file_of_no_bytes_is_named(folder: Path) -> None:
    (folder / "val/e_empty.png").touch()
    with pytest.raises(ImageError, match=r"e_empty\.png"):
        torch.stack([torch.tensor(Folder(folder, "val")[i].image.shape) for i in range(9)])
