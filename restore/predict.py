"""`restore predict`: photos through one model or a chain of them, one PNG file each or several."""

import contextlib
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from restore import chain, folder, generation, job, photos, shelf, zoo
from restore.api import Model, load
from restore.data import image_file
from restore.data.name import printable
from restore.data.photo_file import write_png
from restore.errors import DONE, FAILED, one_line
from restore.photos import Photo
from restore.types import InputError

_BATCH = 8  # photos at once, on a GPU


@dataclass(frozen=True)
class PredictionSettings(chain.Settings):
    """What the command line says beside models, inputs and output."""

    mask: Path | None = None  # a file for all, or a folder of files of the same names
    invert_mask: bool = False
    strength_map: Path | None = None  # as the mask: a file, or a folder
    size: str | None = None  # of new images: 64 or 96x64
    batch_size: int | None = None  # photos of equal sizes at once; None: 1 on a CPU, else 8
    device: str | None = None
    packages: tuple[str, ...] = ()
    precision: str | None = None  # as of `restore.load`; None is auto


def predict(
    models: list[str], inputs: list[str], output: Path, settings: PredictionSettings
) -> int:
    """Restores every photo and prints a line of JSON for each; the exit code.

    models: run folders or checkpoints; each but the first takes what the one before it made.
    inputs: files, folders (at any depth) and globs; none, and a prior makes new images.

    Raises:
        InputError: what is wrong before work begins. A photo that cannot be restored is reported
            instead, and the others go on.
    """
    if not models:
        raise InputError("give MODEL and INPUT, or --job FILE; see restore predict --help")
    folder.check_output(output, output)
    photos.check_inverted(settings.mask, settings.invert_mask)
    photos.check_models(models)
    found = photos.found(inputs)
    where = settings.packages, settings.device, settings.precision or "auto"
    loaded = [load(model, *where) for model in models]
    if not inputs:
        _check_without_photos(settings)
        return generation.generate(loaded, output, settings, settings.size)
    if settings.size is not None:
        raise InputError(f"--size {settings.size} is of new images: leave it out, or INPUT")
    chain.check(loaded, settings, settings.mask is not None, settings.strength_map is not None)
    asked = settings.num_samples, settings.mask, settings.invert_mask, settings.strength_map
    jobs = photos.photos(found.photos, output, *asked)
    most = _batch_size(settings, loaded)
    make(output)
    for line in found.left_out:
        print(line, file=sys.stderr)
    failed = []
    for group in _shown(photos.grouped(jobs, most), len(jobs)):
        for told in _lines(group, loaded, settings):
            print(json.dumps(told), flush=True)
            if "error" in told:
                failed.append(told["error"])
    for error in failed:
        print(f"failed: {error}", file=sys.stderr)
    return FAILED if failed else DONE


def _check_without_photos(settings: PredictionSettings) -> None:
    """Raises InputError for what only photos have a use for."""
    for word, given in (
        (f"--mask {settings.mask}", settings.mask is not None),
        (f"--strength-map {settings.strength_map}", settings.strength_map is not None),
        ("--batch-size", settings.batch_size is not None),
    ):
        if given:
            raise InputError(f"{word} is of photos, and there is no INPUT: leave it out")


def repeat(
    file: Path, models: list[str], inputs: list[str], output: Path, settings: PredictionSettings
) -> int:
    """Restores the photo of a job again, as DIR/NAME.png of NAME.zip; the exit code.

    models: where those of the job are; with none, they are looked for among the released
    ones, in outputs/ and in multirun/.
    The line of JSON says in `repeated` whether the files are those of the job, byte for byte.

    Raises:
        InputError: no job, inputs or settings beside those of the job, other models than its own,
            or what `predict` raises.
    """
    packages, device = settings.packages, settings.device
    if inputs or settings != PredictionSettings(device=device, packages=packages):
        raise InputError("--job brings image, mask and settings with it: give no others")
    folder.check_output(output, output)
    asked = job.read(file)
    targets = photos.targets_of(Path(file.name), output, asked.settings.num_samples, set())
    photos.check_nothing_lost([Photo(file, None, targets)], output)
    computed = zip(_models_of(asked, models), asked.precisions, strict=True)
    loaded = [load(path, packages, device, exactly) for path, exactly in computed]
    chain.check(loaded, asked.settings, asked.mask is not None, asked.strength_map is not None)
    with tempfile.TemporaryDirectory() as place:
        photo = Photo(Path(place) / job.IMAGE, None, targets)
        photo.source.write_bytes(asked.image)
        if asked.mask is not None:
            photo = replace(photo, mask=Path(place) / job.MASK)
            (Path(place) / job.MASK).write_bytes(asked.mask)
        if asked.strength_map is not None:
            photo = replace(photo, strength_map=Path(place) / job.STRENGTH)
            (Path(place) / job.STRENGTH).write_bytes(asked.strength_map)
        photos.check_drawn(photo, invert=False)
        make(output)
        line = _restored(photo, loaded, PredictionSettings(**asdict(asked.settings)))
    line["input"] = printable(str(file))
    if "error" in line:
        print(json.dumps(line), flush=True)
        print(f"failed: {line['error']}", file=sys.stderr)
        return FAILED
    line["repeated"] = [job.digest(target.read_bytes()) for target in targets] == asked.results
    print(json.dumps(line), flush=True)
    return DONE


