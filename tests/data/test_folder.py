"""Which files of a folder are data, and of which split."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from restore.data.folder import Folder
from restore.data.source import SPLITS, Split
from restore.data.walk import BROKEN, HIDDEN, LISTED
from restore.types import InputError

FILES = Path(__file__).parent / "files"


def photos(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3), (number, 0, 0)).save(path)
    return folder


def names(root: Path, split: Split = "test", fraction: float = 1.0) -> list[str]:
    source = Folder(root, split, val_fraction=fraction)
    return [source.name(index) for index in range(len(source))]


def test_the_trees_of_people(tmp_path: Path) -> None:
    trees = shutil.copytree(FILES / "trees", tmp_path / "trees")
    (trees / "linked/cats").unlink()  # the link travels as a file that names its target
    (trees / "linked/cats").symlink_to("../outside")
    assert names(trees / "linked") == ["a.jpg", "cats/o0.jpg", "cats/o1.jpg", "cats/o2.jpg"]
    assert names(trees / "mac") == ["a.jpg", "b.jpg"]
    assert names(trees / "hidden") == ["a.jpg"]
    with pytest.raises(InputError, match=r"rename Test to test, Train to train"):
        names(trees / "capital")


def test_links_lead_into_no_loop(tmp_path: Path) -> None:
    photos(tmp_path, "a.png", "x/b.png")
    (tmp_path / "x/up").symlink_to(tmp_path)
    (tmp_path / "x/self").symlink_to(tmp_path / "x")
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone")
    source = Folder(tmp_path, "test", val_fraction=1.0)
    assert names(tmp_path) == ["a.png", "x/b.png"]
    assert source.left_out() == {LISTED: 2, BROKEN: 1}


def test_links_that_lead_to_themselves_are_broken(tmp_path: Path) -> None:
    photos(tmp_path, "a.png", "x/b.png")
    for link, target in (("x/self", "self"), ("c.png", "c.png"), ("x/d", "e"), ("x/e", "d")):
        (tmp_path / link).symlink_to(target)
    source = Folder(tmp_path, "test", val_fraction=1.0)
    assert names(tmp_path) == ["a.png", "x/b.png"]
    assert source.left_out() == {BROKEN: 4}


def test_a_folder_is_listed_once(tmp_path: Path) -> None:
    """By its own name, where that lies in the tree, and else by the first that leads to it."""
    photos(tmp_path / "photos", "x/a.png", "y/b.png")
    photos(tmp_path / "outside", "c.png", "d/e.png")
    (tmp_path / "photos/x/ly").symlink_to("../y")
    (tmp_path / "photos/y/lx").symlink_to("../x")
    for link in ("l1", "l2", "x/l0"):
        (tmp_path / "photos" / link).symlink_to(tmp_path / "outside")
    (tmp_path / "photos/l3").symlink_to(tmp_path / "outside/d")
    source = Folder(tmp_path / "photos", "test", val_fraction=1.0)
    assert names(tmp_path / "photos") == ["l1/c.png", "l1/d/e.png", "x/a.png", "y/b.png"]
    assert source.left_out() == {LISTED: 5}


def test_folders_that_all_link_each_other_end(tmp_path: Path) -> None:
    for number in range(12):
        photos(tmp_path, f"{number}/a.png")
        for other in range(12):
            (tmp_path / f"{number}/{other}").symlink_to(f"../{other}")
    assert len(names(tmp_path)) == 12


def test_splits_may_be_links(tmp_path: Path) -> None:
    """What is linked below a split was put there; a split is no part of another for it."""
    photos(tmp_path, "all/one/a.png", "all/two/b.png")
    for split, target in (("train", "all/one"), ("val", "all/two"), ("test", "val")):
        (tmp_path / split).symlink_to(target)
    (tmp_path / "all/one/up").symlink_to("../..")
    found = [names(tmp_path, split) for split in SPLITS]
    assert found == [["train/a.png"], ["val/b.png"], ["test/b.png"]]


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    photos(tmp_path, "train/a.png", "val/b.png", "c.png", "x/d.png", "train/.thumbnails/a.png")
    for name in ("train/._a.png", "train/note.txt", "train/b.xcf", "train/README"):
        (tmp_path / name).write_bytes(b"no image")
    for name in ("@eaDir", "@Recycle", "System Volume Information"):
        (tmp_path / name).mkdir()
    assert Folder(tmp_path, "train").left_out() == {
        HIDDEN: 5,
        "named .txt": 1,
        "named .xcf": 1,
        "named without a suffix": 1,
        "outside of train, val and test": 2,
    }


@pytest.mark.parametrize(
    "misnamed",
    [
        ("Train/a.png", "Test/b.png"),
        ("training/a.png", "validation/b.png"),
        ("TEST/a.png", "b.png"),
        ("train/a.png", "val/b.png", "Test/c.png"),
        ("train_images/a.png", "b.png"),
        ("train2017/a.png", "val2017/b.png"),
        ("DIV2K_train_HR/a.png", "DIV2K_valid_HR/b.png"),
        ("set/train/a.png", "set/test/b.png"),
        ("valid/a.png", "b.png"),
        ("trainA/a.png", "trainB/b.png", "testA/c.png", "testB/d.png"),
        ("TrainImages/a.png", "TestImages/b.png"),
        ("trainHR/a.png", "testHR/b.png"),
        ("TrainingSet/a.png", "ValidationSet/b.png"),
        ("trainingset/a.png", "testingset/b.png"),
        ("RainTrainL/a.png", "RainTestL/b.png"),
        ("TRAINSET/a.png", "b.png"),
        ("set/trainA/a.png", "set/testA/b.png"),
    ],
)
def test_folders_that_mean_a_split_are_not_merged(tmp_path: Path, misnamed: tuple[str]) -> None:
    photos(tmp_path, *misnamed)
    with pytest.raises(InputError, match="would be merged and split anew") as caught:
        names(tmp_path, "train")
    line = str(caught.value)
    assert str(tmp_path) in line and "\n" not in line
    wrong = {name.rpartition("/")[0] for name in misnamed} - {"train", "val", ""}
    assert all(name in line for name in wrong)


def test_of_several_folders_of_one_meaning_the_user_chooses(tmp_path: Path) -> None:
    photos(tmp_path, *(f"{name}/a.png" for name in ("trainA", "trainB", "testA", "testB")))
    with pytest.raises(InputError, match=r"testA and testB and trainA and trainB would .*: move"):
        names(tmp_path)
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for domain in "AB":
            (tmp_path / f"{split}{domain}").rename(tmp_path / split / domain)
    assert names(tmp_path) == ["test/A/a.png", "test/B/a.png"]


@pytest.mark.parametrize(
    ("inner", "outer"),
    [("train/test", "train"), ("train/a/Validation", "train"), ("val/train_images", "val")],
)
def test_a_split_within_another_is_refused(tmp_path: Path, inner: str, outer: str) -> None:
    photos(tmp_path, "train/x/a.png", "val/b.png", f"{inner}/c.png")
    with pytest.raises(InputError, match=f"{inner} would be a part of {outer}: ") as caught:
        names(tmp_path, "train")
    assert str(tmp_path) in str(caught.value)


def test_subjects_within_a_split_may_be_called_so(tmp_path: Path) -> None:
    inner = ("train/train/a.png", "val/train_station/b.png", "train/test_tube/c.png")
    assert names(photos(tmp_path, *inner), "train") == [
        "train/test_tube/c.png",
        "train/train/a.png",
    ]


@pytest.mark.parametrize(
    "plain", [("train_station/a.png", "b.png"), ("trainers/a.png", "tests.png"), ("cats/a.png",)]
)
def test_other_folders_are_subjects(tmp_path: Path, plain: tuple[str]) -> None:
    assert names(photos(tmp_path, *plain)) == sorted(plain)


def test_each_emptiness_has_its_own_words(tmp_path: Path) -> None:
    def words(folder: Path, split: Split = "train", fraction: float = 0.05) -> str:
        with pytest.raises(InputError) as caught:
            len(Folder(folder, split, val_fraction=fraction))
        return str(caught.value)

    assert "there is no such folder" in words(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert "it is empty" in words(tmp_path / "empty")
    photos(tmp_path / "one", "a.png")
    assert "it holds one image" in words(tmp_path / "one")
    photos(tmp_path / "few", "a.png", "b.png")
    assert "val_fraction=1.0 holds out all 2" in words(tmp_path / "few", fraction=1.0)
    photos(tmp_path / "half", "train/a.png")
    assert "sub-folder val is missing beside train" in words(tmp_path / "half", "val")
    (tmp_path / "half/val").mkdir()
    assert "sub-folder val is empty" in words(tmp_path / "half", "val")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").touch()
    assert "no image (left out: 1 named .txt)" in words(tmp_path / "texts")
    assert "it is a file" in words(tmp_path / "texts/a.txt")


def test_one_walk_serves_all_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path, *(f"{number}.png" for number in range(30)))
    train = Folder(tmp_path, "train", val_fraction=0.3)
    assert len(train)
    monkeypatch.setattr(os, "scandir", None)
    val = train.sibling("val")
    together = [train.name(i) for i in range(len(train))] + [val.name(i) for i in range(len(val))]
    assert len(together) == len(set(together)) == 30


def test_everything_below_the_default_root_is_no_subject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(tmp_path, "mine/a.png", "masks/b.png")
    monkeypatch.setenv("RESTORE_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"data\.root is not set: .*data\.root=FOLDER"):
        names(tmp_path)
    assert len(Folder(tmp_path, "test", folder="mine", val_fraction=1.0)) == 1
    assert names(tmp_path / "mine") == ["a.png"]


def test_names_that_are_no_utf8_can_be_printed(tmp_path: Path) -> None:
    photos(tmp_path, "a.png")
    os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/\xe9t\xe9.png")
    source = Folder(tmp_path, "test", val_fraction=1.0)
    assert source[0].name == r"\udce9t\udce9.png" and source[0].image.shape == (3, 3, 4)
    source[0].name.encode("ascii")
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"no image")
    with pytest.raises(InputError, match=r"/\\udcff\.png: ") as caught:
        Folder(tmp_path, "test", val_fraction=1.0)[1]
    str(caught.value).encode("ascii")
