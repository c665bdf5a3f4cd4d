"""A training split that is read as a stream by webdataset: more shards than fit, or far away.

The order is f(seed, epoch), of the shards and within them, but it depends on how many workers and
processes share it. Local shards are better read by restore.data.webdataset, where it does not.
"""

import contextlib
import itertools
import random
import tarfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from restore.data import opener
from restore.data.archive import members, open_tar
from restore.data.image_file import load_image
from restore.data.item import count, make_source, read_item
from restore.data.name import printable
from restore.data.shard import IMAGE, class_of, key_and_extension, why_left_out
from restore.data.source import CHANNELS, Item, Mode, Source, Split
from restore.stream import SampleStream
from restore.types import InputError

Member = tuple[str, str, bytes]  # name, extension, content
Sample = dict[str, Any]  # members of one key as bytes, by extension, and where they come from


class ShardReader(NamedTuple):
    """One of the readers that share the shards: a worker of a process."""

    rank: int = 0
    world: int = 1
    worker: int = 0
    workers: int = 1

    @property
    def number(self) -> int:
        return self.rank * self.workers + self.worker

    @property
    def readers(self) -> int:
        return self.world * self.workers


def order(
    shards: Sequence[str], seed: int, epoch: int, turn: int, reader: ShardReader
) -> list[str]:
    """The shards of one reader in a pass over all: shuffled, and shared out without rest.

    A function of its arguments. Where the number of readers does not divide that of shards, some
    read one more.
    """
    shuffled = list(shards)
    random.Random(seed_of(seed, epoch, turn)).shuffle(shuffled)
    return shuffled[reader.number :: reader.readers]


def seed_of(*keys: int) -> int:
    """One seed of all keys: see `restore.stream.fold`."""
    return SampleStream(0, *keys).seed


class Streaming:
    """Training samples from shards at addresses or in files; other splits are those of `held`.

    shards: paths below root, with braces or stars, or http, https, s3 and gs addresses with braces:
    `https://HOST/train-{000000..000999}.tar`. held: a source for validation and test.
    samples_per_epoch: of all processes together, since nobody knows what a stream holds.
    buffer: encoded samples that are shuffled with each other, a worker. cache: folder that keeps
    every shard once it is read. timeout: seconds without a byte after which a shard is given up;
    such shards, and broken ones, are left out with a warning.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        shards: str,
        held: Callable[..., Source],
        samples_per_epoch: int,
        buffer: int = 1000,
        cache: str | None = None,
        timeout: float = 60.0,
        mode: Mode = "rgb",
        num_classes: int | None = None,
    ) -> None:
        for name, value in (("samples_per_epoch", samples_per_epoch), ("buffer", buffer)):
            if value < 1:
                raise InputError(f"data.source.{name} must be at least 1, got {value}")
        if timeout <= 0:
            raise InputError(f"data.source.timeout must be above 0 seconds, got {timeout}")
        self.root, self.split, self.pattern = root, split, shards
        self.held = make_source(held, root, split) if split != "train" else None
        self.samples_per_epoch, self.buffer = samples_per_epoch, buffer
        self.cache = None if cache is None else Path(cache).expanduser()
        self.timeout = timeout
        self.channels, self.num_classes = CHANNELS[mode], num_classes

    def __len__(self) -> int:
        return self.samples_per_epoch if self.held is None else count(self.held)

    def __getitem__(self, index: int) -> Item:
        """A sample; of the training split the first of the shard that lies where the index does."""
        if self.held is not None:
            return read_item(self.held, index)
        shards = self.shards
        return self._item(next(self._read([shards[index * len(shards) // len(self)]])))

    @property
    def shards(self) -> list[str]:
        """The shards in the order of the pattern; InputError where it names none."""
        return opener.addresses(self.root, self.pattern)

    def check(self, reader: ShardReader) -> None:
        """Raises InputError for more readers than shards."""
        if len(self.shards) < reader.readers:
            raise InputError(
                f"{len(self.shards)} shards for {reader.world} processes times {reader.workers} "
                "workers: each needs one of its own; lower data.num_workers, or make more shards"
            )

    def items(self, seed: int, epoch: int, reader: ShardReader, start: int = 0) -> Iterator[Item]:
        """The samples of one reader in an epoch, behind the first `start`: pass by pass, without
        end, and shuffled within a pass alone, so that none comes twice before all have come.

        Raises:
            InputError: more readers than shards, or a pass in which no shard could be read.
        """
        self.check(reader)
        shards = self.shards
        samples = (
            sample
            for turn in itertools.count()
            for sample in self._read(
                order(shards, seed, epoch, turn, reader),
                random.Random(seed_of(seed, epoch, turn, reader.number)),
            )
        )
        yield from map(self._item, itertools.islice(samples, start, None))

    def _read(self, shards: list[str], draw: random.Random | None = None) -> Iterator[Sample]:
        """webdataset's pipeline; nothing is decoded before it is shuffled and wanted."""
        import webdataset

        stages: list[Any] = [webdataset.tariterators.group_by_keys]
        if draw is not None:
            stages.append(webdataset.shuffle(self.buffer, rng=draw))
        for sample in webdataset.DataPipeline(lambda: self._members(shards), *stages):
            if not sample.keys().isdisjoint(IMAGE):
                yield sample

    def _item(self, sample: Sample) -> Item:
        ending = next(one for one in IMAGE if one in sample)
        name = f"{sample['__url__']}: {sample['__key__']}.{ending}"
        image = load_image(sample[ending], self.channels, name)
        return Item(image, self._label(sample), printable(sample["__key__"]))

    def _members(self, shards: list[str]) -> Iterator[Sample]:
        """Members of shards in turn, `{}` behind each, which ends a sample."""
        found = 0
        for url in shards:
            try:
                with contextlib.closing(self._opened(url)) as stream:
                    for name, extension, data in _once(_wanted(stream), url):
                        found += extension in IMAGE
                        yield {"fname": name, "data": data, "__url__": url}
            except InputError:
                raise
            except (OSError, EOFError, ValueError, tarfile.TarError, HTTPException) as error:
                warnings.warn(f"shard {url} left out from here: {error}", stacklevel=2)
            yield {}
        if not found:
            raise InputError(f"no image in any of {len(shards)} shards, such as {shards[0]}")

    def _opened(self, url: str) -> Any:
        if self.cache is not None and "://" in url:
            return open(opener.download(url, self.timeout, self.cache), "rb")
        return opener.open_url(url, self.timeout)

    def _label(self, sample: Sample) -> int | None:
        if self.num_classes is None:
            return None
        named = f"{sample['__url__']}: {sample['__key__']}"
        return class_of(sample.get("cls", b""), self.num_classes, named)


def _once(members: Iterator[Member], url: str) -> Iterator[Member]:
    """The members; InputError where two of a sample have one name, as of shards with an index."""
    sample, kinds = "", set[str]()
    for name, extension, data in members:
        key, _ = key_and_extension(name)
        if key != sample:
            sample, kinds = key, set()
        if extension in kinds:
            raise InputError(f"shard {url}: two members are named {printable(key)}.{extension}")
        kinds.add(extension)
        yield name, extension, data


def _wanted(stream: opener.Readable) -> Iterator[Member]:
    """Each member that is a part of a sample."""
    with open_tar(stream, "r|*") as tar:
        for entry in members(tar):
            key, extension = key_and_extension(entry.name)
            left_out = why_left_out(entry, key, extension)
            file = None if left_out else tar.extractfile(entry)
            if file is not None:
                yield entry.name, extension, file.read()
