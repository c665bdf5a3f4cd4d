"""What every data source is, where its files are looked for, and how a split is held out."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, Self, runtime_checkable

from torch import Tensor

from restore.types import InputError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Mode = Literal["rgb", "gray"]
CHANNELS: dict[Mode, int] = {"rgb": 3, "gray": 1}


class Item(NamedTuple):
    image: Tensor  # uint8 [C, H, W]
    label: int | None
    name: str


class Source(Protocol):
    """Map-style images of one split. Made by `source(root=..., split=...)`.

    Making one touches no file, so that `channels` and `num_classes` are known without the data;
    `len` and indexing read the files and raise InputError where they are missing or broken.
    """

    @property
    def channels(self) -> int: ...

    @property
    def num_classes(self) -> int | None: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item: ...


@runtime_checkable
class Divided(Source, Protocol):
    """A source of files that are looked up once for all splits."""

    def left_out(self) -> Counter[str]:
        """Files that are no data, by reason; of all splits that have been looked at."""
        ...

    def sibling(self, split: Split) -> Self:
        """Another split of the same files."""
        ...


@runtime_checkable
class StoredSource(Source, Protocol):
    """A source with one file, or one member of an archive, an image."""

    def size(self, index: int) -> int:
        """Bytes of the file."""
        ...

    def content(self, index: int) -> bytes: ...

    def opened(self, index: int) -> Path | bytes:
        """What `load_image` takes; a path where only the start of a file has to be read."""
        ...

    def name(self, index: int) -> str: ...


def data_root(root: str | None) -> Path:
    """The folder of the data: `root`, else $RESTORE_DATA, else ./data."""
    return Path(root or os.environ.get("RESTORE_DATA") or "data").expanduser()


def held_out(names: Sequence[str], fraction: float) -> set[str]:
    """The names that validation keeps from training, about `fraction` of them and at least one.

    Each name is judged by its own hash, so new photos never move an old one across the split.
    """
    share = {name: _unit_hash(name) for name in names}
    return {name for name in names if share[name] < fraction} or set(
        sorted(names, key=lambda name: share[name])[:1]
    )


def _unit_hash(name: str) -> float:
    """SHA-256 of the name as a number in [0, 1)."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def check_fraction(val_fraction: float) -> float:
    if not 0 < val_fraction <= 1:
        raise InputError(f"val_fraction must be above 0 and at most 1, got {val_fraction}")
    return val_fraction


def check_least(least: int, **settings: int) -> None:
    """Raises InputError for a setting of the data below `least`."""
    for name, value in settings.items():
        if value < least:
            raise InputError(f"data.{name} must be at least {least}, got {value}")


def packaged(package: str, path: str) -> Path:
    """A file inside an installed package, which is not imported: scikit-learn's takes a second."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(spec.origin).parent / path
