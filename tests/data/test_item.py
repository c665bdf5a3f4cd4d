"""What a source of the user gives is checked where it is read, and left out where it is broken."""

import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from restore.data.framing import RandomPatch, Whole
from restore.data.item import checked, read_item
from restore.data.module import DataModule
from restore.data.several import Several
from restore.data.source import Item, Split
from restore.data.streamed import StreamedSamples
from restore.degradation.noise import Gaussian
from restore.types import InputError

IMAGE = torch.arange(3 * 4 * 5, dtype=torch.uint8).reshape(3, 4, 5)


class Own:
    """Four images, each made of IMAGE by `make`."""

    channels = 3
    num_classes: int | None = None

    def __init__(self, root: Path, split: Split, make: Any) -> None:
        self.make = make

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


def item(image: Any, name: Any = "a") -> Item:
    return Item(image, None, name)


WRONG = {
    "a tuple": (IMAGE, None, "a"),
    "a Tensor": IMAGE,
    "an image that is a ndarray": item(IMAGE.numpy()),
    "an image of float32 [3, 4, 5]": item(IMAGE / 255),
    "an image of int64 [3, 4, 5]": item(IMAGE.long()),
    "an image of uint8 [4, 5, 3]": item(IMAGE.permute(1, 2, 0)),
    "an image of uint8 [1, 4, 5]": item(IMAGE[:1]),
    "an image of uint8 [4, 5]": item(IMAGE[0]),
    "a name that is a int": item(IMAGE, 7),
}


@pytest.mark.parametrize("label", [3, -1, None, 1.0, "cat"])
def test_a_label_of_no_class_is_refused(label: Any) -> None:
    """Of the class behind the last one, networks learn what they make of no class."""
    own = Own(Path(), "val", lambda index: Item(IMAGE, label, "a"))
    assert read_item(own, 0).label is label  # nobody hears of it
    own.num_classes = 3
    with pytest.raises(InputError, match=r"Own gave the label .*label from 0 to 2, name"):
        read_item(own, 0)


@pytest.mark.parametrize("label", [0, 2, np.int64(2), np.uint8(1), torch.tensor(2)])
def test_a_label_may_be_any_whole_number(label: Any) -> None:
    own = Own(Path(), "val", lambda index: Item(IMAGE, label, "a"))
    own.num_classes = 3
    assert read_item(own, 0).label is label


def module(make: Any, **options: Any) -> DataModule:
    given: dict[str, Any] = {"train_framing": Whole(), "eval_framing": Whole(), "batch_size": 1}
    source = options.pop("source", partial(Own, make=make))
    return DataModule(source=source, degradation=Gaussian(1.0), **{**given, **options})


@pytest.mark.parametrize("said", WRONG)
def test_what_is_no_item_is_refused_by_the_class_that_gave_it(said: str) -> None:
    def make(index: int) -> Any:
        return WRONG[said]

    several = partial(Several, sources={"own": partial(Own, make=make)})
    for options in ({}, {"train_framing": RandomPatch(4)}, {"source": several}):
        with pytest.raises(InputError) as caught:
            module(make, **options).check("train", "val")
        assert str(caught.value).startswith(f"Own gave {said}: a source gives ")
        assert str(caught.value).endswith("a torch tensor of uint8 [3, H, W]")


def test_an_item_stays_what_it_is() -> None:
    right = item(IMAGE.permute(0, 2, 1))  # contiguous or not
    source = Own(Path(), "train", lambda index: right)
    assert checked(right, source) is right and read_item(source, 0) is right


def test_what_a_stream_gives_is_checked() -> None:
    class Stream(Own):
        def items(self, *given: Any) -> Any:
            return iter([item(IMAGE), item(IMAGE / 255)])

    stream: Any = Stream(Path(), "train", None)
    samples = iter(StreamedSamples(stream, Whole(), lambda image, seed: image, 0, 2))  # type: ignore[arg-type]
    assert torch.equal(next(samples)["image"][0], IMAGE)
    with pytest.raises(InputError, match=r"Stream gave an image of float32 \[3, 4, 5\]"):
        next(samples)


@pytest.fixture
def broken(tmp_path: Path) -> Any:
    """A function that reads PNG files by PIL, of which number 2 is cut off."""
    noise = np.random.default_rng(0).integers(0, 256, (4, 30, 30, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    cut = (tmp_path / "2.png").read_bytes()[:-200]
    (tmp_path / "2.png").write_bytes(cut)

    def make(index: int) -> Item:
        with Image.open(tmp_path / f"{index}.png") as image:
            pixels = torch.from_numpy(np.array(image))
        return item(pixels.permute(2, 0, 1), f"{index}.png")

    return make


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_image_that_cannot_be_read_is_one_line(broken: Any, num_workers: int) -> None:
    with pytest.raises(InputError, match="image 2 of Own cannot be read: ") as caught:
        list(module(broken, num_workers=num_workers).val_dataloader())
    assert "image file is truncated" in str(caught.value)


def test_a_missing_file_is_named(broken: Any, tmp_path: Path) -> None:
    (tmp_path / "1.png").unlink()
    with pytest.raises(InputError, match=r"image 1 of Own cannot be read: .*1\.png: No such file"):
        read_item(Own(tmp_path, "val", broken), 1)


class Failing(Own):
    """Raises in one of its methods."""

    def __init__(self, root: Path, split: Split, fails: str) -> None:
        self.fails = fails
        self.answer("made")

    def answer(self, asked: str) -> None:
        if asked == self.fails:
            raise KeyError(f"no\n{asked}")

    def __len__(self) -> int:
        self.answer("counted")
        return 4

    def __getitem__(self, index: int) -> Any:
        self.answer(str(index))
        return item(IMAGE)


FAILS = {
    "made": "Failing cannot be made: KeyError: ",
    "counted": "the length of Failing cannot be read: KeyError: ",
    "2": "image 2 of Failing cannot be read: KeyError: ",
}


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("fails", FAILS)
def test_a_source_of_the_user_that_fails_is_one_line(fails: str, num_workers: int) -> None:
    own = partial(Failing, fails=fails)
    for source in (own, partial(Several, sources={"own": own})):
        with pytest.raises(InputError) as caught:
            list(module(None, source=source, num_workers=num_workers).val_dataloader())
        line = next(
            number
            for number, text in enumerate(Path(__file__).read_text().splitlines(), 1)
            if "raise KeyError" in text
        )
        said = f"{FAILS[fails]}'no\\n{fails}' ({__file__}, line {line})"
        assert str(caught.value) == said


def test_a_fault_of_our_own_source_or_a_lack_of_memory_is_no_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacks = Own(Path(), "val", lambda index: torch.empty(2**60))
    with pytest.raises(RuntimeError, match="memory"):
        read_item(lacks, 0)
    ours = Failing(Path(), "val", "0")
    monkeypatch.setattr(Failing, "__module__", "restore.data.ours")
    with pytest.raises(KeyError):
        read_item(ours, 0)


def test_broken_images_of_any_source_are_left_out(broken: Any, tmp_path: Path) -> None:
    threads = set()

    def make(index: int) -> Item:
        threads.add(threading.get_ident())
        return item(broken(index).image, f"{index}.png")

    data = module(make, on_error="skip")
    names = [name for raw in data.val_dataloader() for name in raw["name"]]
    assert names == ["0.png", "1.png", "3.png"]
    [said] = data.summary("val")["skipped"]
    assert said.startswith("image 2 of Own cannot be read: image file is truncated")
    threads.clear()
    module(make, on_error="skip").samples("val")
    assert len(threads) == 1  # it may share an open file between its images
