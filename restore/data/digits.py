"""The handwritten digits inside scikit-learn: 1797 grey images of 8x8 pixels, no download."""

import functools
import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from restore.data.source import Item, Split, packaged
from restore.stream import fold

_RANGE: dict[Split, tuple[int, int]] = {
    "train": (0, 1097),
    "val": (1097, 1297),
    "test": (1297, 1797),
}


class Digits:
    """1097 training, 200 validation and 500 test digits, in one fixed shuffled order."""

    channels = 1
    num_classes = 10

    def __init__(self, root: Path, split: Split) -> None:
        self.start, self.stop = _RANGE[split]

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> Item:
        images, labels, order = _table()
        number = int(order[self.start : self.stop][index])
        return Item(images[number], int(labels[number]), f"digits_{number:04d}")


@functools.cache
def _table() -> tuple[Tensor, Tensor, Tensor]:
    """Images uint8 [1797, 1, 8, 8], labels [1797] and the order of all splits [1797]."""
    path = packaged("sklearn", "datasets/data/digits.csv.gz")
    with gzip.open(path, "rt", encoding="ascii") as rows:
        table = torch.from_numpy(np.loadtxt(rows, delimiter=","))
    sixteenths = table[:, :64].reshape(-1, 1, 8, 8)
    images = (sixteenths * 255 / 16).round().to(torch.uint8)
    count = torch.arange(len(images))
    order = fold(torch.zeros_like(count), count).argsort()
    return images, table[:, 64].long(), order
