"""Decoded photos kept in memory, so that each is decoded once and not once a sample."""

from collections.abc import Callable

from restore.data.source import Item


class PhotoCache:
    """Keeps what was made, by index, for as long as it fits into `budget` bytes; first come, first
    kept, since a shuffled pass over more than fits would only drive out what it needs next."""

    def __init__(self, budget: float) -> None:
        self.left = budget
        self._items: dict[int, Item] = {}

    def __call__(self, index: int, make: Callable[[int], Item]) -> Item:
        item = self._items.get(index)
        if item is None:
            item = make(index)
            size = item.image.untyped_storage().nbytes()
            if size <= self.left:
                self.left -= size
                self._items[index] = item
        return item
