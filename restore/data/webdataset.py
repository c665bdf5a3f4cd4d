"""Local webdataset shards, read at random by the offsets of their members.

webdataset itself reads shards as streams: without exact shuffling, resumption or one pass over
every sample in several processes. Nothing is unpickled and no command in a shard name is run.
"""

import re
import tarfile
import warnings
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from restore.data.image_file import load_image
from restore.data.source import CHANNELS, Item, Mode, Split, check_fraction, held_out
from restore.types import InputError

_IMAGE = ("jpg", "jpeg", "png", "webp")
_OTHER = ("cls", "json", "txt")
_BLOCK = tarfile.BLOCKSIZE


class Member(NamedTuple):
    offset: int
    size: int


class Sample(NamedTuple):
    key: str
    shard: Path
    members: dict[str, Member]  # by extension


class WebDataset:
    """Samples in the order of their keys, labelled by .cls where `num_classes` is given.

    `train` and `test` are paths of shards below root, with braces: `flowers-{000..007}.tar`.
    Validation is `val_fraction` of the train shards, by a hash of the key; without `test`, the
    test split is the validation split.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        train: str,
        test: str | None = None,
        val_fraction: float = 0.05,
        mode: Mode = "rgb",
        num_classes: int | None = None,
    ) -> None:
        self.root, self.split = root, split
        self.train, self.test = train, test
        self.val_fraction = check_fraction(val_fraction)
        self.channels, self.num_classes = CHANNELS[mode], num_classes

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Item:
        sample = self._samples[index]
        extension = next(one for one in _IMAGE if one in sample.members)
        name = f"{sample.shard}: {sample.key}.{extension}"
        image = load_image(self._read(sample, extension), self.channels, name)
        return Item(image, self._label(sample), sample.key)

    def _label(self, sample: Sample) -> int | None:
        if self.num_classes is None:
            return None
        text = self._read(sample, "cls").strip() if "cls" in sample.members else b""
        if not text.isdigit() or int(text) >= self.num_classes:
            raise InputError(
                f"{sample.shard}: {sample.key}.cls is missing or holds no class below "
                f"{self.num_classes} (data.source.num_classes)"
            )
        return int(text)

    def _read(self, sample: Sample, extension: str) -> bytes:
        member = sample.members[extension]
        with open(sample.shard, "rb") as file:
            file.seek(member.offset)
            return file.read(member.size)

    @cached_property
    def _samples(self) -> list[Sample]:
        own_test = self.split == "test" and self.test is not None
        pattern = self.test if own_test and self.test is not None else self.train
        samples = [sample for path in shards(self.root, pattern) for sample in index_shard(path)]
        samples.sort(key=lambda sample: (sample.key, sample.shard))
        if own_test:
            return samples
        held = held_out([sample.key for sample in samples], self.val_fraction)
        return [sample for sample in samples if (sample.key in held) == (self.split != "train")]


def shards(root: Path, pattern: str) -> list[Path]:
    """The files that a brace pattern names; InputError where one is missing or not a local path."""
    from braceexpand import braceexpand

    paths = []
    for name in braceexpand(pattern):
        if re.match(r"\w+:", name):
            raise InputError(f"shard {name}: only local paths are read, no pipes and no addresses")
        paths.append(root / name)
        if not paths[-1].is_file():
            raise InputError(
                f"shard {name} not found in {root.absolute()}: put the webdataset shards there, or "
                "set data.root or $RESTORE_DATA to the folder that holds them"
            )
    return paths


def index_shard(path: Path) -> list[Sample]:
    """The samples of a shard, from its headers alone.

    Members are grouped by webdataset's rule: the key is the path up to the first dot of the file
    name. Warns of members that are left out.

    Raises:
        InputError: truncated, damaged, or with two members of one name.
    """
    from webdataset.tariterators import base_plus_ext

    samples: dict[str, Sample] = {}
    skipped: Counter[str] = Counter()
    for entry in _entries(path):
        key, extension = base_plus_ext(entry.name)
        extension = (extension or "").lower()
        if extension not in _IMAGE + _OTHER or not key or entry.type not in tarfile.REGULAR_TYPES:
            skipped[f".{extension}"] += not entry.isdir()
            continue
        members = samples.setdefault(key, Sample(key, path, {})).members
        if extension in members:
            raise InputError(f"shard {path}: two members are named {key}.{extension}")
        members[extension] = Member(entry.offset_data, entry.size)
    complete = [sample for sample in samples.values() if sample.members.keys() & set(_IMAGE)]
    skipped["without an image"] = len(samples) - len(complete)
    if +skipped:
        warnings.warn(f"shard {path}: left out {dict(+skipped)}", stacklevel=2)
    return complete


def _entries(path: Path) -> list[tarfile.TarInfo]:
    """All headers. tarfile alone would not miss the two blocks of zeros that end an archive."""
    entries: list[tarfile.TarInfo] = []
    end = 0
    try:
        with tarfile.open(path, "r:") as tar:
            for entry in tar:
                if entry.offset < end or entry.offset_data <= entry.offset or entry.size < 0:
                    raise tarfile.ReadError("overlapping members")
                end = entry.offset_data + -(-entry.size // _BLOCK) * _BLOCK
                entries.append(entry)
        with open(path, "rb") as file:
            file.seek(end)
            if file.read(2 * _BLOCK) != bytes(2 * _BLOCK):
                raise tarfile.ReadError("no end of archive where the last member ends")
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise InputError(f"shard {path} is truncated or damaged: {error}") from error
    return entries
