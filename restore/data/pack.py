"""A folder of photos as webdataset shards: the files as they are, in the order of a plan."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

from restore.data.name import printable
from restore.data.shard import index_shard
from restore.data.shard_plan import FORMAT, PackedPhoto, Shard, ShardPlan
from restore.folder import replacing, write_whole
from restore.hashing import HashingWriter
from restore.types import InputError

MANIFEST, PARTS = "manifest.json", ".parts"


def write(
    made: ShardPlan, source: Path, folder: Path, workers: int, tell: Callable[[int], object]
) -> dict[str, Any]:
    """Writes the shards that are not there yet, and last of all the manifest, which it returns.

    tell: called with the photos that are done. A shard is whole or not there, and read back.

    Raises:
        InputError: `folder` holds something else, or a photo cannot be read or changed meanwhile.
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


def find_manifest(made: ShardPlan, folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder that holds all shards of this plan already."""
    manifest = _read_manifest(folder)
    if manifest is None or manifest["plan"] != made.digest:
        return None
    whole = all(_size(folder / one["file"]) == one["bytes"] for one in manifest["shards"])
    return manifest if whole else None


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """None where there is none, or something of that name which is no manifest of shards."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(found, dict) and {"format", "plan", "shards"} <= set(found)
    return found if ours and found["format"] == FORMAT else None


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _begin(made: ShardPlan, folder: Path) -> Path:
    """The folder of what is known of finished shards, which belong to this plan alone.

    Of a finished folder that has lost a shard since then it is what its manifest says.
    """
    parts, manifest = folder / PARTS, _read_manifest(folder)
    plan_file = parts / "plan"
    if folder.exists() and any(folder.iterdir()):
        if not plan_file.is_file() and manifest is None:
            raise InputError(f"{folder} holds something else: name a new folder")
        begun = plan_file.read_text(encoding="utf-8") if manifest is None else manifest["plan"]
        if begun != made.digest:
            raise InputError(
                f"{folder} was begun with other photos or settings: take them back, or remove it"
            )
    parts.mkdir(parents=True, exist_ok=True)
    write_whole(plan_file, made.digest)
    for record in manifest["shards"] if manifest is not None else ():
        write_whole(parts / f"{record['file']}.json", json.dumps(record))
    return parts


def _shard(shard: Shard, source: Path, folder: Path) -> dict[str, Any]:
    path, known = folder / shard.file, folder / PARTS / f"{shard.file}.json"
    if known.is_file():
        record: dict[str, Any] = json.loads(known.read_text(encoding="utf-8"))
        if _size(path) == record["bytes"]:
            return record
    with replacing(path, folder / PARTS / f"{shard.file}.tmp") as file:
        hashing = HashingWriter(file)
        with tarfile.open(
            fileobj=cast(BinaryIO, hashing), mode="w|", format=tarfile.GNU_FORMAT
        ) as tar:
            for photo in shard.photos:
                _add(tar, photo, source)
    found = len(index_shard(path).samples)
    if found != len(shard.photos):
        raise InputError(f"{path} reads back {found} of {len(shard.photos)} photos: is a disk bad?")
    digest = hashing.digest.hexdigest()
    record = {"file": shard.file, "samples": found, "bytes": hashing.size, "sha256": digest}
    write_whole(known, json.dumps(record))
    return record


def _add(tar: tarfile.TarFile, photo: PackedPhoto, source: Path) -> None:
    path = source / photo.name
    try:
        data = path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise InputError(
            f"{printable(str(path))} cannot be read: {error.strerror}: make it readable, or take "
            "it out of SRC"
        ) from error
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
