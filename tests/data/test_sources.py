import gzip
import hashlib
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restore.data import mnist
from restore.data.digits import Digits
from restore.data.folder import Folder
from restore.data.mnist import MNIST
from restore.data.photos import Photos
from restore.data.source import Source, Split, data_root, held_out, packaged
from restore.types import InputError

SPLITS: tuple[Split, ...] = ("train", "val", "test")
NOWHERE = Path("/nowhere")
FIRST_TEST_DIGITS = ["digits_0254", "digits_0404", "digits_1533"]


def names(source: Source) -> list[str]:
    return [source[index].name for index in range(len(source))]


def test_digits_splits_are_a_partition() -> None:
    parts = [names(Digits(NOWHERE, split)) for split in SPLITS]
    assert [len(part) for part in parts] == [1097, 200, 500]
    assert len({name for part in parts for name in part}) == 1797


def test_digits_against_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    source = Digits(NOWHERE, "test")
    for index in (0, 7, 499):
        item = source[index]
        number = int(item.name.removeprefix("digits_"))
        assert item.label == digits.target[number]
        assert item.image.shape == (1, 8, 8) and item.image.dtype == torch.uint8
        np.testing.assert_allclose(item.image[0], digits.images[number] / 16 * 255, atol=0.501)
    assert max(int(source[i].image.max()) for i in range(500)) == 255


def test_photos_of_scikit_learn() -> None:
    from sklearn.datasets import load_sample_image

    for split, name in (("train", "china"), ("test", "flower")):
        source = Photos(NOWHERE, split)
        [item] = [one for one in map(source.__getitem__, range(len(source))) if one.name == name]
        wanted = load_sample_image(f"{name}.jpg")
        assert np.array_equal(item.image.permute(1, 2, 0), wanted) and item.image.shape[0] == 3


def test_files_of_packages_are_read_without_importing_these(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scikit-learn takes a second, at every start."""
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # whose import fails now
    for source in (Digits(NOWHERE, "val"), Photos(NOWHERE, "test")):
        assert all(source[index].image.numel() for index in range(2))
    with pytest.raises(ModuleNotFoundError, match="No module named 'nowhere_at_all'"):
        packaged("nowhere_at_all", "x")


def test_digits_are_shuffled_and_stay_so() -> None:
    digits = Digits(NOWHERE, "test")
    labels = torch.tensor([digits[i].label for i in range(500)])
    assert torch.bincount(labels).min() > 30
    assert names(Digits(NOWHERE, "test"))[:3] == FIRST_TEST_DIGITS


def test_photos_splits_share_no_photo() -> None:
    for mode, channels in (("rgb", 3), ("gray", 1)):
        parts = [Photos(NOWHERE, split, mode=mode) for split in SPLITS]  # type: ignore[arg-type]
        everything = [name for part in parts for name in part.names]
        assert len(set(everything)) == len(everything)
        for part in parts:
            for index in range(len(part)):
                image = part[index].image
                assert image.shape[0] == channels and image.dtype == torch.uint8
                assert min(image.shape[1:]) >= 172 and image.float().std() > 10


def fake_mnist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four small idx files, with the checksums that go with them."""
    folder.mkdir(parents=True)
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0], images[:, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
        for kind, header, array in (("images-idx3", 16, images), ("labels-idx1", 8, labels)):
            name = f"{part}-{kind}-ubyte.gz"
            packed = gzip.compress(bytes(header) + array.tobytes(), compresslevel=1)
            (folder / name).write_bytes(packed)
            monkeypatch.setitem(mnist.MD5, name, hashlib.md5(packed).hexdigest())


def number(image: torch.Tensor) -> int:
    return int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])


def test_mnist_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mnist(tmp_path / "mnist", monkeypatch)
    for split, first, count in (("train", 0, 55_000), ("val", 55_000, 5_000), ("test", 0, 10_000)):
        source = MNIST(tmp_path, split, download=False)  # type: ignore[arg-type]
        assert len(source) == count
        for index in (0, 1234, count - 1):
            item = source[index]
            assert item.image.shape == (1, 28, 28)
            assert number(item.image) == first + index and item.label == (first + index) % 10
            assert item.name == f"{'t10k' if split == 'test' else 'train'}_{first + index:05d}"


def test_mnist_downloads_whole_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mnist(tmp_path / "mirror", monkeypatch)
    evil = tmp_path / "evil"
    evil.mkdir()
    for file in (tmp_path / "mirror").iterdir():
        (evil / file.name).write_bytes(b"something else")
    monkeypatch.setattr(
        mnist, "MIRRORS", ("file:///nowhere/", f"file://{evil}/", f"file://{tmp_path}/mirror/")
    )
    root = tmp_path / "data"
    assert len(MNIST(root, "test")) == 10_000
    assert sorted(path.name for path in (root / "mnist").iterdir()) == [
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ]
    monkeypatch.setattr(mnist, "MIRRORS", (f"file://{evil}/",))
    with pytest.raises(InputError, match="sent another file"):
        len(MNIST(root, "train"))
    assert len(list((root / "mnist").iterdir())) == 2