def _models_of(asked: job.Job, given: list[str]) -> list[Path]:
    """Files of the job's models: those that are given, if they are the same, or found ones."""
    if given and len(given) != len(asked.models):
        raise InputError(f"the job has {len(asked.models)} model(s): give as many, or none")
    paths = []
    for number, model in enumerate(asked.models):
        path = zoo.find(given[number]) if given else shelf.with_digest(model.sha256)
        if path is None or (given and shelf.digest(path) != model.sha256):
            named = f"the job's model {printable(model.name)} (SHA-256 {model.sha256[:12]}...)"
            if given:
                raise InputError(f"{given[number]} is another model than {named}: give that one")
            raise InputError(
                f"{named} is not released, nor in outputs/ or multirun/: give its run folder or "
                "checkpoint, as restore predict MODEL --job FILE"
            )
        paths.append(path)
    return paths


def make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"-o {output} cannot be made: {error.strerror}") from error


def _batch_size(settings: PredictionSettings, models: list[Model]) -> int:
    """Photos at a time; where only places of them change, one, since those places differ."""
    given = settings.batch_size
    if given is not None and given < 1:
        raise InputError(f"--batch-size {given} must be at least 1")
    if settings.mask is not None or settings.strength_map is not None:
        return 1
    return given or (1 if models[0].device.type == "cpu" else _BATCH)


def _shown(groups: Iterator[list[Photo]], total: int) -> Iterator[list[Photo]]:
    """Each in turn; in a terminal a bar on stderr says how fast it goes, and since when: a large
    photo alone takes minutes."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    rate = TextColumn("{task.fields[rate]}")
    columns = (BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), rate)
    err, started, done = Console(stderr=True), time.monotonic(), 0
    off = not err.is_interactive
    with Progress(*columns, console=err, transient=True, redirect_stdout=False, disable=off) as bar:
        task = bar.add_task("", total=total, rate="")
        for group in groups:
            yield group
            done += len(group)
            pace = done / (time.monotonic() - started)
            bar.update(task, completed=done, rate=f"{pace:.3g} images/s")


def _lines(
    group: list[Photo], models: list[Model], settings: PredictionSettings
) -> list[dict[str, Any]]:
    """Of all photos of a group; where they cannot go together, or one is broken, one by one."""
    if len(group) > 1:
        started = time.monotonic()
        with contextlib.suppress(Exception):
            made = chain.restore_batch(models, [one.source for one in group], settings)
            seconds = (time.monotonic() - started) / len(group)
            pairs = zip(group, made, strict=True)
            return [_written(one, models, settings, result, seconds) for one, result in pairs]
    return [_restored(one, models, settings) for one in group]


def _restored(photo: Photo, models: list[Model], settings: PredictionSettings) -> dict[str, Any]:
    """What is said of a photo once its results are written; with "error" where they are not."""
    started = time.monotonic()
    try:
        given = models, photo.source, photo.mask, settings, settings.invert_mask
        made = chain.restore(*given, strength_map=photo.strength_map)
        return _written(photo, models, settings, made, time.monotonic() - started)
    except Exception as error:  # whatever a photo does must not end the others
        said, source = one_line(error) or f"{type(error).__name__}: {error}", _source(photo)
        names = [model.name for model in models]
        told = said if source in said else f"{source}: {said}"
        return {"input": source, "models": names, "error": " ".join(told.split())}


def _source(photo: Photo) -> str:
    return printable(str(photo.source))


def _written(
    photo: Photo,
    models: list[Model],
    settings: PredictionSettings,
    made: chain.Restored,
    seconds: float,
) -> dict[str, Any]:
    """Writes the results; what is said of them."""
    for image, target in zip(made.images, photo.targets, strict=True):
        write_png(image, target, made.profile)
    line: dict[str, Any] = {"input": _source(photo), "models": [model.name for model in models]}
    line |= {"outputs": [printable(str(target)) for target in photo.targets], "seed": settings.seed}
    line |= {} if made.sigma is None else {"sigma": round(made.sigma, 3)}
    if (held := image_file.frames(photo.source)) > 1:
        warnings.warn(f"{_source(photo)} holds {held} images: the first is restored", stacklevel=2)
    return {**line, "seconds": round(seconds, 3)}
