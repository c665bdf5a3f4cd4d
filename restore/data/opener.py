"""Shards at addresses: opened as streams that end where their server falls silent or breaks off."""

import hashlib
import os
import re
import select
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from filelock import FileLock

from restore.data.shard import named
from restore.folder import replacing
from restore.types import InputError

SCHEMES = ("http", "https", "s3", "gs")
_CHUNK = 2**20


class Readable(Protocol):
    def read(self, size: int) -> bytes: ...

    def close(self) -> None: ...


def addresses(root: Path, pattern: str) -> list[str]:
    """Local paths below root and addresses that a pattern with braces and `*` names, in order.

    Raises:
        InputError: `pipe:` and other schemes, or a local pattern that names no file.
    """
    found: list[str] = []
    for name, local in named(root, pattern):
        scheme = re.match(r"(\w+):", name)
        if scheme is not None:
            if scheme[1] not in SCHEMES or not urllib.parse.urlparse(name).netloc:
                raise InputError(
                    f"shard {name}: only {', '.join(SCHEMES)} addresses and local paths are read, "
                    "no commands"
                )
            found.append(name)
            continue
        if not local:
            raise InputError(
                f"shard {name or 'of no name'} not found in {root.absolute()}: put the shards "
                "there, or name others as data.source.shards"
            )
        found += map(str, local)
    return found


def open_url(url: str, timeout: float) -> Readable:
    """A shard as a stream whose `read` raises OSError after `timeout` seconds without a byte.

    s3 and gs go through the tools of their clouds, aws and gsutil, and their credentials.
    """
    scheme = urllib.parse.urlparse(url).scheme
    if scheme in ("http", "https"):
        return _Counted(urllib.request.urlopen(url, timeout=timeout))
    if scheme in ("s3", "gs"):
        return _Patient(_tool(scheme, url), timeout)
    return cast(BinaryIO, open(url, "rb"))


def _tool(scheme: str, url: str) -> Any:
    """webdataset's pipe of a cloud's own tool; it knows gs alone."""
    from webdataset.gopen import Pipe, gopen

    name = {"s3": "aws", "gs": "gsutil"}[scheme]
    if shutil.which(name) is None:
        raise InputError(f"shard {url}: {scheme} addresses are read by {name}: install it")
    if scheme == "gs":
        return gopen(url)
    return Pipe(["aws", "s3", "cp", "--only-show-errors", url, "-"], mode="rb", bufsize=_CHUNK)


class _Counted:
    """An answer over HTTP, which may end early without a word: its bytes are counted."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.seen = answer, 0
        length = answer.headers.get("Content-Length")
        self.length = None if length is None else int(length)

    def read(self, size: int) -> bytes:
        data: bytes = self.answer.read(size)
        self.seen += len(data)
        if not data and size and self.length is not None and self.seen < self.length:
            raise OSError(f"the server broke off after {self.seen} of {self.length} bytes")
        return data

    def close(self) -> None:
        self.answer.close()


class _Patient:
    """The output of a tool, with a limit on its silence."""

    def __init__(self, pipe: Any, timeout: float) -> None:
        self.pipe, self.timeout = pipe, timeout

    def read(self, size: int) -> bytes:
        file = self.pipe.proc.stdout.fileno()  # its buffer would hide what is there
        if not select.select([file], [], [], self.timeout)[0]:
            self.pipe.proc.kill()
            raise TimeoutError(f"no byte for {self.timeout} s")
        data = os.read(file, size)
        if not data and self.pipe.proc.wait() != 0:
            raise OSError(f"{self.pipe.args[0][0][0]} ended with {self.pipe.proc.returncode}")
        return data

    def close(self) -> None:
        self.pipe.proc.kill()
        self.pipe.proc.stdout.close()
        self.pipe.proc.wait()


def download(url: str, timeout: float, cache: Path) -> Path:
    """The shard in the cache folder; fetched first where it is not there, as a whole or not.

    By one process at a time: the others wait for it, and the part that one has left which was
    killed is written over.
    """
    mark = hashlib.sha256(url.encode()).hexdigest()[:16]
    path = cache / f"{mark}-{Path(urllib.parse.urlparse(url).path).name}"
    if path.is_file():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.is_file():
            with replacing(path, part) as file:
                for data in _chunks(open_url(url, timeout)):
                    file.write(data)
    return path


def _chunks(stream: Readable) -> Iterator[bytes]:
    try:
        while data := stream.read(_CHUNK):
            yield data
    finally:
        stream.close()
