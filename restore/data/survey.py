"""What a training should know of its files before it begins: duplicates, damage, sizes."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from restore import launch
from restore.data.image_file import header_size
from restore.data.item import read_item
from restore.data.several import Several
from restore.data.source import Divided, Source, Split, StoredSource
from restore.types import InputError


class StoredImage(NamedTuple):
    """An image of a split, in the files that hold it."""

    split: Split
    source: StoredSource
    number: int


class Broken(NamedTuple):
    number: int
    reason: str  # names the file


def summary(
    whole: Mapping[Split, Source],
    skipped: Mapping[Split, list[Broken]],
    limit: int | None = None,
) -> dict[str, Any]:
    """Plain values: photos of each split, of val and test at most `limit`; `left_out`, how many
    files are no data, by reason; `duplicates`, pairs of names of equal files in two splits; and
    `skipped`, a line for each file that on_error=skip left out."""
    left_out: Counter[str] = Counter()
    divided = [source for source in whole.values() if isinstance(source, Divided)]
    if divided:
        left_out = divided[-1].left_out()
    return {
        "photos": {
            split: _few(len(source) - len(skipped.get(split, ())), split, limit)
            for split, source in whole.items()
        },
        "left_out": dict(sorted(left_out.items())),
        "duplicates": duplicates({split: stored(source) for split, source in whole.items()}),
        "skipped": sorted({one.reason for split in whole for one in skipped.get(split, ())}),
    }


def lines(summary: Mapping[str, Any]) -> list[str]:
    """What a `summary` says, a line a fact: images, what was left out and why."""
    counts = ", ".join(f"{split} {count}" for split, count in summary["photos"].items())
    said = [f"images: {counts}"]
    said += [f"left out: {count} {reason}" for reason, count in summary["left_out"].items()]
    pairs = summary["duplicates"]
    if pairs:
        named = ", ".join(f"{one} and {other}" for one, other in pairs[:3])
        said.append(f"equal files in two splits: {len(pairs)}, such as {named}")
    said += [f"skipped: {line}" for line in summary["skipped"]]
    return said


def _few(count: int, split: Split, limit: int | None) -> int:
    return count if split == "train" or limit is None else min(count, limit)


def stored(source: Source) -> list[StoredSource]:
    """The sources with a file for each image that a source is made of, in its order."""
    if isinstance(source, Several):
        return [one for one in source.sources.values() if isinstance(one, StoredSource)]
    return [source] if isinstance(source, StoredSource) else []


def duplicates(splits: Mapping[Split, Iterable[StoredSource]]) -> list[tuple[str, str]]:
    """Pairs of names of images with the same bytes in two splits.

    Only files whose size is found in two splits are read.
    """
    sizes: defaultdict[int, list[StoredImage]] = defaultdict(list)
    for split, sources in splits.items():
        for source in sources:
            for index in range(len(source)):
                sizes[source.size(index)].append(StoredImage(split, source, index))
    suspects = [images for images in sizes.values() if _across(images)]
    pairs = []
    for images in suspects:
        by_content: defaultdict[bytes, list[StoredImage]] = defaultdict(list)
        for image in images:
            digest = hashlib.sha256(image.source.content(image.number)).digest()
            by_content[digest].append(image)
        for same in by_content.values():
            first = same[0]
            pairs += [
                (first.source.name(first.number), other.source.name(other.number))
                for other in same[1:]
                if other.split != first.split
            ]
    return sorted(pairs)


def _across(images: list[StoredImage]) -> bool:
    return len({image.split for image in images}) > 1


def header_sizes(source: Source, count: int) -> Iterator[tuple[str, int, int]]:
    """Name, height and width of the first `count` images of files, where their headers tell."""
    if not isinstance(source, StoredSource):
        return
    for index in range(count):
        size = header_size(source.opened(index))
        if size is not None:
            yield source.name(index), *size


def find_broken(source: Source) -> list[Broken]:
    """The images of a source that cannot be read, each with its reason.

    Every image is decoded whole, since headers say nothing of what is cut off or damaged behind
    them: on all processors where the source is one of ours, and else one after the other, since a
    class of the user may share an open file between its images.
    """

    def reason(index: int) -> str | None:
        try:
            read_item(source, index)
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(launch.cores() if isinstance(source, Divided) else 1) as pool:
        reasons = enumerate(pool.map(reason, range(len(source))))
        return [Broken(index, why) for index, why in reasons if why is not None]
