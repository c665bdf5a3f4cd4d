"""Several sources as one, for models of anybody's photo."""

import copy
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Self

from restore.data.item import count, make_source, read_item
from restore.data.source import Divided, Item, Source, Split
from restore.data.streaming import Streaming
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
        self._root, self._made = root, sources
        self.sources = {name: make_source(made, root, split) for name, made in sources.items()}
        for name, one in self.sources.items():
            if isinstance(one, Streaming):  # by numbers it gives the first photo of a shard alone
                raise InputError(
                    f"data.source.sources.{name} is a stream, which gives its photos in an order "
                    "of its own: train on it alone as data=stream, or name local shards as "
                    "restore.data.webdataset.WebDataset"
                )
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
        item = read_item(source, index - (self._ends[place] - count(source)))
        return Item(item.image, None, f"{name}/{item.name}")

    def left_out(self) -> Counter[str]:
        divided = (one for one in self.sources.values() if isinstance(one, Divided))
        return sum((one.left_out() for one in divided), Counter())

    def sibling(self, split: Split) -> Self:
        other = copy.copy(self)
        other.__dict__.pop("_ends", None)
        other.sources = {
            name: one.sibling(split)
            if isinstance(one, Divided)
            else make_source(self._made[name], self._root, split)
            for name, one in self.sources.items()
        }
        return other

    @cached_property
    def _ends(self) -> list[int]:
        """The number of images up to the end of each source."""
        return list(accumulate(count(source) for source in self.sources.values()))
