"""Local webdataset shards, read at random by the offsets of their members.

webdataset itself reads shards as streams: without exact shuffling, resumption or one pass over
every sample in several processes. Nothing is unpickled and no command in a shard name is run.
"""

import copy
import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Self

from restore import collector
from restore.data.image_file import load_image
from restore.data.name import printable
from restore.data.shard import IMAGE, Index, Sample, class_of, named
from restore.data.shard_index import shard_index
from restore.data.source import CHANNELS, Item, Mode, Split, check_fraction, held_out
from restore.types import InputError


class WebDataset:
    """Samples in the order of their keys, labelled by .cls where `num_classes` is given.

    `train`, `val` and `test` are paths of shards below root, with braces (`flowers-{000..007}.tar`)
    or stars; stars of val and test may fit no file, as if they were not given. Without `val`,
    validation is `val_fraction` of the train shards, by a hash of the key; without `test`, the test
    split is the validation split.
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
        val: str | None = None,
    ) -> None:
        self.root, self.split = root, split
        self.train, self.test, self.val = train, test, val
        self.val_fraction = check_fraction(val_fraction)
        self.channels, self.num_classes = CHANNELS[mode], num_classes
        # Shared with siblings, filled by the first to look.
        self._indices: dict[Path, Index] = {}
        self._division: dict[Split, list[Sample]] = {}

    def sibling(self, split: Split) -> Self:
        """Another split of the same shards, which are not indexed again for it."""
        other = copy.copy(self)
        other.__dict__.pop("_samples", None)
        other.split = split
        return other

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Item:
        sample = self._samples[index]
        extension = _image(sample)
        name = f"{sample.shard}: {sample.key}.{extension}"
        image = load_image(self._read(sample, extension), self.channels, name)
        return Item(image, self._label(sample), printable(sample.key))

    def left_out(self) -> Counter[str]:
        return sum((index.left_out for index in self._indices.values()), Counter())

    def size(self, index: int) -> int:
        sample = self._samples[index]
        return sample.members[_image(sample)].size

    def content(self, index: int) -> bytes:
        sample = self._samples[index]
        return self._read(sample, _image(sample))

    def opened(self, index: int) -> bytes:
        return self.content(index)

    def name(self, index: int) -> str:
        return printable(self._samples[index].key)

    def _label(self, sample: Sample) -> int | None:
        if self.num_classes is None:
            return None
        text = self._read(sample, "cls") if "cls" in sample.members else b""
        return class_of(text, self.num_classes, f"{sample.shard}: {sample.key}")

    def _read(self, sample: Sample, extension: str) -> bytes:
        member = sample.members[extension]
        try:
            with open(sample.shard, "rb") as file:
                file.seek(member.offset)
                return file.read(member.size)
        except OSError as error:
            raise InputError(f"shard {sample.shard} cannot be read: {error.strerror}") from error

    @cached_property
    def _samples(self) -> list[Sample]:
        if self.split == "test" and self._has(self.test):
            return self._of(str(self.test))
        if self._has(self.val):
            return self._of(self.train if self.split == "train" else str(self.val))
        if not self._division:
            samples = self._of(self.train)
            held = held_out([sample.key for sample in samples], self.val_fraction)
            self._division["val"] = [sample for sample in samples if sample.key in held]
            self._division["train"] = [sample for sample in samples if sample.key not in held]
        return self._division["train" if self.split == "train" else "val"]

    def _has(self, pattern: str | None) -> bool:
        """Whether there are such shards; those that are named and not there are missed later."""
        return pattern is not None and (
            "*" not in pattern or any(found for _, found in named(self.root, pattern))
        )

    def _of(self, pattern: str) -> list[Sample]:
        """The samples of these shards in the order of their keys."""
        samples: list[Sample] = []
        with collector.paused(lasting=False):  # many small records, and no garbage
            for path in shards(self.root, pattern):
                if path not in self._indices:
                    self._indices[path] = shard_index(path)
                samples += self._indices[path].samples
        return sorted(samples, key=lambda sample: (sample.key, sample.shard))


def _image(sample: Sample) -> str:
    return next(extension for extension in IMAGE if extension in sample.members)


def shards(root: Path, pattern: str) -> list[Path]:
    """The files that a brace pattern names; InputError where one is missing or not a local path."""
    paths: list[Path] = []
    for name, found in named(root, pattern):
        if re.match(r"\w+:", name):
            raise InputError(f"shard {name}: only local paths are read, no pipes and no addresses")
        if not found:
            raise InputError(
                f"shard {name or 'of no name'} not found in {root.absolute()}: put the webdataset "
                "shards there, name others as data.source.train, val or test, or set data.root or "
                "$RESTORE_DATA to the folder that holds them"
            )
        paths += found
    return paths
