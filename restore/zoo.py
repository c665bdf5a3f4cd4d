"""Where a model is found: a run, a checkpoint, a bundle, a released name, a folder of diffusers.

Everything that takes a checkpoint reads it by `read`.
"""

import difflib
import re
from pathlib import Path
from typing import Any, NamedTuple

from restore import bundle, checkpoint, diffusers_folder
from restore.released import DEFAULTS, defaults, folder, is_bundle, names, weights_of
from restore.run_files import CHECKPOINTS
from restore.types import InputError


class StoredModel(NamedTuple):
    """A trained model as it was stored. path: of the one file that holds its weights."""

    content: dict[str, Any]  # of restore.content.Content
    path: Path


def find(place: str | Path) -> Path:
    """The file or folder that a path or a name means; a model at that path goes before a name.

    Raises:
        InputError: a name that is neither there nor released, with the nearest that are.
    """
    path = Path(place).expanduser()
    is_stored = path.is_file() or is_bundle(path) or (path / CHECKPOINTS).is_dir()
    is_stored |= diffusers_folder.is_folder(path)
    name = str(place)
    if is_stored or not re.fullmatch(r"[\w-]+", name):
        return path
    known = names()
    name = defaults().get(name, name)
    if name in known:
        return folder() / name
    if name in DEFAULTS:
        raise InputError(f"no model that can {name} is released yet: give a run or a checkpoint")
    near = difflib.get_close_matches(name, [*known, *DEFAULTS], n=3)
    told = f"{'the nearest' if near else 'released'} are {', '.join(near or known)}"
    said = told if known else "none is released"
    raise InputError(f"{name} does not exist, nor a released model of that name: {said}")


def read(place: str | Path) -> StoredModel:
    """The model at a path or of a name; of a run folder its best checkpoint. No code from it runs.

    Raises:
        InputError: there is none, or one that cannot be trusted or read.
    """
    path = find(place)
    if is_bundle(path):
        return StoredModel(bundle.read(path), weights_of(path))
    if diffusers_folder.is_folder(path):
        return StoredModel(diffusers_folder.read(path), diffusers_folder.weights_of(path))
    path = checkpoint.best_of(path)
    return StoredModel(checkpoint.read(path), path)
