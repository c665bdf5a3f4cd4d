"""The index of a shard, kept beside it so that a next start need not read its headers."""

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from restore.data.shard import Index, Member, Sample, index_shard
from restore.folder import cache, write_whole

_VERSION = 3  # of what is stored and of the rules by which it was made
_FOLDER = ".restore-index"
_PATIENCE = 600  # seconds to wait for another process that makes the same index


def shard_index(path: Path) -> Index:
    """`index_shard`, made once for all processes and kept for as long as the shard's size and time
    of change stay: in a hidden folder beside it, else in the user's cache folder."""
    kept = _place(path)
    if kept is None:
        return index_shard(path)
    index = _read(kept, path)
    if index is not None:
        return index
    with _alone(kept):
        index = _read(kept, path)
        if index is None:
            state = _state(path)
            index = index_shard(path)
            _write(kept, state, index)
        return index


def _place(path: Path) -> Path | None:
    """The index file of a shard in a folder where files can be made."""
    absolute = path.absolute()
    digest = hashlib.sha256(os.fsencode(absolute)).hexdigest()[:16]
    for folder, name in (
        (absolute.parent / _FOLDER, path.name),
        (cache() / "index", f"{digest}-{path.name}"),
    ):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK | os.X_OK):
                return folder / f"{name}.json"
    return None


@contextlib.contextmanager
def _alone(kept: Path) -> Iterator[None]:
    """One process at a time, where the file system has locks."""
    lock = FileLock(kept.with_suffix(".lock"), timeout=_PATIENCE)
    with contextlib.suppress(OSError, NotImplementedError, Timeout):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [_VERSION, status.st_size, status.st_mtime_ns]


def _read(kept: Path, path: Path) -> Index | None:
    """The stored index; None where there is none of the shard as it is now."""
    try:
        content: dict[str, Any] = json.loads(kept.read_bytes())
        if content["state"] != _state(path):
            return None
        samples = [
            Sample(key, path, {name: Member._make(at) for name, at in members.items()})
            for key, members in content["samples"]
        ]
        return Index(samples, Counter(content["left_out"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(kept: Path, state: list[int], index: Index) -> None:
    """Writes the index whole or not at all; a full disk costs the next start time, no more."""
    samples = [[sample.key, sample.members] for sample in index.samples]
    content = {"state": state, "left_out": index.left_out, "samples": samples}
    with contextlib.suppress(OSError):
        write_whole(kept, json.dumps(content, separators=(",", ":")))
