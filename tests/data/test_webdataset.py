import io
import json
import lzma
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restore.data import opener, shard_index
from restore.data.image_file import ImageError
from restore.data.shard import index_shard
from restore.data.source import Split
from restore.data.walk import HIDDEN
from restore.data.webdataset import WebDataset, shards
from restore.types import InputError

FILES = Path(__file__).parent / "files"
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((2, 3, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def sample(number: int) -> dict[str, bytes]:
    key = f"photo{number:03d}"
    meta = json.dumps({"source": "here"}).encode()
    return {f"{key}.png": png(number), f"{key}.cls": b"%d" % (number % 5), f"{key}.json": meta}


def write_shards(root: Path) -> None:
    """60 training samples in three shards, in falling order, and 7 test samples in one."""
    for shard in range(3):
        numbers = range(20 * shard + 19, 20 * shard - 1, -1)
        members = {name: data for number in numbers for name, data in sample(number).items()}
        write_tar(root / f"train-{shard}.tar", members)
    members = {name: data for number in range(100, 107) for name, data in sample(number).items()}
    write_tar(root / "test-0.tar", members)


def dataset(root: Path, split: Split, **options: object) -> WebDataset:
    named = {
        "train": "train-{0..2}.tar",
        "test": "test-0.tar",
        "num_classes": 5,
        "val_fraction": 0.2,
    }
    return WebDataset(root, split, **{**named, **options})  # type: ignore[arg-type]


def numbers(source: WebDataset) -> list[int]:
    return [int(source[index].image[0, 0, 0]) for index in range(len(source))]


def test_every_sample_once_in_the_order_of_keys(tmp_path: Path) -> None:
    write_shards(tmp_path)
    train, val, test = (dataset(tmp_path, split) for split in SPLITS)
    assert sorted(numbers(train) + numbers(val)) == list(range(60))
    assert numbers(train) == sorted(numbers(train)) and 4 <= len(val) <= 24
    assert numbers(test) == list(range(100, 107))
    item = test[3]
    assert item.name == "photo103" and item.label == 3 and item.image.shape == (3, 2, 3)


def test_stars_below_root_anywhere_and_between_braces(tmp_path: Path) -> None:
    write_shards(tmp_path)
    every = [tmp_path / f"train-{number}.tar" for number in range(3)]
    (tmp_path / "train-folder.tar").mkdir()
    for pattern in ("train-*.tar", f"{tmp_path}/train-*.tar", "tr**.tar"):
        assert shards(tmp_path, pattern) == every
    assert shards(tmp_path, "{train-2*,tr*-0,train-1}.tar") == [every[2], every[0], every[1]]
    for missing in ("{train-*,none-0}.tar", "{train-*,none-*}.tar"):
        with pytest.raises(InputError, match=r"shard none-.\.tar not found"):
            shards(tmp_path, missing)
    test = dataset(tmp_path, "test", test=f"{tmp_path}/test-*.tar")
    assert numbers(test) == list(range(100, 107))


def test_in_the_name_of_a_shard_stars_alone_are_patterns(tmp_path: Path) -> None:
    (tmp_path / "birds[12]?").mkdir()
    write_shards(tmp_path / "birds[12]?")
    every = [tmp_path / "birds[12]?" / f"train-{number}.tar" for number in range(3)]
    assert shards(tmp_path, "birds[12]?/train-*.tar") == every
    assert opener.addresses(tmp_path, "birds[12]?/train-*.tar") == [*map(str, every)]
    for pattern in ("birds[12]?/train-?.tar", ""):
        with pytest.raises(InputError, match=r"not found .* data\.source\.train"):
            shards(tmp_path, pattern)


def test_options(tmp_path: Path) -> None:
    write_shards(tmp_path)
    val = numbers(dataset(tmp_path, "val"))
    assert numbers(dataset(tmp_path, "test", test=None)) == val
    assert dataset(tmp_path, "val", num_classes=None)[0].label is None
    assert dataset(tmp_path, "val", mode="gray")[0].image.shape == (1, 2, 3)
    assert pickle.loads(pickle.dumps(dataset(tmp_path, "val")))[0].name


def test_same_samples_as_webdataset(tmp_path: Path) -> None:
    import webdataset

    members = {"a/b.c.png": png(1), "a/b.cls": b"1", "x.JPEG": png(2), "dir.d/y.png": png(3)}
    members |= {"multi.v1.png": png(4), "z.json": b"{}", "z.png": png(5)}
    write_tar(tmp_path / "s.tar", members)
    mine = {one.key: set(one.members) for one in index_shard(tmp_path / "s.tar").samples}
    stream = webdataset.WebDataset(str(tmp_path / "s.tar"), shardshuffle=False)
    theirs = {one["__key__"]: set(one) & {"png", "jpeg", "cls", "json"} for one in stream}
    assert mine == {key: found for key, found in theirs.items() if found & {"png", "jpeg"}}
    assert set(mine) == {"x", "dir.d/y", "z"}


@pytest.mark.data
def test_real_shards_against_webdataset(real_data: Path) -> None:
    import webdataset

    path = real_data / "flowers128" / "val-000001.tar"
    stream = webdataset.WebDataset(str(path), shardshuffle=False)
    theirs = {one["__key__"]: (one["jpg"], one["cls"]) for one in stream}
    mine = {}
    for one in index_shard(path).samples:
        packed = path.read_bytes()
        cut = {ext: packed[at.offset : at.offset + at.size] for ext, at in one.members.items()}
        mine[one.key] = (cut["jpg"], cut["cls"])
    assert mine == theirs


@pytest.mark.data
def test_flowers(real_data: Path) -> None:
    parts = {
        split: WebDataset(
            real_data,
            split,
            train="flowers128/train-{000000..000007}.tar",
            test="flowers128/val-{000000..000001}.tar",
            num_classes=5,
        )
        for split in SPLITS
    }
    keys = {split: {one.key for one in part._samples} for split, part in parts.items()}
    assert len(parts["train"]) + len(parts["val"]) == 2934
    assert len(parts["test"]) == len(keys["test"]) == 368
    assert not keys["train"] & keys["val"] and not keys["train"] & keys["test"]
    assert abs(len(keys["val"]) - 0.05 * 2934) < 40
    item = parts["test"][0]
    assert item.name == min(keys["test"]) and min(item.image.shape[1:]) == 128
    assert item.label in range(5)


@pytest.mark.parametrize("share", np.linspace(0.0, 0.999, 23).tolist())
def test_truncated_shards_are_named(tmp_path: Path, share: float) -> None:
    write_shards(tmp_path)
    path = tmp_path / "train-1.tar"
    with tarfile.open(path) as tar:
        end = max(entry.offset_data + 512 for entry in tar)
    path.write_bytes(path.read_bytes()[: int(share * (end + 1024))])
    with pytest.raises(InputError, match=r"train-1\.tar is truncated"):
        len(dataset(tmp_path, "train"))


def test_cut_between_two_members_is_seen(tmp_path: Path) -> None:
    """tarfile takes this for the end of the archive."""
    write_shards(tmp_path)
    path = tmp_path / "train-0.tar"
    with tarfile.open(path) as tar:
        cuts = [entry.offset for entry in tar]
    whole = path.read_bytes()
    for cut in cuts[1::7]:
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"train-0\.tar is truncated"):
            index_shard(path)


def test_damaged_header_is_seen(tmp_path: Path) -> None:
    write_shards(tmp_path)
    path = tmp_path / "train-0.tar"
    with tarfile.open(path) as tar:
        offset = tar.getmembers()[5].offset
    damaged = bytearray(path.read_bytes())
    damaged[offset + 3] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"train-0\.tar is truncated or damaged"):
        index_shard(path)


