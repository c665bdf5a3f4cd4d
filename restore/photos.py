"""Which photos a command line names, their masks, and where the results go."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from restore.data.image_file import SUFFIXES, upright_size
from restore.data.mask_files import read_drawn, read_mask
from restore.data.name import printable
from restore.data.walk import Listing, walk
from restore.types import InputError

_PIXELS = 2**22  # of a batch


@dataclass(frozen=True)
class Photo:
    """One photo, its mask and its strength map, and where the results go."""

    source: Path
    mask: Path | None
    targets: list[Path]
    strength_map: Path | None = None

    @property
    def given(self) -> list[Path]:
        """The files that are read."""
        return [one for one in (self.source, self.mask, self.strength_map) if one is not None]


class NamedPhotos(NamedTuple):
    """What a command line names."""

    photos: list[tuple[Path, Path]]  # each once, and its name below what was given
    left_out: list[str]  # a line for each folder with files that are passed over, and why


def found(inputs: list[str]) -> NamedPhotos:
    """The photos of files, folders and globs.

    Raises InputError for what names no image.
    """
    photos: dict[str, tuple[Path, Path]] = {}  # pathlib ends at a link to itself
    left_out: list[str] = []
    for given in inputs:
        paths = [Path(given)]
        if not paths[0].exists():
            paths = [Path(name) for name in sorted(glob.glob(given, recursive=True))]
        named: list[tuple[Path, Path]] = []
        for path in paths:
            if path.exists() and not (path.is_dir() or path.is_file()):
                raise InputError(f"{printable(given)} is no file and no folder: give one of these")
            if path.is_dir():
                listing = walk(path, SUFFIXES)
                named += [(path / name, Path(name)) for name in listing.names]
                left_out += _passed_over(path, listing)
            else:
                named.append((path, Path(path.name)))
        if not named:
            raise InputError(f"{printable(given)}: no images there; give files, folders or globs")
        for path, name in named:
            photos.setdefault(os.path.realpath(path), (path, name))
    return NamedPhotos(list(photos.values()), left_out)


def _passed_over(folder: Path, listing: Listing) -> list[str]:
    """A line, or none."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(listing.left_out.items()))
    return [f"left out in {printable(str(folder))}: {reasons}"] if reasons else []


def check_models(models: list[str]) -> None:
    """Raises InputError where a photo stands in the place of the model."""
    for model in models:
        if Path(model).suffix.lower() in SUFFIXES and Path(model).is_file():
            raise InputError(f"{model} is an image and no model: give one first, such as denoise")


def check_inverted(mask: Path | None, invert_mask: bool) -> None:
    """Raises InputError for an inversion of no mask."""
    if invert_mask and mask is None:
        raise InputError("--invert-mask is of a mask: give --mask, or leave it out")


def photos(
    named: list[tuple[Path, Path]],
    output: Path,
    num_samples: int,
    mask: Path | None,
    invert_mask: bool,
    strength_map: Path | None = None,
) -> list[Photo]:
    """With a mask, a strength map and places for `num_samples` results each.

    Raises InputError where a mask or a map is missing or of another size, or where a result would
    overwrite a photo, a mask, a map, or a file beside a photo.
    """
    taken, jobs = set[str](), []
    for path, name in named:
        targets = targets_of(name, output, num_samples, taken)
        drawn = _drawn_for("mask", path, name, mask)
        soft = _drawn_for("strength-map", path, name, strength_map)
        jobs.append(Photo(path, drawn, targets, soft))
    check_nothing_lost(jobs, output)
    for photo in jobs:
        check_drawn(photo, invert_mask)
    return jobs


def check_nothing_lost(jobs: list[Photo], output: Path) -> None:
    """Results replace those of an earlier call, and no file that may be a photo of the user."""
    given = {os.path.realpath(one) for job in jobs for one in job.given}
    folders = {os.path.dirname(os.path.realpath(job.source)) for job in jobs}
    for target in (target for job in jobs for target in job.targets):
        real = os.path.realpath(target)
        beside = os.path.dirname(real) in folders and os.path.exists(real)
        if real in given or beside:
            lost = printable(str(target))
            raise InputError(f"-o {output} would overwrite {lost}: choose another folder")


def targets_of(name: Path, output: Path, num_samples: int, taken: set[str]) -> list[Path]:
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


def _drawn_for(option: str, path: Path, name: Path, given: Path | None) -> Path | None:
    """The file of a photo that is drawn beside it: its mask, or its strength map."""
    if given is None or given.is_file():
        return given
    ends = [cased for end in sorted(SUFFIXES) for cased in (end, end.upper())]
    for candidate in (given / name, *(given / name.with_suffix(end) for end in ends)):
        if candidate.is_file():
            return candidate
    has_none = f"{given} has no {option.replace('-', ' ')} for {printable(str(path))}"
    what = has_none if given.is_dir() else f"{given}: no file"
    raise InputError(
        f"--{option} {what}: give one image, or a folder with one of each photo's name"
    )


def check_drawn(photo: Photo, invert: bool) -> None:
    """Raises InputError where the mask or the strength map has another size than the photo."""
    size = upright_size(photo.source)
    if size is None:
        return
    if photo.mask is not None:
        _check_size("mask", photo.mask, read_mask(photo.mask, invert), photo.source, size)
    if photo.strength_map is not None:
        drawn = read_drawn(photo.strength_map)
        _check_size("strength map", photo.strength_map, drawn, photo.source, size)


def _check_size(word: str, path: Path, drawn: Tensor, source: Path, size: tuple[int, int]) -> None:
    """drawn [1, H, W]; size: height and width of the photo."""
    height, width = drawn.shape[1:]
    if (height, width) != size:
        raise InputError(
            f"the {word} {printable(str(path))} has {width}x{height} px and "
            f"{printable(str(source))} has {size[1]}x{size[0]}: give one of the same size"
        )


def grouped(photos: list[Photo], most: int) -> Iterator[list[Photo]]:
    """Neighbours of equal sizes by their headers, so many pixels at once as memory surely holds."""
    group, last = list[Photo](), None
    for photo in photos:
        size = upright_size(photo.source) if most > 1 else None
        fits = size is not None and size == last and len(group) < most
        if group and not (fits and (len(group) + 1) * size[0] * size[1] <= _PIXELS):  # type: ignore[index]
            yield group
            group = []
        group.append(photo)
        last = size
    if group:
        yield group
