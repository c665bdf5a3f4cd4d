"""`restore predict`: photos through one model or a chain of them, one PNG file each or several."""

import glob
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore.api import Model, load
from restore.data.image_file import SUFFIXES
from restore.data.mask_files import read_mask
from restore.data.name import printable
from restore.data.photo_file import read_photo, upright_size, write_png
from restore.data.walk import walk
from restore.errors import DONE, FAILED, one_line
from restore.types import InputError


@dataclass(frozen=True)
class Settings:
    """What the command line says beside models, inputs and output."""

    mask: Path | None = None  # a file for all, or a folder of files of the same names
    invert_mask: bool = False
    sigma: float | None = None  # grey levels of 255; None is estimated where a model needs it
    strength: float | None = None
    num_samples: int = 1
    seed: int = 0
    steps: int | None = None


@dataclass(frozen=True)
class Job:
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
    found = _found(inputs)
    chain = [load(model, packages, device) for model in models]
    _check(chain, settings)
    jobs = _jobs(found, output, settings)
    _make(output)
    failed = []
    for job in _shown(jobs):
        line = _restored(job, chain, settings)
        print(json.dumps(line), flush=True)
        if "error" in line:
            failed.append(line)
    for line in failed:
        print(f"failed: {line['error']}", file=sys.stderr)
    return FAILED if failed else DONE


def _found(inputs: list[str]) -> list[tuple[Path, Path]]:
    """Each photo once, and the name of its result without suffix."""
    photos: dict[Path, tuple[Path, Path]] = {}
    for given in inputs:
        paths = [Path(given)]
        if not paths[0].exists():
            paths = [Path(name) for name in sorted(glob.glob(given, recursive=True))]
        named = [one for path in paths for one in _photos(path)]
        if not named:
            raise InputError(f"{printable(given)}: no images there; give files, folders or globs")
        for path, name in named:
            photos.setdefault(path.resolve(), (path, name))
    return list(photos.values())


def _photos(path: Path) -> list[tuple[Path, Path]]:
    if path.is_dir():
        return [(path / name, Path(name)) for name in walk(path, SUFFIXES).names]
    return [(path, Path(path.name))]


def _check(chain: list[Model], settings: Settings) -> None:
    """Raises InputError for settings that no model of the chain has a use for."""
    for word, given, used in (
        ("--mask", settings.mask is not None, any(one.fills_holes for one in chain)),
        ("--sigma", settings.sigma is not None, any(one.needs_sigma for one in chain)),
        ("--strength", settings.strength is not None, any(one.has_sampler for one in chain)),
        ("--steps", settings.steps is not None, any(one.has_sampler for one in chain)),
        ("--num-samples", settings.num_samples != 1, any(one.has_sampler for one in chain)),
    ):
        if given and not used:
            names = ", ".join(model.name for model in chain)
            raise InputError(f"{word} is of no use to {names}: leave it out")
    for model in chain:
        own = _settings_for(model, settings, settings.num_samples, sigma=settings.sigma or 0.0)
        model.check(hole=model.fills_holes and settings.mask is not None, **own)


def _settings_for(
    model: Model, settings: Settings, num_samples: int, sigma: float | None
) -> dict[str, Any]:
    """Those that this model has a use for."""
    own: dict[str, Any] = {"sigma": sigma} if model.needs_sigma else {}
    if model.has_sampler:
        own |= {"strength": settings.strength, "steps": settings.steps, "num_samples": num_samples}
    return own


def _jobs(found: list[tuple[Path, Path]], output: Path, settings: Settings) -> list[Job]:
    sources, taken, jobs = {path.resolve() for path, _ in found}, set[str](), []
    for path, name in found:
        targets = _targets(name, output, settings.num_samples, taken)
        if sources & {target.resolve() for target in targets}:
            raise InputError(f"-o {output} would overwrite {path}: choose another folder")
        mask = _mask_of(path, name, settings.mask)
        jobs.append(Job(path, mask, targets))
    for job in jobs:
        _check_mask(job, settings.invert_mask)
    return jobs


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


def _check_mask(job: Job, invert: bool) -> None:
    size = upright_size(job.source)
    if job.mask is None or size is None:
        return
    mask = read_mask(job.mask, invert)
    if tuple(mask.shape[:0:-1]) != size:
        width, height = mask.shape[2], mask.shape[1]
        raise InputError(
            f"the mask {printable(str(job.mask))} has {width}x{height} px and "
            f"{printable(str(job.source))} has {size[0]}x{size[1]}: give one of the same size"
        )


def _make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"-o {output} cannot be made: {error.strerror}") from error
    if not os.access(output, os.W_OK):
        raise InputError(f"-o {output} cannot be written: choose another folder")


def _shown(jobs: list[Job]) -> Iterator[Job]:
    """Each in turn, with a bar on stderr that says how fast it goes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    console, started = Console(stderr=True), time.monotonic()
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=len(jobs), rate="")
        for done, job in enumerate(jobs, start=1):
            yield job
            pace = done / (time.monotonic() - started)
            bar.update(task, completed=done, rate=f"{pace:.3g} images/s")


def _restored(job: Job, chain: list[Model], settings: Settings) -> dict[str, Any]:
    """What is said of a photo once its results are written; with "error" where they are not."""
    source = printable(str(job.source))
    line: dict[str, Any] = {"input": source, "models": [model.name for model in chain]}
    started = time.monotonic()
    try:
        results, profile, sigma = _through(job, chain, settings)
        for result, target in zip(results, job.targets, strict=True):
            write_png(result, target, profile)
    except Exception as error:  # whatever a photo does must not end the others
        said = one_line(error) or f"{type(error).__name__}: {error}"
        return {**line, "error": said if source in said else f"{source}: {said}"}
    line |= {"outputs": [printable(str(target)) for target in job.targets], "seed": settings.seed}
    line |= {} if sigma is None else {"sigma": round(sigma, 3)}
    return {**line, "seconds": round(time.monotonic() - started, 3)}


def _through(
    job: Job, chain: list[Model], settings: Settings
) -> tuple[list[np.ndarray], bytes | None, float | None]:
    """Results, their profile, and the noise level of the photo, if a model asked for it."""
    colors = any(model.colorizes for model in chain)
    photo, profile = read_photo(job.source, colors)
    hole = None if job.mask is None else read_mask(job.mask, settings.invert_mask)[0].numpy()
    results, left, sigma = [photo], settings.num_samples, settings.sigma
    for model in chain:
        if model.needs_sigma and sigma is None:
            sigma = estimate_sigma(results[0])
        own = _settings_for(model, settings, left, sigma)
        own |= {"hole": hole if model.fills_holes else None, "seed": settings.seed}
        made = [model(one, **own) for one in results]
        results = [one for each in made for one in (each if isinstance(each, list) else [each])]
        left = 1 if model.has_sampler else left
    return results, profile, sigma


def estimate_sigma(photo: np.ndarray) -> float:
    """Level of Gaussian noise in grey levels of 255, the mean over channels.

    Donoho & Johnstone 1994: the median of the finest wavelet coefficients, by scikit-image.
    """
    from skimage.restoration import estimate_sigma as estimated

    scaled = photo.astype(np.float64) * (255 / np.iinfo(photo.dtype).max)
    axis = -1 if photo.ndim == 3 else None
    level = float(estimated(scaled, channel_axis=axis, average_sigmas=True))
    return min(level, 255.0) if np.isfinite(level) else 0.0
