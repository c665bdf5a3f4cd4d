"""What is said of the files before training, and what a broken one does."""

import pickle
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from restore.data.cache import PhotoCache
from restore.data.folder import Folder
from restore.data.framing import CenterSquare, RandomPatch, Whole
from restore.data.image_file import ImageError
from restore.data.module import DataModule
from restore.data.photos import Photos
from restore.data.probe import check_task
from restore.data.several import Several
from restore.data.source import Item
from restore.degradation.composition import Curriculum
from restore.degradation.gray import Gray
from restore.degradation.mask import Box, Mask
from restore.degradation.noise import Gaussian
from restore.types import InputError


def photo(path: Path, seed: int, size: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(8):
        photo(tmp_path / f"train/{number}.png", number)
    for number in range(3):
        photo(tmp_path / f"val/{number}.png", 100 + number)
    return tmp_path


def module(root: Path, **options: Any) -> DataModule:
    given = {
        "source": partial(Folder),
        "degradation": Gaussian(1.0),
        "train_framing": CenterSquare(8),
        "eval_framing": CenterSquare(8),
        "batch_size": 2,
        "root": str(root),
    }
    return DataModule(**{**given, **options})


def test_summary_in_plain_values(folder: Path) -> None:
    (folder / "train/notes.txt").touch()
    assert module(folder).summary("train", "val") == {
        "photos": {"train": 8, "val": 3},
        "left_out": {"named .txt": 1},
        "duplicates": [],
        "skipped": [],
    }
    embedded = module(folder, source=partial(Photos)).summary("train", "val")
    assert embedded["photos"] == {"train": 7, "val": 1} and not embedded["left_out"]


def test_the_same_bytes_in_two_splits_are_said(folder: Path) -> None:
    (folder / "val/copy.png").write_bytes((folder / "train/3.png").read_bytes())
    (folder / "train/again.png").write_bytes((folder / "train/4.png").read_bytes())
    same_size = bytearray((folder / "train/5.png").read_bytes())
    same_size[60] ^= 1
    (folder / "val/other.png").write_bytes(same_size)
    found = module(folder).summary("train", "val")["duplicates"]
    assert found == [("train/3.png", "val/copy.png")]
    both = partial(Several, sources={"a": partial(Folder), "b": partial(Photos)})
    assert module(folder, source=both).summary("train", "val")["duplicates"] == found


@pytest.mark.parametrize("num_workers", [0, 2])
def test_skipped_files_are_counted_and_named(folder: Path, num_workers: int) -> None:
    (folder / "train/3.png").write_bytes((folder / "train/3.png").read_bytes()[:200])
    (folder / "val/1.png").write_bytes(b"no image")
    data = module(folder, on_error="skip", num_workers=num_workers)
    assert len(data.samples("train")) == 7 and len(data.samples("val")) == 2
    names = {name for raw in data.train_dataloader() for name in raw["name"]}
    assert "train/3.png" not in names and len(names) == 6
    facts = data.summary("train", "val")
    assert facts["photos"] == {"train": 7, "val": 2}
    assert len(facts["skipped"]) == 2 and "train/3.png: " in facts["skipped"][0]
    assert "val/1.png" in facts["skipped"][1]


def test_nothing_but_broken_files_is_an_error(folder: Path) -> None:
    for path in (folder / "val").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"no image of the val split can be read: .*0\.png"):
        module(folder, on_error="skip").check("val")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_file_is_one_line_even_from_a_worker(folder: Path, num_workers: int) -> None:
    path = folder / "val/1.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError) as caught:
        list(module(folder, num_workers=num_workers).val_dataloader())
    assert str(caught.value).startswith(f"{path}: cannot be read as an image (")
    assert "data.on_error=skip" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_vanished_folder_is_one_line(folder: Path) -> None:
    data = module(folder, num_workers=1)
    loader = data.val_dataloader()
    (folder / "val").rename(folder / "gone")
    with pytest.raises(InputError, match=r"val/\d\.png: there is no such file") as caught:
        list(loader)
    assert "\n" not in str(caught.value)


def test_input_errors_survive_pickling() -> None:
    for error in (InputError("a: b"), ImageError("c: d\\n")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error)


@pytest.mark.parametrize("framing", [CenterSquare(8), RandomPatch(8), Whole()])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_cache_changes_no_bit(folder: Path, framing: Any, num_workers: int) -> None:
    options = {"train_framing": framing, "train_repeat": 3, "num_workers": num_workers}
    options |= {"flip": True, "brightness": 0.5}
    plain = module(folder, **options, cache_gb=0).train_dataloader()
    for gigabytes in (3 * 432 / 2**30, 1.0):
        kept = module(folder, **options, cache_gb=gigabytes).train_dataloader()
        for epoch in range(2):
            for loader in (plain, kept):
                loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            for a, b in zip(plain, kept, strict=True):
                assert a["name"] == b["name"] and torch.equal(a["image"], b["image"])


