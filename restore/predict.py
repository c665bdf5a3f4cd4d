"""`restore predict`: photos through one model or a chain of them, one PNG file each or several."""

import glob
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from restore import chain, job, shelf
from restore.api import Model, load
from restore.data.image_file import SUFFIXES
from restore.data.mask_files import read_mask
from restore.data.name import printable
from restore.data.photo_file import upright_size, write_png
from restore.data.walk import walk
from restore.errors import DONE, FAILED, one_line
from restore.types import InputError


@dataclass(frozen=True)
class Settings(chain.Settings):
    """What the command line says beside models, inputs and output."""

    mask: Path | None = None  # a file for all, or a folder of files of the same names
    invert_mask: bool = False


@dataclass(frozen=True)
class Photo:
    """One photo, its mask, and where the results go."""

    source: Path
    mask: Path | None
    targets: list[Path]


def predict(
    models: list[str],
    inputs: list[str],
    output: Path,
    settings: Settings,
    device: str | None = None,
    packages: tuple[str, ...] = (),
) -> int:
    """Restores every photo and prints a line of JSON for each; the exit code.

    models: run folders or checkpoints; each but the first takes what the one before it made.
    inputs: files, folders (at any depth) and globs.

    Raises:
        InputError: what is wrong before work begins. A photo that cannot be restored is reported
            instead, and the others go on.
    """
    if not models or not inputs:
        raise InputError("give MODEL and INPUT, or --job FILE; see restore predict --help")
    found = _found(inputs)
    loaded = [load(model, packages, device) for model in models]
    chain.check(loaded, settings, settings.mask is not None)
    photos = _photos(found, output, settings)
    _make(output)
    failed = []
    for photo in _shown(photos):
        line = _restored(photo, loaded, settings)
        print(json.dumps(line), flush=True)
        if "error" in line:
            failed.append(line)
    for line in failed:
        print(f"failed: {line['error']}", file=sys.stderr)
    return FAILED if failed else DONE


def repeat(
    file: Path,
    models: list[str],
    inputs: list[str],
    output: Path,
    settings: Settings,
    device: str | None = None,
    packages: tuple[str, ...] = (),
) -> int:
    """Restores the photo of a job again, as DIR/NAME.png of NAME.zip; the exit code.

    models: where those of the job are; with none, they are looked for in outputs/ and multirun/.
    The line of JSON says in `repeated` whether the files are those of the job, byte for byte.

    Raises:
        InputError: no job, inputs or settings beside those of the job, other models than its own,
            or what `predict` raises.
    """
    if inputs or settings != Settings():
        raise InputError("--job brings image, mask and settings with it: give no others")
    asked = job.read(file)
    loaded = [load(path, packages, device) for path in _models_of(asked, models)]
    chain.check(loaded, asked.settings, asked.mask is not None)
    name = Path(file.stem or "job")
    targets = _targets(name, output, asked.settings.num_samples, set())
    with tempfile.TemporaryDirectory() as folder:
        photo = Photo(Path(folder) / job.IMAGE, None, targets)
        photo.source.write_bytes(asked.image)
        if asked.mask is not None:
            photo = replace(photo, mask=Path(folder) / job.MASK)
            (Path(folder) / job.MASK).write_bytes(asked.mask)
        _check_mask(photo, invert=False)
        _make(output)
        line = _restored(photo, loaded, Settings(**asdict(asked.settings)))
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
        if given:
            path: Path | None = Path(given[number])
            same = path is not None and shelf.digest(path) == model.sha256
        else:
            path = shelf.with_digest(model.sha256)
            same = path is not None
        if path is None or not same:
            where = f"{given[number]} is another" if given else "not in outputs/ or multirun/"
            raise InputError(
                f"the job's model {printable(model.name)} (SHA-256 {model.sha256[:12]}...) is "
                f"{'' if given else 'needed: '}{where}: give its run folder or checkpoint"
            )
        paths.append(path)
    return paths


def _found(inputs: list[str]) -> list[tuple[Path, Path]]:
    """Each photo once, and the name of its result without suffix."""
    photos: dict[Path, tuple[Path, Path]] = {}
    for given in inputs:
        paths = [Path(given)]
        if not paths[0].exists():
            paths = [Path(name) for name in sorted(glob.glob(given, recursive=True))]
        named = [one for path in paths for one in _named(path)]
        if not named:
            raise InputError(f"{printable(given)}: no images there; give files, folders or globs")
        for path, name in named:
            photos.setdefault(path.resolve(), (path, name))
    return list(photos.values())


