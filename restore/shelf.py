"""Trained models by name: the runs of some folders, and which of them has given weights."""

from collections.abc import Iterable
from pathlib import Path

from restore import checkpoint
from restore.checkpoint import SUFFIX, best_of
from restore.data.name import printable
from restore.types import InputError

RUNS = (Path("outputs"), Path("multirun"))  # where trainings write, if not told otherwise
_CHECKPOINTS = f"checkpoints/*{SUFFIX}"


def runs(places: Iterable[Path]) -> dict[str, Path]:
    """Run folders and checkpoint files at or below the places, by short names; newest first.

    A run is named by its path below its place, as `denoise_any/2026-01-02_03-04-05`. A place that
    is a run or a checkpoint itself is named by the end of its path.
    """
    found: dict[str, Path] = {}
    for place in places:
        if place.is_file() or best_of(place).is_file():
            _add(found, place.name if place.name else str(place.resolve().name), place)
            continue
        inside = [one.parent.parent for one in place.rglob(f"checkpoints/best{SUFFIX}")]
        for run in sorted(inside, key=lambda run: best_of(run).stat().st_mtime, reverse=True):
            _add(found, run.relative_to(place).as_posix(), run)
    return found


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
    """SHA-256 of the weights of a run's best checkpoint, or of a checkpoint, as the file states it.

    Reading the model checks that it is true.

    Raises:
        InputError: no such file, or one without checksum.
    """
    path = best_of(path)
    stated = checkpoint.seal(path) if path.is_file() else None
    if stated is None:
        raise InputError(f"checkpoint={path} does not exist, or was not written by restore")
    return stated.digest


def with_digest(sha256: str, places: Iterable[Path] = RUNS) -> Path | None:
    """The checkpoint below the places that has these weights; None where there is none."""
    for place in places:
        for path in sorted(place.rglob(_CHECKPOINTS)):
            stated = checkpoint.seal(path)
            if stated is not None and stated.digest == sha256:
                return path
    return None