@pytest.mark.parametrize("download", [True, False])
def test_mnist_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: bool) -> None:
    monkeypatch.setattr(mnist, "MIRRORS", ("file:///nowhere/",))
    source = MNIST(tmp_path, "test", download=download)
    with pytest.raises(InputError, match=r"t10k-images.*not found") as caught:
        len(source)
    message = str(caught.value)
    assert str(tmp_path / "mnist") in message and "RESTORE_DATA" in message
    assert "\n" not in message


def test_mnist_corrupt_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mnist(tmp_path / "mnist", monkeypatch)
    path = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2] ^= 1
    path.write_bytes(packed)
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte\.gz.*md5"):
        len(MNIST(tmp_path, "test", download=False))


@pytest.mark.data
def test_real_mnist(real_data: Path) -> None:
    source = MNIST(real_data, "test", download=False)
    assert len(source) == 10_000
    assert [source[index].label for index in range(10)] == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # The published mean of the training images is 0.1307; the test images are close to it.
    mean = np.mean([source[index].image.float().mean() / 255 for index in range(0, 10_000, 10)])
    assert abs(mean - 0.1307) < 0.005


def image_folder(folder: Path, *relative: str) -> None:
    for number, name in enumerate(relative):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3), (number, 0, 0)).save(path)


def test_folder_is_recursive_sorted_and_filtered(tmp_path: Path) -> None:
    image_folder(tmp_path, "b.png", "a/z.JPG", "a/b/c.webp", "c.tiff", "d.bmp", "e.jpeg")
    (tmp_path / "note.txt").write_text("no image")
    (tmp_path / "f.png").mkdir()
    everything = names(Folder(tmp_path, "train")) + names(Folder(tmp_path, "val"))
    assert sorted(everything) == ["a/b/c.webp", "a/z.JPG", "b.png", "c.tiff", "d.bmp", "e.jpeg"]
    assert names(Folder(tmp_path, "train")) == sorted(names(Folder(tmp_path, "train")))


def test_folder_with_splits_of_its_own(tmp_path: Path) -> None:
    image_folder(tmp_path, "photos/train/a.png", "photos/train/b.png", "photos/val/a.png")
    by_split = [names(Folder(tmp_path, split, folder="photos")) for split in SPLITS]
    assert by_split == [["train/a.png", "train/b.png"], ["val/a.png"], ["val/a.png"]]
    image_folder(tmp_path, "photos/test/x/c.png")
    assert names(Folder(tmp_path, "test", folder="photos")) == ["test/x/c.png"]


def test_folder_split_by_hash(tmp_path: Path) -> None:
    image_folder(tmp_path, *(f"{number}.png" for number in range(40)))
    train, val, test = (names(Folder(tmp_path, split, val_fraction=0.2)) for split in SPLITS)
    assert not set(train) & set(val) and len(train) + len(val) == 40
    assert 2 <= len(val) <= 16 and test == val
    image_folder(tmp_path, *(f"new{number}.png" for number in range(40)))
    after = names(Folder(tmp_path, "val", val_fraction=0.2))
    assert [name for name in after if not name.startswith("new")] == val


def test_folder_channels(tmp_path: Path) -> None:
    image_folder(tmp_path, "val/a.png")
    assert Folder(tmp_path, "val")[0].image.shape == (3, 3, 4)
    assert Folder(tmp_path, "val", mode="gray")[0].image.shape == (1, 3, 4)


@pytest.mark.parametrize("folder", [".", "gone"])
def test_folder_without_images(tmp_path: Path, folder: str) -> None:
    with pytest.raises(InputError, match="no images") as caught:
        len(Folder(tmp_path, "train", folder=folder))
    assert str(tmp_path) in str(caught.value) and "RESTORE_DATA" in str(caught.value)


@pytest.mark.parametrize("fraction", [0.0, 1.5, -1.0])
def test_val_fraction_is_checked(fraction: float) -> None:
    with pytest.raises(InputError, match="val_fraction"):
        Folder(NOWHERE, "train", val_fraction=fraction)


def test_a_name_is_held_out_by_its_own_hash_for_ever() -> None:
    """By the first six bytes of its SHA-256 as a fraction of 1, so that no photo changes sides."""
    names = [f"{number}.jpg" for number in range(200)]
    shares = {name: hashlib.sha256(name.encode()).hexdigest()[:12] for name in names}
    wanted = {name for name, digits in shares.items() if int(digits, 16) < 0.1 * 16**12}
    assert wanted and held_out(names, 0.1) == wanted


def test_something_is_always_held_out() -> None:
    assert len(held_out(["a", "b", "c"], 1e-9)) == 1
    assert held_out([], 0.5) == set()
    many = [str(number) for number in range(10_000)]
    assert abs(len(held_out(many, 0.05)) - 500) < 100


def test_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTORE_DATA", "/from/environment")
    assert data_root(None) == Path("/from/environment")
    assert data_root("given") == Path("given")
    monkeypatch.delenv("RESTORE_DATA")
    assert data_root(None) == Path("data")


def test_sources_touch_no_file_when_made_and_survive_pickling() -> None:
    for source in (Digits, MNIST, Folder, Photos):
        made = source(NOWHERE, "train")
        assert made.channels in (1, 3)
        assert pickle.loads(pickle.dumps(made)).channels == made.channels
