"""Photos of a benchmark that a model has been trained on, which say nothing of it."""

import contextlib
from pathlib import Path
from typing import Any

from restore.build import build
from restore.data.module import DataModule
from restore.data.source import Split
from restore.data.survey import stored
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.method import Method
from restore.run_files import read_config
from restore.types import InputError


def note(method: Method, benchmark: Benchmark) -> str | None:
    """A line where photos of users are in both; None where none is, or where nobody can tell.

    A checkpoint does not say where its data lay: the config of its run folder does.
    """
    if not benchmark.by_files or method.data is None:
        return None
    with contextlib.suppress(OSError, InputError, KeyError, TypeError):
        said = read_config(Path(method.checkpoint).parent.parent)["data"]
        # A broken photo was never measured, so that none of training has to be decoded to know it.
        own = build({**method.data, "root": said.get("root"), "on_error": "error"}, "data")
        measured = _files(benchmark.data, "test")
        both = len(measured & _files(own, "train"))
        if both:
            return (
                f"{method.name} ({method.checkpoint}) was trained on {both} of the {len(measured)} "
                f"photos of {benchmark.name}: what it was not trained on is left by "
                f"{_way_out(benchmark.name, said)}"
            )
    return None


def _way_out(name: str, data: dict[str, Any]) -> str:
    fraction = data["source"].get("val_fraction")
    key = f"benchmark.{name}.data.source.val_fraction"
    return "another folder" if fraction is None else f"{key}={fraction}, or another folder"


def _files(data: DataModule, split: Split) -> set[Path]:
    """The photos that are files of their own; of shards no more than one member is read."""
    samples = data.samples(split)
    found, left = set[Path](), samples.num_photos
    for source in stored(samples.source):
        few = min(left, len(source))
        left -= few
        for number in range(few):
            place = source.opened(number)
            if not isinstance(place, Path):
                break
            found.add(place.resolve())
    return found
