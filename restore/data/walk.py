"""All files below a folder, but for what systems and editors hide there."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SYSTEM = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found"}
HIDDEN = "hidden or of the system"


@dataclass
class Listing:
    """What a walk found."""

    names: list[str] = field(default_factory=list)  # relative, with /, in order
    folders: list[str] = field(default_factory=list)  # likewise
    left_out: Counter[str] = field(default_factory=Counter)  # files and folders by reason


def is_hidden(name: str) -> bool:
    """Whether any part of a relative path begins with a dot or belongs to a system."""
    parts = [part for part in name.split("/") if part != "."]
    return any(part.startswith(".") or part.lower() in SYSTEM for part in parts)


def walk(folder: Path, suffixes: Collection[str]) -> Listing:
    """The files of those suffixes (lower case) at any depth; links are followed, loops are not."""
    found = Listing()
    if folder.is_dir():
        _descend(os.fspath(folder), "", found, suffixes, [_identity(os.stat(folder))])
    found.names.sort()
    found.folders.sort()
    return found


def _descend(
    path: str,
    prefix: str,
    found: Listing,
    suffixes: Collection[str],
    above: list[tuple[int, int]],
) -> None:
    for entry in _entries(path, found):
        name = prefix + entry.name
        if is_hidden(entry.name):
            found.left_out[HIDDEN] += 1
        elif entry.is_dir():
            identity = _identity(entry.stat())
            if identity in above:
                found.left_out["a link to a folder above it"] += 1
                continue
            found.folders.append(name)
            _descend(entry.path, name + "/", found, suffixes, [*above, identity])
        elif not entry.is_file():
            found.left_out["a broken link or no file"] += 1
        else:
            suffix = os.path.splitext(entry.name)[1].lower()
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


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
