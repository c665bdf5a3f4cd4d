"""Several sources as one, for models of anybody's photo."""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from restore.data.source import Item, Source, Split
from restore.types import InputError


class Several:
    """The images of all `sources`, one source after the other, each with its own splits.

    A name is `<source>/<name there>`, so that no two collide. Classes of different sources mean
    different things: no image has a label. All must have equally many channels.
    """

    num_classes = None

    def __init__(
        self, root: Path, split: Split, sources: Mapping[str, Callable[..., Source]]
    ) -> None:
        if not sources:
            raise InputError("data.source.sources is empty: name at least one")
        self.sources = {name: made(root=root, split=split) for name, made in sources.items()}
        channels = {name: source.channels for name, source in self.sources.items()}
        self.channels = next(iter(channels.values()))
        if len(set(channels.values())) > 1:
            raise InputError(f"data.source.sources have different channels: {channels}")

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        place = bisect_right(self._ends, index)
        name, source = list(self.sources.items())[place]
        item = source[index - (self._ends[place] - len(source))]
        return Item(item.image, None, f"{name}/{item.name}")

    @cached_property
    def _ends(self) -> list[int]:
        """For each source the number of images up to its end."""
        return list(accumulate(len(source) for source in self.sources.values()))
