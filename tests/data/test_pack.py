"""restore shard: what goes in comes out, whatever stops it on the way."""

import hashlib
import io
import json
import shlex
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from restore import sharding
from restore.config.compose import composed
from restore.data import pack
from restore.data.folder import Folder
from restore.data.image_file import SUFFIXES
from restore.data.shard_plan import PackedPhoto, plan
from restore.data.source import SPLITS, Split
from restore.data.webdataset import WebDataset
from restore.types import InputError

SMALL = 3000 / 2**20  # MiB of a shard: a few photos


def photo(path: Path, seed: int, kind: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, kind)


def photos(folder: Path, count: int = 20) -> Path:
    for k in range(count):
        photo(folder / f"{'ab'[k % 2]}" / f"{k:02}.png", k)
    return folder


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def pixels(source: Any) -> dict[str, bytes]:
    """Bytes of every image, by its name without the suffix of a file."""
    items = [source[index] for index in range(len(source))]
    names = [item.name.removesuffix(".png").removesuffix(".jpg") for item in items]
    return {name: item.image.numpy().tobytes() for name, item in zip(names, items, strict=True)}


def read(folder: Path, split: Split, **options: Any) -> WebDataset:
    """As data=webdataset reads it."""
    node = composed("train", ["experiment=denoise_photos", "data=webdataset"])["data"]["source"]
    given = {key: value for key, value in node.items() if key[0] != "_"}
    return WebDataset(folder, split, **{**given, **options})


