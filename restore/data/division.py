"""How a folder of photos is divided: by its sub-folders, or by a hash of each name."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from restore.data.name import printable
from restore.data.source import SPLITS, Split, held_out
from restore.types import InputError

_EMPTY_WORDS = ("set", "split", "data", "images", "image", "imgs", "photos")
_SPLIT_WORDS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tst", "eval", "evaluation"),
}
_MEANINGS: dict[str, Split] = {
    word + empty: split
    for split, words in _SPLIT_WORDS.items()
    for word in words
    for empty in ("", *_EMPTY_WORDS)
}


def check_names(folder: Path, folders: Sequence[str]) -> None:
    """Raises InputError where sub-folders mean a split and are not named as one.

    That is a name such as Test, validation or train_images anywhere at the top, or within train,
    val or test if it means another of them; or two of such meaning side by side at any depth beside
    those, as train2017 and val2017.
    """
    top = [name for name in folders if "/" not in name]
    own = {name for name in top if name in SPLITS}
    plain = {name: _meaning(name) for name in top if name not in SPLITS and _is_plain(name)}
    if plain:
        changes = ", ".join(f"{name} to {meaning}" for name, meaning in plain.items())
        raise _misnamed(folder, list(plain), f"rename {printable(changes)}")
    siblings = defaultdict(list)
    for name in folders:
        outer, _, inner = name.partition("/")
        if outer not in own:
            siblings[name.rpartition("/")[0]].append(name)
        elif inner:
            _check_within(folder, name, outer)
    for above, names in siblings.items():
        _check_siblings(folder, above, names)


def _check_within(folder: Path, name: str, outer: str) -> None:
    last = name.rpartition("/")[2]
    meaning = _meaning(last)
    if _is_plain(last) and meaning != outer:
        raise InputError(
            f"{printable(str(folder.absolute()))}: {printable(name)} would be a part of {outer}: "
            f"move its photos to {meaning}, or rename it"
        )


def _check_siblings(folder: Path, above: str, names: Sequence[str]) -> None:
    meant = {name: _meaning(name.rpartition("/")[2]) for name in names}
    wrong = [name for name, meaning in meant.items() if meaning]
    meanings = {meant[name] for name in wrong}
    if len(meanings) > 1:
        place = printable(above)
        there = f"set data.source.folder or data.root to {place} there, or " if above else ""
        # trainA and trainB may be of two domains: one alone may be wanted.
        several = len(wrong) > len(meanings)
        way_out = "move what you want of them into" if several else "name them"
        raise _misnamed(folder, wrong, f"{there}{way_out} train, val and test")


def _misnamed(folder: Path, names: list[str], way_out: str) -> InputError:
    listed = printable(" and ".join(sorted(names)))
    return InputError(
        f"{printable(str(folder.absolute()))}: {listed} would be merged and split anew: {way_out}"
    )


def _words(name: str) -> list[str]:
    """In small letters; TrainImages and train_images are the same two."""
    return [word.lower() for word in re.split(r"[^a-zA-Z]+|(?<=[a-z])(?=[A-Z])", name) if word]


def _meaning(name: str) -> Split | None:
    return next((_MEANINGS[word] for word in _words(name) if word in _MEANINGS), None)


def _is_plain(name: str) -> bool:
    """Whether the name says nothing but a split."""
    words = set(_words(name))
    return bool(words & _MEANINGS.keys()) and words <= _MEANINGS.keys() | set(_EMPTY_WORDS)


def divide(folder: Path, names: Sequence[str], fraction: float) -> dict[Split, list[str]]:
    """The names of each split; InputError where one of train and val would be empty."""
    parts: dict[Split, list[str]] = {
        split: [name for name in names if name.startswith(f"{split}/")] for split in SPLITS
    }
    if any((folder / split).is_dir() for split in SPLITS):
        if not (folder / "test").is_dir():
            parts["test"] = parts["val"]
        return parts
    held = held_out(names, fraction)
    val = [name for name in names if name in held]
    return {"train": [name for name in names if name not in held], "val": val, "test": val}
