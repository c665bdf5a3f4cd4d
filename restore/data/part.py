"""A source without the images that are left out of it."""

from collections.abc import Sequence

from restore.data.source import Item, Source


class Part:
    """The images of `source` at `places`, in that order."""

    def __init__(self, source: Source, places: Sequence[int]) -> None:
        self.source, self.places = source, places
        self.channels, self.num_classes = source.channels, source.num_classes

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Item:
        return self.source[self.places[index]]
