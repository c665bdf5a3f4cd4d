"""Which photos and which masks a benchmark measures on: other ones are another protocol."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from restore.data.item import read_item
from restore.data.mask_files import MaskFiles
from restore.data.source import StoredSource
from restore.data.split import SplitDataset
from restore.degradation.contract import Degradation
from restore.hashing import sha256_of


def photo_files(samples: SplitDataset) -> list[tuple[str, int]]:
    """Names and bytes of the photos that are files of their own."""
    source = samples.source
    if not isinstance(source, StoredSource):
        return []
    return [(source.name(k), source.size(k)) for k in range(len(source))]


def photos(samples: SplitDataset) -> list[tuple[str, int | str]]:
    """`photo_files`; of a source that has none, such as one of the user, names and SHA-256 of what
    it gives. All of that is read once more for it."""
    if isinstance(samples.source, StoredSource):
        return [*photo_files(samples)]
    items = (read_item(samples.source, index) for index in range(samples.num_photos))
    return [(item.name, _digest(item.image)) for item in items]


def _digest(image: Tensor) -> str:
    content = f"{[*image.shape]}".encode() + image.numpy().tobytes()
    return hashlib.sha256(content).hexdigest()


def masks(degradation: Degradation) -> list[list[tuple[str, str]]]:
    """Names and SHA-256 of the mask files of each MaskFiles in a degradation, in their order.

    Bytes alone would not do: masks of one size are often equally long.
    """
    found = [part for part in _parts(degradation, set()) if isinstance(part, MaskFiles)]
    return [[(name, sha256_of(path)) for name, path in one.files()] for one in found]


def _parts(node: object, seen: set[int]) -> Iterator[object]:
    """A degradation and all that it is made of: parts and steps of others, and their shapes.

    Degradations and shapes are called, so that what is no callable is looked into only where it is
    a collection.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    yield node
    children: Iterable[object] = ()
    if isinstance(node, Mapping):
        children = node.values()
    elif isinstance(node, list | tuple):
        children = node
    elif callable(node) and not isinstance(node, type):
        children = getattr(node, "__dict__", {}).values()
    for child in children:
        yield from _parts(child, seen)
