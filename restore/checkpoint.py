"""Checkpoint files that are whole or not there, whatever kills the process while it writes.

This is the only code that reads and writes them.

A file is a torch archive whose zip comment states its updates and the SHA-256 of all before it: no
second file that could be stale, and every reader of torch archives still opens it.
"""

import hashlib
import io
import os
import pickle
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer

from restore.content import FORMAT, upgrade
from restore.folder import replacing
from restore.hashing import HashingWriter
from restore.run_files import CHECKPOINTS
from restore.types import InputError

SUFFIX = ".ckpt"
TEMPORARY = ".ckpt.tmp"
_SEAL = re.compile(
    rb"restore updates=(\d+) batches=(\d+) (?:run=([0-9a-f]+) )?sha256=([0-9a-f]{64})\Z"
)
_LONGEST_SEAL = 256
_BLOCK = 2**20


class Seal(NamedTuple):
    """What a file says about itself, unchecked."""

    updates: int
    batches: int
    run: str | None  # id of the run that goes on from it; None before runs had one
    digest: str
    length: int  # of the comment


class DurableIO(TorchCheckpointIO):
    """Lightning's way to write checkpoints, through `write`.

    A refused write leaves the old file and is kept in `error` instead of being raised: the other
    processes are already on their way to the barrier that follows.
    """

    def __init__(self) -> None:
        self.error: OSError | None = None

    @classmethod
    def of(cls, trainer: Trainer) -> "DurableIO":
        """The trainer's, put in place by the first who asks."""
        if not isinstance(trainer.strategy.checkpoint_io, cls):
            trainer.strategy.checkpoint_io = cls()
        return trainer.strategy.checkpoint_io

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        try:
            write(checkpoint, Path(path))
            self.error = None
        except OSError as error:
            self.error = error


def write(content: dict[str, Any], path: Path) -> None:
    """Writes, flushes to the disk, reads back, and only then takes the name `path`.

    content["progress"] holds `updates` and `batches`, content["run"] the id of the run, if it has
    one; content["rebuilt"], where it is there, says that no run goes on from this file. On OSError
    the old file stands and nothing else is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name.removesuffix(SUFFIX) + TEMPORARY)
    with replacing(path, temporary, is_whole) as file:
        _write_sealed({"format": FORMAT, **content}, file)


def _write_sealed(content: dict[str, Any], file: BinaryIO) -> None:
    hashing = HashingWriter(file)
    try:
        torch.save(content, cast(BinaryIO, hashing))
    except RuntimeError as error:  # torch's archive writer hides why
        raise hashing.error or error from None
    progress, run = content["progress"], None if "rebuilt" in content else content.get("run")
    stated = f"restore updates={progress['updates']} batches={progress['batches']} "
    stated += f"run={run} sha256=" if run else "sha256="
    hashing.digest.update(stated.encode())
    seal = stated.encode() + hashing.digest.hexdigest().encode()
    file.seek(-2, os.SEEK_END)  # the length of the comment ends a zip archive
    file.write(struct.pack("<H", len(seal)) + seal)


def seal(path: Path) -> Seal | None:
    """The seal at the end of a file; None where there is none."""
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - _LONGEST_SEAL, 0))
        end = file.read()
    start = end.rfind(b"restore updates=")
    found = _SEAL.match(end[start:]) if start >= 0 else None
    if found is None:
        return None
    run = None if found[3] is None else found[3].decode()
    return Seal(int(found[1]), int(found[2]), run, found[4].decode(), len(end) - start)


def is_whole(path: Path) -> bool:
    """Whether every byte of the file is as it was meant to be written."""
    stated = seal(path)
    if stated is None:
        return False
    body = path.stat().st_size - stated.length - 2
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in _blocks(file, body):
            digest.update(block)
        length, comment = file.read(2), file.read()
    digest.update(b"\0\0" + comment[:-64])
    return length == struct.pack("<H", stated.length) and digest.hexdigest() == stated.digest


def _blocks(file: io.BufferedReader, size: int) -> Iterator[bytes]:
    while size > 0:
        block = file.read(min(_BLOCK, size))
        if not block:
            return
        size -= len(block)
        yield block


def newest_valid(
    folder: Path, belongs: Callable[[Seal], bool] = lambda stated: True
) -> tuple[Path | None, list[Path]]:
    """The whole checkpoint of most updates in `folder`, and the damaged ones that were passed over.

    Between equals, the one that was written last. What does not belong is not looked at.
    """
    found = [(seal(path), path) for path in folder.glob(f"*{SUFFIX}")]
    damaged = [path for stated, path in found if stated is None]
    sealed = [(stated, path) for stated, path in found if stated is not None and belongs(stated)]
    sealed.sort(key=lambda one: (*one[0][:2], one[1].stat().st_mtime_ns), reverse=True)
    for _, path in sealed:
        if is_whole(path):
            return path, damaged
        damaged.append(path)
    return None, damaged


def best_of(path: Path) -> Path:
    """The best checkpoint of a run folder; a file is itself."""
    return path / CHECKPOINTS / f"best{SUFFIX}" if path.is_dir() else path


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, with today's class paths; no code from the file runs.

    Raises:
        InputError: no such file, one that is damaged or was not written by restore, one of a newer
            format, or one that holds other types than it should.
    """
    if not path.is_file():
        way_out = _instead(path) or "give a run, a .ckpt file or a released name"
        raise InputError(f"{path} does not exist: {way_out}")
    if not is_whole(path):
        way_out = _instead(path) or "no other checkpoint beside it is whole"
        raise InputError(f"{path} is damaged, or was not written by restore: {way_out}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is not trusted: {reason}") from error
    return upgrade(content, path)


def _instead(path: Path) -> str | None:
    """What to take in the place of a file that is damaged or, of a young run, not there yet."""
    other, _ = newest_valid(path.parent)
    stated = None if other is None else seal(other)
    return None if stated is None else f"{other} of update {stated.updates} is whole"