def test_every_photo_comes_back_and_splits_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "photos"
    for split, first in (("train", 0), ("val", 30), ("test", 40)):
        for k in range(6):
            photo(source / split / "x.y" / f"{first + k}.png", first + k)
    assert sharding.shard(source, tmp_path / "out", SMALL, workers=2) == 0
    for split in SPLITS:
        made, own = pixels(read(tmp_path / "out", split)), pixels(Folder(source, split))
        assert {f"{split}/{name}": data for name, data in made.items()} == own
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["samples"] == 18 == sum(one["samples"] for one in manifest["shards"])
    for one in manifest["shards"]:
        data = (tmp_path / "out" / one["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (one["bytes"], one["sha256"])
    assert len(manifest["shards"]) > 3 and not (tmp_path / "out" / pack.PARTS).exists()
    counts = [f"{split} {len(list((tmp_path / 'out').glob(f'{split}-*')))}" for split in SPLITS]
    assert f"18 photos in shards ({', '.join(counts)})" in capsys.readouterr().out


def test_photos_lie_in_the_order_of_the_hashes_of_their_names(tmp_path: Path) -> None:
    """So that a stream is no folder after the other."""
    made = plan(photos(tmp_path / "photos"), 3000, labelled=False).shards
    names = [one.name for shard in made for one in shard.photos]
    assert len(made) > 1
    assert names == sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def test_a_shard_is_full_when_not_another_photo_fits(tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / f"{name}.png").write_bytes(bytes(100))
    for shard_bytes, counts in ((200, [2, 2, 1]), (199, [1] * 5), (299, [2, 2, 1]), (500, [5])):
        made = plan(tmp_path, shard_bytes, labelled=False).shards
        assert [len(one.photos) for one in made] == counts


def test_without_splits_validation_is_a_part_of_them(tmp_path: Path) -> None:
    sharding.shard(photos(tmp_path / "photos"), tmp_path / "out")
    train, val = (pixels(read(tmp_path / "out", split)) for split in ("train", "val"))
    assert {**train, **val} == pixels(Folder(tmp_path / "photos", "test", val_fraction=1.0))
    assert val and not train.keys() & val.keys()
    assert pixels(read(tmp_path / "out", "test")) == val


def test_what_was_stopped_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, whole, parts = photos(tmp_path / "photos"), tmp_path / "whole", tmp_path / "parts"
    sharding.shard(source, whole, SMALL, workers=2)
    written, add = list[str](), pack._add

    def failing(tar: tarfile.TarFile, one: PackedPhoto, folder: Path) -> None:
        written.append(one.name)
        if len(written) == 12:
            raise OSError(28, "No space left on device")
        add(tar, one, folder)

    with monkeypatch.context() as patched:
        patched.setattr(pack, "_add", failing)
        with pytest.raises(InputError, match="No space left"):
            sharding.shard(source, parts, SMALL, workers=1)
    before = shards(parts)
    assert 0 < len(before) < len(shards(whole)) and not (parts / "manifest.json").exists()
    written.clear()

    def counting(tar: tarfile.TarFile, one: PackedPhoto, folder: Path) -> None:
        written.append(one.name)
        add(tar, one, folder)

    monkeypatch.setattr(pack, "_add", counting)
    sharding.shard(source, parts, SMALL, workers=2)
    assert shards(parts) == shards(whole) and len(written) < 20
    assert (parts / "manifest.json").read_text() == (whole / "manifest.json").read_text()
    written.clear()
    sharding.shard(source, parts, SMALL)  # all is there
    assert not written


def test_a_shard_that_was_lost_or_cut_is_made_anew(tmp_path: Path) -> None:
    source, folder = photos(tmp_path / "photos"), tmp_path / "shards"
    sharding.shard(source, folder, SMALL)
    whole = shards(folder)
    lost, cut = (folder / name for name in sorted(whole)[:2])
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.tar") if path != cut}
    sharding.shard(source, folder, SMALL)
    assert shards(folder) == whole and not (folder / pack.PARTS).exists()
    assert {path: path.stat().st_mtime_ns for path in times} == times  # the others stay
    with pytest.raises(InputError, match="was begun with other photos or settings"):
        sharding.shard(source, folder, 2 * SMALL)


def test_other_photos_or_settings_and_folders_of_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = photos(tmp_path / "photos"), tmp_path / "out"
    monkeypatch.setattr(pack, "_shard", lambda *given: (_ for _ in ()).throw(OSError(5, "bad")))
    with pytest.raises(InputError, match="bad"):
        sharding.shard(source, out, SMALL)
    with pytest.raises(InputError, match="was begun with other photos or settings"):
        sharding.shard(source, out, 2 * SMALL)
    monkeypatch.undo()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('{"name": "a web page"}')
    (tmp_path / "deep" / "manifest.json").mkdir(parents=True)
    for folder, says in (
        (tmp_path / "other", "holds something else"),
        (tmp_path / "deep", "holds something else"),
        (source / "x", "lies in"),
    ):
        with pytest.raises(InputError, match=says):
            sharding.shard(source, folder)
    with pytest.raises(InputError, match="is no folder"):
        sharding.shard(tmp_path / "none", out)
    for size, workers in ((0.0, 1), (float("nan"), 1), (float("inf"), 1), (1.0, 0)):
        with pytest.raises(InputError, match=f"--megabytes {size} and --workers {workers} must"):
            sharding.shard(source, tmp_path / "size", size, workers)
    assert not (tmp_path / "size").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        sharding.shard(tmp_path / "empty", out)


def test_a_photo_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, read_bytes = photos(tmp_path / "photos"), Path.read_bytes

    def refusing(path: Path) -> bytes:
        if path == source / "b/03.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    with pytest.raises(InputError, match=r"photos/b/03\.png cannot be read: Permission denied"):
        sharding.shard(source, tmp_path / "out")
    monkeypatch.undo()
    sharding.shard(source, tmp_path / "out")
    assert len(read(tmp_path / "out", "val", val_fraction=1.0)) == 20


def test_names_with_dots_and_equal_stems_are_keys_of_their_own(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    for k, name in enumerate(["a.b.png", "a_b.png", "A_b.jpg", "c/a.b.png", "ä ö.png"]):
        photo(source / name, k, "JPEG" if name.endswith("jpg") else "PNG")
    sharding.shard(source, tmp_path / "out")
    made = pixels(read(tmp_path / "out", "val", val_fraction=1.0))
    assert sorted(made.values()) == sorted(
        pixels(Folder(source, "test", val_fraction=1.0)).values()
    )
    assert len(made) == 5


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_a_photo_of_every_suffix_comes_back(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / "photos"
    for name in (f"a{suffix}", f"b{suffix.upper()}"):
        photo(source / name, 1)  # what it holds is told by its bytes
    sharding.shard(source, tmp_path / "out")
    assert len(read(tmp_path / "out", "val", val_fraction=1.0)) == 2


def test_next_arguments_name_a_folder_of_any_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my shards, k=1"
    sharding.shard(photos(tmp_path / "photos"), folder)
    *_, said = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert OverridesParser.create().parse_override(said).value() == str(folder)


def test_classes_are_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for classes, says in ((False, ""), (True, " data.source.num_classes=2")):
        folder = tmp_path / ("out" if classes else "plain")
        sharding.shard(photos(tmp_path / "photos"), folder, classes=classes)
        assert f"next: data=webdataset data.root={folder}{says}\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["classes"] == ["a", "b"]
    source = read(tmp_path / "out", "val", val_fraction=1.0, num_classes=2)
    labels = {item.name: item.label for item in (source[k] for k in range(len(source)))}
    assert labels == {f"{'ab'[k % 2]}/{k:02}": k % 2 for k in range(20)}
    photo(tmp_path / "photos" / "loose.png", 99)
    with pytest.raises(InputError, match="has to lie in the folder of its class"):
        sharding.shard(tmp_path / "photos", tmp_path / "more", classes=True)


def test_webdataset_itself_reads_them(tmp_path: Path) -> None:
    import webdataset

    sharding.shard(photos(tmp_path / "photos"), tmp_path / "out", SMALL)
    paths = [str(path) for path in sorted((tmp_path / "out").glob("*.tar"))]
    stream = webdataset.WebDataset(paths, shardshuffle=False)
    found = {one["__key__"]: Image.open(io.BytesIO(one["png"])).size for one in stream}
    assert found == {f"{'ab'[k % 2]}/{k:02}": (16, 12) for k in range(20)}