def _named(path: Path) -> list[tuple[Path, Path]]:
    if path.is_dir():
        return [(path / name, Path(name)) for name in walk(path, SUFFIXES).names]
    return [(path, Path(path.name))]


def _photos(found: list[tuple[Path, Path]], output: Path, settings: Settings) -> list[Photo]:
    sources, taken, photos = {path.resolve() for path, _ in found}, set[str](), []
    for path, name in found:
        targets = _targets(name, output, settings.num_samples, taken)
        if sources & {target.resolve() for target in targets}:
            raise InputError(f"-o {output} would overwrite {path}: choose another folder")
        mask = _mask_of(path, name, settings.mask)
        photos.append(Photo(path, mask, targets))
    for photo in photos:
        _check_mask(photo, settings.invert_mask)
    return photos


def _targets(name: Path, output: Path, num_samples: int, taken: set[str]) -> list[Path]:
    """a.png of a.jpg; a.jpg.png where another photo has taken that, then a.jpg_2.png."""
    stems = [name.with_suffix(""), name]
    stems += [name.with_name(f"{name.name}_{number}") for number in range(2, len(taken) + 3)]
    ends = [""] if num_samples == 1 else [f"_{number}" for number in range(1, num_samples + 1)]
    for stem in stems:
        targets = [output / stem.with_name(f"{stem.name}{end}.png") for end in ends]
        keys = {str(target).casefold() for target in targets}
        if not keys & taken:
            taken |= keys
            return targets
    raise AssertionError("more names than photos")


def _mask_of(path: Path, name: Path, mask: Path | None) -> Path | None:
    if mask is None or mask.is_file():
        return mask
    for candidate in (mask / name, *(mask / name.with_suffix(end) for end in sorted(SUFFIXES))):
        if candidate.is_file():
            return candidate
    what = f"{mask} has no mask for {printable(str(path))}" if mask.is_dir() else f"{mask}: no file"
    raise InputError(f"--mask {what}: give one image, or a folder with one of each photo's name")


def _check_mask(photo: Photo, invert: bool) -> None:
    size = upright_size(photo.source)
    if photo.mask is None or size is None:
        return
    mask = read_mask(photo.mask, invert)
    if tuple(mask.shape[:0:-1]) != size:
        width, height = mask.shape[2], mask.shape[1]
        raise InputError(
            f"the mask {printable(str(photo.mask))} has {width}x{height} px and "
            f"{printable(str(photo.source))} has {size[0]}x{size[1]}: give one of the same size"
        )


def _make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"-o {output} cannot be made: {error.strerror}") from error
    if not os.access(output, os.W_OK):
        raise InputError(f"-o {output} cannot be written: choose another folder")


def _shown(photos: list[Photo]) -> Iterator[Photo]:
    """Each in turn, with a bar on stderr that says how fast it goes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    console, started = Console(stderr=True), time.monotonic()
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=len(photos), rate="")
        for done, photo in enumerate(photos, start=1):
            yield photo
            pace = done / (time.monotonic() - started)
            bar.update(task, completed=done, rate=f"{pace:.3g} images/s")


def _restored(photo: Photo, models: list[Model], settings: Settings) -> dict[str, Any]:
    """What is said of a photo once its results are written; with "error" where they are not."""
    source = printable(str(photo.source))
    line: dict[str, Any] = {"input": source, "models": [model.name for model in models]}
    started = time.monotonic()
    try:
        made = chain.restore(models, photo.source, photo.mask, settings, settings.invert_mask)
        for image, target in zip(made.images, photo.targets, strict=True):
            write_png(image, target, made.profile)
    except Exception as error:  # whatever a photo does must not end the others
        said = one_line(error) or f"{type(error).__name__}: {error}"
        return {**line, "error": said if source in said else f"{source}: {said}"}
    line |= {"outputs": [printable(str(target)) for target in photo.targets], "seed": settings.seed}
    line |= {} if made.sigma is None else {"sigma": round(made.sigma, 3)}
    return {**line, "seconds": round(time.monotonic() - started, 3)}
