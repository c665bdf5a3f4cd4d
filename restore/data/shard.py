"""One webdataset shard: the samples in a tar file, found by its headers alone."""

import glob
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from restore.data.archive import members, open_tar
from restore.data.image_file import FORMATS
from restore.data.name import printable
from restore.data.walk import HIDDEN, is_hidden
from restore.types import InputError

IMAGE = tuple(suffix.removeprefix(".") for suffixes in FORMATS.values() for suffix in suffixes)
_OTHER = ("cls", "json", "txt")


def named(root: Path, pattern: str) -> Iterator[tuple[str, list[Path]]]:
    """Each name that the braces of a pattern make, and the files that it names, in order: below
    root, or anywhere for an absolute one, those that fit its stars. Nothing else is a pattern."""
    from braceexpand import braceexpand

    for name in braceexpand(pattern):
        stars = re.sub(r"[?[]", r"[\g<0>]", name)
        found = (root / one for one in glob.glob(stars, root_dir=root, recursive=True))
        yield name, sorted((path for path in found if path.is_file()), key=str)


class Member(NamedTuple):
    offset: int
    size: int


class Sample(NamedTuple):
    key: str
    shard: Path
    members: dict[str, Member]  # by extension


class Index(NamedTuple):
    samples: list[Sample]
    left_out: Counter[str]  # members by reason


def index_shard(path: Path) -> Index:
    """The samples of a shard with an image, in the order of the file.

    Members are grouped by webdataset's rule: the key is the path up to the first dot of the file
    name, and the rest is the extension. Of archives that were written one behind the other into
    one file, all are read.

    Raises:
        InputError: compressed, truncated, damaged, without a sample, or with two members of one
            name.
    """
    samples: dict[str, Sample] = {}
    left_out: Counter[str] = Counter()
    for entry in _entries(path):
        if entry.isdir():
            continue
        key, extension = key_and_extension(entry.name)
        reason = why_left_out(entry, key, extension)
        if reason:
            left_out[reason] += 1
            continue
        found = samples.setdefault(key, Sample(key, path, {})).members
        if extension in found:
            raise InputError(f"shard {path}: two members are named {printable(key)}.{extension}")
        found[extension] = Member(entry.offset_data, entry.size)
    complete = [sample for sample in samples.values() if sample.members.keys() & set(IMAGE)]
    left_out["samples without an image"] = len(samples) - len(complete)
    photos = sum(len(sample.members.keys() & set(IMAGE)) for sample in complete)
    left_out["other images of a sample"] = photos - len(complete)
    if not complete:
        why = ", ".join(f"{count} {reason}" for reason, count in (+left_out).items())
        raise InputError(f"shard {path} holds no sample: {why or 'it has no members'}")
    return Index(complete, +left_out)


def class_of(text: bytes, num_classes: int, sample: str) -> int:
    """The class that the member .cls of a sample holds.

    Raises InputError, which names the sample, for what is no whole number below `num_classes`.
    """
    digits = text.strip()
    if not digits.isdigit() or int(digits) >= num_classes:
        raise InputError(
            f"{sample}.cls is missing or holds no class below {num_classes} "
            "(data.source.num_classes)"
        )
    return int(digits)


def key_and_extension(name: str) -> tuple[str, str]:
    """By webdataset's rule, the extension in small letters; both are empty where there is none."""
    from webdataset.tariterators import base_plus_ext

    key, extension = base_plus_ext(name)
    return key or "", (extension or "").lower()


def why_left_out(entry: tarfile.TarInfo, key: str, extension: str) -> str | None:
    """Why a member is no part of a sample."""
    if is_hidden(entry.name):
        return HIDDEN
    if entry.type not in tarfile.REGULAR_TYPES:
        return "links or devices"
    if not key:
        return "named without a key or an extension"
    if extension in IMAGE + _OTHER:
        return None
    if extension.rpartition(".")[2] in IMAGE + _OTHER and "." in extension:
        return f"named .{extension} (a key ends at the first dot: use no other)"
    return f"named .{extension}"


def _entries(path: Path) -> Iterator[tarfile.TarInfo]:
    try:
        with open(path, "rb") as file, open_tar(file, "r:") as tar:
            yield from members(tar)
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        kind = "" if isinstance(error, tarfile.CompressionError) else "truncated or damaged: "
        raise InputError(f"shard {path} is {kind}{error}") from error
