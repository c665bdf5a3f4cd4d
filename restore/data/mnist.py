"""MNIST (LeCun, Cortes, Burges): 70,000 grey handwritten digits of 28x28 pixels."""

import gzip
import hashlib
import urllib.request
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from restore.data.source import Item, Split
from restore.folder import write_whole
from restore.types import InputError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
_RANGE: dict[Split, tuple[str, int, int]] = {
    "train": ("train", 0, 55000),
    "val": ("train", 55000, 60000),
    "test": ("t10k", 0, 10000),
}
_TIMEOUT = 2.5  # seconds for each mirror to answer


class MNIST:
    """The idx.gz files in root/mnist: the last 5,000 training images are the validation split.

    With `download`, a missing file is fetched from a public mirror.
    """

    channels = 1
    num_classes = 10

    def __init__(self, root: Path, split: Split, download: bool = True) -> None:
        self.folder, self.download = root / "mnist", download
        self.part, self.start, self.stop = _RANGE[split]

    def __len__(self) -> int:
        return len(self._data[0])

    def __getitem__(self, index: int) -> Item:
        images, labels = self._data
        name = f"{self.part}_{self.start + index:05d}"
        return Item(images[index], int(labels[index]), name)

    @cached_property
    def _data(self) -> tuple[Tensor, Tensor]:
        """Images uint8 [N, 1, 28, 28] and labels uint8 [N]."""
        images = self._read(f"{self.part}-images-idx3-ubyte.gz", header=16)
        labels = self._read(f"{self.part}-labels-idx1-ubyte.gz", header=8)
        own = slice(self.start, self.stop)
        return images.view(-1, 1, 28, 28)[own].clone(), labels[own].clone()

    def _read(self, name: str, header: int) -> Tensor:
        """The bytes after the header of a file whose checksum is right."""
        path = self.folder / name
        if not path.is_file():
            self._fetch(path)
        packed = path.read_bytes()
        if hashlib.md5(packed).hexdigest() != MD5[name]:
            raise InputError(f"{path} is not the MNIST file of that name (md5 differs): delete it")
        return torch.frombuffer(bytearray(gzip.decompress(packed)[header:]), dtype=torch.uint8)

    def _fetch(self, path: Path) -> None:
        reason = "data.source.download is off"
        for mirror in MIRRORS if self.download else ():
            try:
                with urllib.request.urlopen(mirror + path.name, timeout=_TIMEOUT) as reply:
                    packed = reply.read()
                if hashlib.md5(packed).hexdigest() == MD5[path.name]:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    return write_whole(path, packed)
                reason = f"{mirror} sent another file"
            except OSError as error:
                reason = f"download failed: {error}"
        raise InputError(
            f"MNIST: {path.name} not found in {path.parent.absolute()} ({reason}): put the four "
            f"idx.gz files from {MIRRORS[0]} there, or set data.root or $RESTORE_DATA"
        )
