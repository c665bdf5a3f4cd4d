"""Trained models by name: the runs of some folders, and which of them has given weights."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from restore import bundle, checkpoint, diffusers_folder, released, zoo
from restore.checkpoint import SUFFIX, best_of
from restore.data.name import printable
from restore.folder import HOMES
from restore.hashing import sha256_of
from restore.types import InputError

_CHECKPOINTS = f"checkpoints/*{SUFFIX}"


def models(places: Iterable[Path]) -> dict[str, Path]:
    """Models at or below the places, by short names, the newest first; then the released ones,
    of which the default of each task comes first.

    A run or a bundle is named by its path below its place, as `denoise_any/2026-01-02_03-04-05`. A
    place that is a run, a checkpoint, a bundle or a folder of diffusers itself is named by the end
    of its path.
    """
    found: dict[str, Path] = {}
    for place in places:
        if place.is_file() or best_of(place).is_file() or _is_one(place):
            _add(found, place.resolve().name, place)
            continue
        inside = [one.parent.parent for one in place.rglob(f"checkpoints/best{SUFFIX}")]
        for run in sorted(inside, key=lambda run: best_of(run).stat().st_mtime, reverse=True):
            _add(found, run.relative_to(place).as_posix(), run)
        for folder in _bundles(place):
            _add(found, folder.relative_to(place).as_posix(), folder)
    for name in [*released.defaults().values(), *released.names()]:
        _add(found, name, released.folder() / name)
    return found


def _is_one(place: Path) -> bool:
    return released.is_bundle(place) or diffusers_folder.is_folder(place)


def _bundles(place: Path) -> list[Path]:
    """Folders of bundles at any depth, by name; those that cannot be read are left out."""
    readable = []
    for path in sorted(place.rglob(released.MODEL)):
        with contextlib.suppress(InputError, OSError):
            released.described(path.parent)
            readable.append(path.parent)
    return readable


def _add(found: dict[str, Path], name: str, path: Path) -> None:
    """Under a name of its own, once."""
    if path.resolve() in {one.resolve() for one in found.values()}:
        return
    name, number = printable(name), 2
    candidate = name
    while candidate in found:
        candidate, number = f"{name} ({number})", number + 1
    found[candidate] = path


def digest(path: Path) -> str:
    """SHA-256 of a model's weights: of a checkpoint as it states it, which whoever reads it checks;
    of a bundle, or a folder of diffusers, as its file of weights has it.

    path: a run (its best checkpoint), a checkpoint, a bundle, or a folder of diffusers.

    Raises:
        InputError: no such file, one without checksum, or a damaged bundle.
    """
    if released.is_bundle(path):
        return str(bundle.verified(path)[0]["sha256"])
    if diffusers_folder.is_folder(path):
        return sha256_of(zoo.read(path).path)
    path = best_of(path)
    stated = checkpoint.seal(path) if path.is_file() else None
    if stated is None:
        raise InputError(f"{path} does not exist, or was not written by restore")
    return stated.digest


def with_digest(sha256: str, places: Iterable[Path] = HOMES) -> Path | None:
    """The released model, or the checkpoint or bundle below the places, that has these weights.

    None where there is none; a bundle counts by what it states, since whoever reads it checks that.
    """
    for model in released.released():
        if model.said["sha256"] == sha256:
            return model.folder
    for place in places:
        for path in sorted(place.rglob(_CHECKPOINTS)):
            stated = checkpoint.seal(path)
            if stated is not None and stated.digest == sha256:
                return path
        for folder in _bundles(place):
            if released.described(folder)["sha256"] == sha256:
                return folder
    return None
