"""A folder of photos as webdataset shards: the files as they are, in an order shuffled once.

The order is that of a hash of the names, so that a stream of shards is no stream of one folder
after another, and equal folders give equal bytes.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from restore.data.division import check_names
from restore.data.image_file import SUFFIXES
from restore.data.name import printable
from restore.data.shard import index_shard
from restore.data.source import SPLITS
from restore.data.walk import walk
from restore.folder import write_whole
from restore.types import InputError

MANIFEST, PARTS, FORMAT = "manifest.json", ".parts", 1
_BLOCK = 2**20


class PackedPhoto(NamedTuple):
    name: str  # path below the source
    size: int
    changed: int  # time of the file, ns
    key: str
    label: int | None


class Shard(NamedTuple):
    file: str
    photos: list[PackedPhoto]


class Plan(NamedTuple):
    shards: list[Shard]
    classes: list[str]
    left_out: dict[str, int]  # files by reason
    digest: str  # of all that decides about a byte


def plan(source: Path, shard_bytes: int, labelled: bool) -> Plan:
    """Which photo goes where. Sub-folders train, val and test become shards of their own.

    labelled: the first folder below (that of the split) is the class, numbered by name.

    Raises:
        InputError: no photos, folders that mean splits and are not named so, or no classes.
    """
    if not source.is_dir():
        raise InputError(f"{source} is no folder: name the one that holds the photos")
    listing = walk(source, SUFFIXES)
    check_names(source, listing.folders)
    divided = [split for split in SPLITS if (source / split).is_dir()]
    parts = {split: [n for n in listing.names if n.startswith(f"{split}/")] for split in divided}
    left_out = dict(listing.left_out)
    if divided:
        inside = sum(map(len, parts.values()))
        left_out["outside of train, val and test"] = len(listing.names) - inside
    else:
        parts = {"train": listing.names}
    if not any(parts.values()):
        raise InputError(f"{source} holds no images: name a folder of PNG, JPEG or other photos")
    depth = 1 if divided else 0
    classes = _classes(parts, depth) if labelled else []
    shards = [
        Shard(f"{split}-{number:06}.tar", photos)
        for split, names in parts.items()
        for number, photos in enumerate(_cut(source, names, depth, classes, shard_bytes))
    ]
    text = json.dumps([FORMAT, shards], ensure_ascii=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Plan(shards, classes, {k: v for k, v in left_out.items() if v}, digest)


def _classes(parts: dict[Any, list[str]], depth: int) -> list[str]:
    named = {tuple(name.split("/")[depth:-1][:1]) for names in parts.values() for name in names}
    if () in named:
        raise InputError("--classes: every photo has to lie in the folder of its class")
    return sorted(one[0] for one in named)


def _cut(
    source: Path, names: list[str], depth: int, classes: list[str], shard_bytes: int
) -> Iterator[list[PackedPhoto]]:
    keys, photos, total = set[str](), list[PackedPhoto](), 0
    for name in sorted(names, key=_hash):
        status = (source / name).stat()
        label = classes.index(name.split("/")[depth]) if classes else None
        key = _key(name.split("/", depth)[-1], keys)
        if photos and total + status.st_size > shard_bytes:
            yield photos
            photos, total = [], 0
        photos.append(PackedPhoto(name, status.st_size, status.st_mtime_ns, key, label))
        total += status.st_size
    if photos:
        yield photos


def _hash(name: str) -> bytes:
    return hashlib.sha256(os.fsencode(name)).digest()


def _key(name: str, taken: set[str]) -> str:
    """The path without suffix; a key ends at the first dot of a file's name, so that it has none.

    Two photos that differ in nothing else get a number.
    """
    folder, _, file = name.rpartition("/")
    stem = file.rpartition(".")[0].replace(".", "_")
    wished = f"{folder}/{stem}" if folder else stem
    key, number = wished, 2
    while key.casefold() in taken:
        key, number = f"{wished}_{number}", number + 1
    taken.add(key.casefold())
    return key


def write(
    made: Plan, source: Path, folder: Path, workers: int, tell: Callable[[int], object]
) -> dict[str, Any]:
    """Writes the shards that are not there yet, and last of all the manifest, which it returns.

    tell: called with the photos that are done. A shard is whole or not there, and read back.

    Raises:
        InputError: `folder` holds something else, or a photo changed meanwhile.
    """
    parts = _begin(made, folder)
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        found = []
        for shard, record in zip(
            made.shards, pool.map(lambda one: _shard(one, source, folder), made.shards), strict=True
        ):
            done += len(shard.photos)
            tell(done)
            found.append(record)
    manifest = {
        "format": FORMAT,
        "plan": made.digest,
        "samples": sum(one["samples"] for one in found),
        "bytes": sum(one["bytes"] for one in found),
        "classes": made.classes,
        "left_out": made.left_out,
        "shards": found,
    }
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    for path in parts.iterdir():
        path.unlink()
    parts.rmdir()
    return manifest


def finished(made: Plan, folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder that holds all shards of this plan already."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    sizes = {one["file"]: one["bytes"] for one in manifest["shards"]}
    there = {name: _size(folder / name) for name in sizes}
    return manifest if manifest["plan"] == made.digest and there == sizes else None


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _begin(made: Plan, folder: Path) -> Path:
    """The folder of what is known of finished shards, which belong to this plan alone."""
    parts = folder / PARTS
    plan_file = parts / "plan"
    if folder.exists() and any(folder.iterdir()):
        if not plan_file.is_file():
            raise InputError(f"{folder} holds something else: name a new folder")
        if plan_file.read_text(encoding="utf-8") != made.digest:
            raise InputError(
                f"{folder} was begun with other photos or settings: take them back, or remove it"
            )
    parts.mkdir(parents=True, exist_ok=True)
    write_whole(plan_file, made.digest)
    return parts


def _shard(shard: Shard, source: Path, folder: Path) -> dict[str, Any]:
    path, known = folder / shard.file, folder / PARTS / f"{shard.file}.json"
    if known.is_file():
        record: dict[str, Any] = json.loads(known.read_text(encoding="utf-8"))
        if _size(path) == record["bytes"]:
            return record
    temporary = folder / PARTS / f"{shard.file}.tmp"
    with temporary.open("wb") as file:
        hashing: Any = _Hashing(file)
        with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.GNU_FORMAT) as tar:
            for photo in shard.photos:
                _add(tar, photo, source)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    found = len(index_shard(path).samples)
    if found != len(shard.photos):
        raise InputError(f"{path} reads back {found} of {len(shard.photos)} photos: is a disk bad?")
    digest = hashing.digest.hexdigest()
    record = {"file": shard.file, "samples": found, "bytes": hashing.size, "sha256": digest}
    write_whole(known, json.dumps(record))
    return record


def _add(tar: tarfile.TarFile, photo: PackedPhoto, source: Path) -> None:
    path = source / photo.name
    data = path.read_bytes() if path.is_file() else b""
    if len(data) != photo.size:
        raise InputError(f"{printable(str(path))} changed while it was packed: begin anew")
    suffix = os.path.splitext(photo.name)[1].lower()
    members = [(f"{photo.key}{suffix}", data)]
    if photo.label is not None:
        members.append((f"{photo.key}.cls", b"%d" % photo.label))
    for name, content in members:
        entry = tarfile.TarInfo(name)  # owner, time and mode are the same for all
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))


class _Hashing:
    """A file that knows the digest of what was written, for tarfile's streams."""

    def __init__(self, file: Any) -> None:
        self.file, self.digest, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return int(self.file.write(data))


def names(shards: Sequence[Shard]) -> dict[str, int]:
    """Shards by split."""
    counts: dict[str, int] = {}
    for one in shards:
        split = one.file.partition("-")[0]
        counts[split] = counts.get(split, 0) + 1
    return counts
