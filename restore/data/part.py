"""A source without the images that are left out of it."""

from collections.abc import Sequence
from pathlib import Path

from restore.data.item import read_item
from restore.data.source import Item, Source, StoredSource


class Part:
    """The images of `source` at `places`, in that order."""

    def __init__(self, source: Source, places: Sequence[int]) -> None:
        self.source, self.places = source, places
        self.channels, self.num_classes = source.channels, source.num_classes

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Item:
        return read_item(self.source, self.places[index])


class StoredPart(Part):
    """A part of a source that has a file for each image: a StoredSource, as the whole is one."""

    source: StoredSource

    def size(self, index: int) -> int:
        return self.source.size(self.places[index])

    def content(self, index: int) -> bytes:
        return self.source.content(self.places[index])

    def opened(self, index: int) -> Path | bytes:
        return self.source.opened(self.places[index])

    def name(self, index: int) -> str:
        return self.source.name(self.places[index])


def part(source: Source, places: Sequence[int]) -> Part:
    """The images of `source` at `places`; a StoredSource where the whole is one."""
    return (StoredPart if isinstance(source, StoredSource) else Part)(source, places)
