"""How a folder of photos is divided: by its sub-folders, or by a hash of each name."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from restore.data.name import printable
from restore.data.source import SPLITS, Split, held_out
from restore.types import InputError

_MEANINGS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trn", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "testset", "eval", "evaluation"), "test"),
}
_EMPTY_WORDS = {"set", "split", "data", "images", "image", "imgs", "photos"}


def check_names(folder: Path, folders: Sequence[str]) -> None:
    """Raises InputError where sub-folders mean a split and are not named as one.

    That is a name such as Test, validation or train_images anywhere at the top, or two of such
    meaning side by side at any depth, as train2017 and val2017.
    """
    top = [name for name in folders if "/" not in name]
    own = {name for name in top if name in SPLITS}
    plain = {name: _meaning(name) for name in top if name not in SPLITS and _is_plain(name)}
    if plain:
        changes = ", ".join(f"{name} to {meaning}" for name, meaning in plain.items())
        raise _misnamed(folder, list(plain), f"rename {printable(changes)}")
    siblings = defaultdict(list)
    for name in folders:
        if name.split("/")[0] not in own:
            siblings[name.rpartition("/")[0]].append(name)
    for above, names in siblings.items():
        meant = {_meaning(name.rpartition("/")[2]): name for name in names}
        meant.pop(None, None)
        if len(meant) > 1:
            there = f"set data.source.folder or data.root to {above} there, or " if above else ""
            raise _misnamed(folder, list(meant.values()), f"{there}name them train, val and test")


def _misnamed(folder: Path, names: list[str], way_out: str) -> InputError:
    listed = printable(" and ".join(sorted(names)))
    return InputError(
        f"{printable(str(folder.absolute()))}: {listed} would be merged and split anew: {way_out}"
    )


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z]+", name.lower()) if word]


def _meaning(name: str) -> Split | None:
    return next((_MEANINGS[word] for word in _words(name) if word in _MEANINGS), None)


def _is_plain(name: str) -> bool:
    """Whether the name says nothing but a split."""
    words = set(_words(name))
    return bool(words & _MEANINGS.keys()) and words <= _MEANINGS.keys() | _EMPTY_WORDS


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