@pytest.mark.timeout(20)
def test_a_member_of_negative_size_is_refused(tmp_path: Path) -> None:
    """tarfile would step back to the same header for ever."""
    path = tmp_path / "s.tar"
    good, bad = tarfile.TarInfo("a.cls"), tarfile.TarInfo("b.png")
    bad.size = -512
    path.write_bytes(good.tobuf() + bad.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(InputError, match=r"s\.tar is truncated or damaged"):
        index_shard(path)


def test_photos_of_one_key_stay_in_one_split(tmp_path: Path) -> None:
    for shard in range(2):
        write_tar(tmp_path / f"train-{shard}.tar", {f"{n}.png": png(n) for n in range(30)})
    options = {"train": "train-{0..1}.tar", "num_classes": None}
    train, val = (numbers(dataset(tmp_path, split, **options)) for split in SPLITS[:2])
    assert len(train) + len(val) == 60 and not set(train) & set(val)


def test_damaged_photo_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", {"a.png": png(1)[:40], "b.png": png(2)})
    source = dataset(tmp_path, "train", train="train-0.tar", num_classes=None, val_fraction=1e-9)
    with pytest.raises(ImageError, match=r"train-0\.tar: [ab]\.png"):
        for split in SPLITS[:2]:
            numbers(dataset(tmp_path, split, train="train-0.tar", num_classes=None))
    assert len(source) == 1


def test_evil_members_are_left_out_and_named(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (open, (str(marker), "w"))

    evil = pickle.dumps(Evil())
    members = {
        f"a.{extension}": evil for extension in ("pyd", "pickle", "pkl", "pth", "npy", "cbor")
    }
    write_tar(tmp_path / "s.tar", {**members, "a.png": png(1), "a.cls": b"0", "lonely.json": b"{}"})
    with tarfile.open(tmp_path / "s.tar", "a") as tar:
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    found = index_shard(tmp_path / "s.tar")
    assert [(one.key, set(one.members)) for one in found.samples] == [("a", {"png", "cls"})]
    kinds = ("pyd", "pickle", "pkl", "pth", "npy", "cbor")
    expected = {f"named .{kind}": 1 for kind in kinds}
    assert found.left_out == {**expected, "links or devices": 1, "samples without an image": 1}
    assert not marker.exists()


@pytest.mark.parametrize(
    "pattern",
    [
        "pipe:touch {0}/marker",
        "{{pipe:touch {0}/marker,train-0.tar}}",
        "http://host/a.tar",
        "s3://b/c",
    ],
)
def test_pipes_and_addresses_are_refused(tmp_path: Path, pattern: str) -> None:
    write_shards(tmp_path)
    with pytest.raises(InputError, match="only local paths"):
        len(dataset(tmp_path, "train", train=pattern.format(tmp_path)))
    assert not (tmp_path / "marker").exists()


def test_missing_shard(tmp_path: Path) -> None:
    write_shards(tmp_path)
    with pytest.raises(InputError, match=r"train-3\.tar not found") as caught:
        shards(tmp_path, "train-{0..4}.tar")
    message = str(caught.value)
    assert str(tmp_path) in message and "RESTORE_DATA" in message and "\n" not in message


@pytest.mark.parametrize("label", [b"5", b"-1", b"rose", b"", None])
def test_labels_are_checked(tmp_path: Path, label: bytes | None) -> None:
    members = {"a.png": png(1)} | ({} if label is None else {"a.cls": label})
    write_tar(tmp_path / "s.tar", members)
    source = dataset(tmp_path, "val", train="s.tar")
    with pytest.raises(InputError, match=r"s\.tar: a\.cls"):
        source[0]


def test_two_members_of_one_name(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", {"a.png": png(1), "b.png": png(1), "a.PNG": png(2)})
    with pytest.raises(InputError, match=r"a\.png"):
        index_shard(tmp_path / "s.tar")


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(InputError, match=r"s\.tar is compressed \(gzip\)"):
        index_shard(tmp_path / "s.tar")


def test_reads_at_random_are_exact_in_workers(tmp_path: Path) -> None:
    write_shards(tmp_path)
    source = dataset(tmp_path, "train")
    loader = torch.utils.data.DataLoader(
        source, num_workers=2, batch_size=4, collate_fn=lambda items: items
    )
    found = [int(item.image[0, 0, 0]) for items in loader for item in items]
    assert found == numbers(source)


def test_what_a_packed_or_an_empty_shard_is_called(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(InputError, match=r"s\.tar\.gz is compressed \(gzip\)"):
        index_shard(tmp_path / "s.tar.gz")
    with pytest.raises(InputError, match=r"whole\.tar\.gz is compressed"):
        index_shard(FILES / "whole.tar.gz")
    by_others = {
        "lzma": lzma.compress(bytes(99), format=lzma.FORMAT_ALONE),
        "lz4": bytes.fromhex("04224d18") + bytes(99),
        "compress": bytes.fromhex("1f9d90") + bytes(99),
        "zip": bytes.fromhex("504b0304") + bytes(99),
        "7z": bytes.fromhex("377abcaf271c") + bytes(99),
    }
    for name, content in by_others.items():
        (tmp_path / "other.tar").write_bytes(content)
        with pytest.raises(InputError, match=rf"other\.tar is compressed \({name}\)"):
            index_shard(tmp_path / "other.tar")
    write_tar(tmp_path / "empty.tar", {})
    with pytest.raises(InputError, match=r"empty\.tar holds no sample: it has no members"):
        index_shard(tmp_path / "empty.tar")


@pytest.mark.parametrize(
    "name,reason",
    [
        ("a.v1.png", r"1 named \.v1\.png \(a key ends at the first dot"),
        ("a.input.png", r"1 named \.input\.png"),
        ("a.gif", r"1 named \.gif"),
        ("__MACOSX/a.png", "1 hidden"),
        ("._a.png", "1 hidden"),
        ("a.cls", "1 samples without an image"),
    ],
)
def test_why_a_shard_gives_no_sample(tmp_path: Path, name: str, reason: str) -> None:
    write_tar(tmp_path / "s.tar", {name: png(1)})
    with pytest.raises(InputError, match=rf"s\.tar holds no sample: {reason}"):
        index_shard(tmp_path / "s.tar")


def test_members_of_a_system_are_left_out(tmp_path: Path) -> None:
    members = {"./a.png": png(1), "./._a.png": b"mac", "x/.ipynb_checkpoints/a.png": png(2)}
    write_tar(tmp_path / "s.tar", members)
    index = index_shard(tmp_path / "s.tar")
    assert [one.key for one in index.samples] == ["./a"]
    assert index.left_out == {HIDDEN: 2}


def test_a_member_without_its_zeros_is_told(tmp_path: Path) -> None:
    """As tar --sparse stores it: a list of what there is, then these bytes alone."""
    there = b"1\n1024\n512\n".ljust(512, b"\0") + bytes(512)
    entry = tarfile.TarInfo("a.png")
    entry.size = len(there)
    sparse = {"major": "1", "minor": "0", "name": "a.png", "realsize": "1536"}
    entry.pax_headers = {f"GNU.sparse.{name}": value for name, value in sparse.items()}
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(entry, io.BytesIO(there))
    with pytest.raises(InputError, match=r"s\.tar is sparse: unpack it, and pack it without"):
        index_shard(tmp_path / "s.tar")


def test_members_above_the_folder_that_was_packed_are_samples(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", {"../a.png": png(1), "../.hidden/b.png": png(2)})
    index = index_shard(tmp_path / "s.tar")
    assert [one.key for one in index.samples] == ["../a"]
    assert index.left_out == {HIDDEN: 1}


def test_tiff_members_are_photos(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((2, 3, 3), 7, np.uint8)).save(file, "TIFF")
    write_tar(tmp_path / "s.tar", {"a.tif": file.getvalue()})
    (image, _, _) = dataset(tmp_path, "val", train="s.tar", num_classes=None)[0]
    assert (image == 7).all()


def test_of_several_photos_of_a_sample_one_is_taken(tmp_path: Path) -> None:
    """Always the same, since a training that goes on would else see others."""
    write_tar(tmp_path / "s.tar", {"a.jfif": png(1), "a.png": png(2), "a.jpg": png(3)})
    write_tar(tmp_path / "t.tar", {"b.bmp": png(4), "b.webp": png(5), "b.png": png(6)})
    given = {"train": "{s,t}.tar", "num_classes": None, "val_fraction": 1.0}
    source = dataset(tmp_path, "val", **given)
    assert numbers(source) == [3, 6]
    assert source.left_out() == {"other images of a sample": 4}


def test_archives_behind_each_other_are_all_read(tmp_path: Path) -> None:
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", {f"{number}{n}.png": png(n) for n in range(3)})
    both = b"".join((tmp_path / f"{number}.tar").read_bytes() for number in range(2))
    (tmp_path / "s.tar").write_bytes(both)
    source = dataset(tmp_path, "val", train="s.tar", num_classes=None, val_fraction=1.0)
    assert numbers(source) == [0, 1, 2, 0, 1, 2]
    assert len(index_shard(FILES / "concatenated.tar").samples) == 6
    (tmp_path / "s.tar").write_bytes(both[:-2048] + b"no header" * 60)
    with pytest.raises(InputError, match=r"s\.tar is truncated or damaged"):
        index_shard(tmp_path / "s.tar")


def test_an_index_is_kept_until_its_shard_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.tar"
    write_tar(path, {"a.png": png(1), "b.png": png(2), "b.gif": b""})
    made = shard_index.shard_index(path)
    assert made == index_shard(path) and made.left_out == {"named .gif": 1}
    count = []
    monkeypatch.setattr(shard_index, "index_shard", lambda path: count.append(1) or made)
    assert shard_index.shard_index(path) == made and not count
    write_tar(path, {"a.png": png(1), "c.png": png(2)})
    shard_index.shard_index(path)
    assert len(count) == 1
    (kept,) = (tmp_path / ".restore-index").glob("*.json")
    for damage in (b"", b"[]", b"{}", kept.read_bytes()[:-9]):
        kept.write_bytes(damage)
        shard_index.shard_index(path)
    assert len(count) == 5


def test_an_index_of_older_rules_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    write_tar(path, {"a.png": png(1), "b.jfif": png(2)})
    made = shard_index.shard_index(path)
    (kept,) = (tmp_path / ".restore-index").glob("*.json")
    content = json.loads(kept.read_text())
    content["state"][0], content["samples"] = 1, content["samples"][:1]  # 1 knew no .jfif
    kept.write_text(json.dumps(content))
    assert len(made.samples) == 2 and shard_index.shard_index(path) == made


def test_an_index_of_shards_that_cannot_be_written_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".restore-index").write_text("no folder can be made here")
    write_tar(tmp_path / "data" / "s.tar", {"a.png": png(1)})
    assert len(shard_index.shard_index(tmp_path / "data" / "s.tar").samples) == 1
    assert len(list((tmp_path / "cache" / "restore" / "index").glob("*-s.tar.json"))) == 1
    monkeypatch.setenv("RESTORE_CACHE", str(tmp_path / "own"))
    shard_index.shard_index(tmp_path / "data" / "s.tar")
    assert len(list((tmp_path / "own" / "index").glob("*-s.tar.json"))) == 1
    monkeypatch.setenv("RESTORE_CACHE", str(tmp_path / "data" / "s.tar"))
    assert len(shard_index.shard_index(tmp_path / "data" / "s.tar").samples) == 1


def test_splits_share_one_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(tmp_path)
    train = dataset(tmp_path, "train")
    assert len(train) and train._indices
    monkeypatch.setattr("restore.data.webdataset.shard_index", None)
    assert [one.key for one in train.sibling("val")._samples]
    monkeypatch.undo()
    for split in SPLITS:
        assert numbers(train.sibling(split)) == numbers(dataset(tmp_path, split))


def test_a_vanished_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path)
    source = dataset(tmp_path, "test")
    assert len(source)
    (tmp_path / "test-0.tar").unlink()
    with pytest.raises(InputError, match=r"test-0\.tar cannot be read: No such file"):
        source[0]
