"""SHA-256 of a file, and of what is written, known without reading it back."""

import hashlib
from pathlib import Path
from typing import BinaryIO


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal; it is never in memory as a whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class HashingWriter:
    """A file for `torch.save` and `tarfile` that hashes what is meant to be written.

    The digest is that of the bytes given, not of what a disk made of them. `error` keeps the last
    OSError of the disk, which torch's archive writer hides behind one of its own.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest, self.size = hashlib.sha256(), 0  # of the bytes so far
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()
