"""All files below a folder, but for what systems and editors hide there."""

import os
from collections import Counter, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from restore.data.source import SPLITS

SYSTEM = {
    "__macosx",
    "@eadir",
    "#recycle",
    "@recycle",
    "$recycle.bin",
    "recycler",
    "lost+found",
    "system volume information",
}
HIDDEN = "hidden or of the system"
BROKEN = "a broken link or no file"
LISTED = "a folder that is listed by another name"
OUTSIDE = "outside of train, val and test"
_Identity = tuple[int, int]  # device and inode


@dataclass
class Listing:
    """What a walk found."""

    names: list[str] = field(default_factory=list)  # relative, with /, in order
    folders: list[str] = field(default_factory=list)  # likewise
    left_out: Counter[str] = field(default_factory=Counter)  # files and folders by reason


class _Place(NamedTuple):
    """A folder that is not listed yet."""

    name: str
    path: str
    identity: _Identity


def is_hidden(name: str) -> bool:
    """Whether any part of a relative path begins with a dot or belongs to a system."""
    parts = [part for part in name.split("/") if part not in (".", "..")]
    return any(part.startswith(".") or part.lower() in SYSTEM for part in parts)


def walk(folder: Path, suffixes: Collection[str]) -> Listing:
    """The files of those suffixes (lower case) at any depth; links are followed.

    A folder is listed once, by its own name where it has one here, however many links lead to it:
    once below each of train, val and test, which may be made of links, and once beside them.
    """
    found = Listing()
    seen: set[tuple[str, _Identity]] = set()
    waiting = deque[_Place]()
    if folder.is_dir():
        seen.update((part, _identity(os.stat(folder))) for part in ("", *SPLITS))
        _list(os.fspath(folder), "", found, suffixes, waiting)
    while waiting:
        place = waiting.popleft()
        top = place.name.partition("/")[0]
        key = (top if top in SPLITS else "", place.identity)
        if key in seen:
            found.left_out[LISTED] += 1
            continue
        seen.add(key)
        found.folders.append(place.name)
        _list(place.path, place.name + "/", found, suffixes, waiting)
    found.names.sort()
    found.folders.sort()
    return found


def _list(
    path: str, prefix: str, found: Listing, suffixes: Collection[str], waiting: deque[_Place]
) -> None:
    """Adds the files of one folder to `found`, and to `waiting` its folders, all links last."""
    own, linked = list[_Place](), list[_Place]()
    for entry in _entries(path, found):
        name = prefix + entry.name
        try:
            if is_hidden(entry.name):
                found.left_out[HIDDEN] += 1
            elif entry.is_dir():
                place = _Place(name, entry.path, _identity(os.stat(entry.path)))
                (linked if entry.is_symlink() else own).append(place)
            elif entry.is_file():
                _add_file(name, found, suffixes)
            else:
                found.left_out[BROKEN] += 1
        except OSError:  # a link to itself, or to where nobody may look
            found.left_out[BROKEN] += 1
    waiting.extendleft(sorted(own, reverse=True))
    waiting.extend(sorted(linked))


def _add_file(name: str, found: Listing, suffixes: Collection[str]) -> None:
    suffix = os.path.splitext(name)[1].lower()
    if suffix in suffixes:
        found.names.append(name)
    else:
        found.left_out[f"named {suffix or 'without a suffix'}"] += 1


def _entries(path: str, found: Listing) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(path) as entries:
            yield from entries
    except OSError:
        found.left_out["a folder that cannot be read"] += 1


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
