"""Which photo of a folder goes into which shard, in an order shuffled once.

The order is that of a hash of the names, so that a stream of shards is no stream of one folder
after another, and equal folders give equal bytes.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from restore.data.division import check_names
from restore.data.image_file import SUFFIXES
from restore.data.source import SPLITS
from restore.data.walk import OUTSIDE, walk
from restore.types import InputError

FORMAT = 1


class PackedPhoto(NamedTuple):
    name: str  # path below the source
    size: int
    changed: int  # time of the file, ns
    key: str
    label: int | None


class Shard(NamedTuple):
    file: str
    photos: list[PackedPhoto]


class ShardPlan(NamedTuple):
    shards: list[Shard]
    classes: list[str]
    left_out: dict[str, int]  # files by reason
    digest: str  # of all that decides about a byte


def plan(source: Path, shard_bytes: int, labelled: bool) -> ShardPlan:
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
        left_out[OUTSIDE] = len(listing.names) - inside
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
    return ShardPlan(shards, classes, {k: v for k, v in left_out.items() if v}, digest)


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


def count_by_split(shards: Sequence[Shard]) -> dict[str, int]:
    """Number of shards of each split."""
    counts: dict[str, int] = {}
    for one in shards:
        split = one.file.partition("-")[0]
        counts[split] = counts.get(split, 0) + 1
    return counts