def test_a_photo_is_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    original = Folder.__getitem__

    def counted(self: Folder, index: int) -> Item:
        decoded.append(index)
        return original(self, index)

    monkeypatch.setattr(Folder, "__getitem__", counted)
    loader = module(folder, train_framing=RandomPatch(8), train_repeat=5).train_dataloader()
    for _ in range(2):
        list(loader)
    assert sorted(decoded) == list(range(8))


def test_a_cache_keeps_to_its_budget() -> None:
    cache, made = PhotoCache(250), []

    def make(index: int) -> Item:
        made.append(index)
        return Item(torch.zeros(1, 10, 10, dtype=torch.uint8), None, str(index))

    for index in (0, 1, 2, 0, 1, 2):
        assert cache(index, make).name == str(index)
    assert made == [0, 1, 2, 2]


def test_settings_of_files_are_checked(folder: Path) -> None:
    with pytest.raises(InputError, match=r"data\.on_error=ignore"):
        module(folder, on_error="ignore")
    with pytest.raises(InputError, match=r"data\.cache_gb=-1"):
        module(folder, cache_gb=-1)
    with pytest.raises(InputError, match="the degradation is not set"):
        module(folder, degradation=None)


@pytest.mark.parametrize("framing", [CenterSquare(8), Whole()])
def test_holes_that_are_all_empty_are_refused(folder: Path, framing: Any) -> None:
    empty = module(folder, degradation=Mask(Box(size=0)), train_framing=framing, batch_size=1)
    for split in ("train", "val"):
        with pytest.raises(InputError, match="no hole has a single pixel"):
            empty.check(split)
    growing = Curriculum(Mask(Box(size=0)), Mask(Box(size=4)), updates=20)
    module(folder, degradation=growing).check("train", "val")


def test_now_and_then_a_hole_is_enough(folder: Path) -> None:
    def seldom(seeds: torch.Tensor, height: int, width: int) -> torch.Tensor:
        return (seeds % 3 == 2).float()[:, None, None, None].expand(-1, 1, height, width)

    module(folder, degradation=Mask(seldom)).check("val")


def test_grey_photos_are_not_colored(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / f"val/{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (12, 12), 40 * number).save(path)
    data = module(tmp_path, degradation=Gray(), source=partial(Folder))
    with pytest.raises(InputError, match="the photos are grey"):
        data.check("val")
    photo(tmp_path / "val/x.png", 1)
    data = module(tmp_path, degradation=Gray())
    data.check("val")
    with pytest.raises(InputError, match="3 channels, got 1"):
        module(tmp_path, degradation=Gray(), source=partial(Photos, mode="gray")).check("val")


class Few:
    """What `check_task` asks of a split; the first `grey` photos, of 400, have no colour."""

    num_photos, framing, channels = 400, Whole(), 3

    def __init__(self, grey: int) -> None:
        self.source, self.grey = self, grey

    def __len__(self) -> int:
        return 400

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):
            image = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
            return {"seed": torch.tensor([key[1]]), "image": image}
        colour = torch.tensor([9, 9, 9 + (key >= self.grey)], dtype=torch.uint8)
        return Item(colour[:, None, None], None, "")

    def photo(self, index: int) -> Any:
        return self[index]


@pytest.mark.parametrize("fails", [False, True])
def test_sixteen_photos_and_256_holes_are_looked_at_before_all_are_thought_alike(
    fails: bool,
) -> None:
    """Colour in the 16th photo is enough, and a pixel in the 256th hole; the next are not seen."""
    seen: Any = Few(grey=15 + fails)
    image = torch.zeros(1, 3, 1, 1)
    grey = {"target": image, "input": image[:, :1]}
    noisy = {"target": image, "input": image}

    def holes(raw: Any) -> Any:
        return {**noisy, "hole": image[:, :1] + (raw["seed"] == 1000 + 255 + fails)}

    for degradation, to_batch, named in (
        (Gray(), lambda raw: grey, "photos are grey"),
        (Gaussian(1.0), holes, "no hole has a single pixel"),
    ):
        given: Any = degradation, to_batch
        with pytest.raises(InputError, match=named) if fails else nullcontext():
            check_task(seen, *given, 1000)


def test_the_limit_of_a_validation_is_in_its_count(tmp_path: Path) -> None:
    for number in range(90):
        Image.new("RGB", (12, 12), (number, 0, 0)).save(tmp_path / f"{number}.png")
    whole = module(tmp_path).summary("train", "val")["photos"]
    few = module(tmp_path, limit=1).summary("train", "val")["photos"]
    assert whole["val"] > 1 and few == {"train": whole["train"], "val": 1}
