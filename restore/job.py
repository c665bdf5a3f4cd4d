"""A job: photo, mask, strength map, models and settings in one zip file, to be repeated anywhere.

A job may come from a stranger. Nothing of it is unpacked under a name of its own, no code runs, and
what it may hold is bounded before it is read.
"""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from restore.chain import Settings
from restore.data.name import printable
from restore.precision import EXACT, MIXED
from restore.types import InputError

FORMAT = 1
IMAGE, MASK, STRENGTH, TEXT = "image.png", "mask.png", "strength.png", "job.json"
LARGEST = {IMAGE: 2**28, MASK: 2**26, STRENGTH: 2**26, TEXT: 2**16}  # bytes, unpacked
_MOST_MODELS, _LONGEST_NAME, _MOST_RESULTS = 16, 300, 256


@dataclass(frozen=True)
class ModelName:
    """Who restored: the name is for people, the SHA-256 of its file says which weights."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Job:
    """What is needed to repeat a restoration, and the SHA-256 of the PNG files that it made."""

    image: bytes  # PNG
    mask: bytes | None  # PNG, white is to be filled
    models: list[ModelName]
    settings: Settings
    results: list[str]
    strength_map: bytes | None = None  # PNG, grey; white is all of the strength
    precisions: Sequence[str] = ()  # of each model; none: float32, as in jobs of before


def pack(job: Job) -> bytes:
    """The zip file of a job; equal jobs give equal bytes."""
    text = {
        "format": FORMAT,
        "models": [asdict(model) for model in job.models],
        "settings": asdict(job.settings),
        "results": job.results,
        "precisions": job.precisions,
    }
    entries = {TEXT: json.dumps(text, indent=2).encode(), IMAGE: job.image}
    entries |= {} if job.mask is None else {MASK: job.mask}
    entries |= {} if job.strength_map is None else {STRENGTH: job.strength_map}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # stored: a PNG is packed already
    return buffer.getvalue()


def read(path: Path) -> Job:
    """The job of a file.

    Raises:
        InputError: no such file, no job, entries beside those of a job, more bytes than they may
            have, or settings of another type or range.
    """
    label = f"--job {printable(str(path))}"
    if not path.is_file():
        raise InputError(f"{label}: no such file; give a job that `restore app` saved")
    if path.stat().st_size > sum(LARGEST.values()):
        raise InputError(f"{label} has more than {sum(LARGEST.values())} bytes: it is no job")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive)
        text = json.loads(entries[TEXT].decode("utf-8"))
        return _job(text, entries)
    except InputError as error:
        raise InputError(f"{label}: {error}") from None
    except Exception as error:  # of a damaged zip file nearly every built-in one, zlib.error, too
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{label} cannot be read as a job ({printable(reason)})") from error


def _entries(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Read by their few known names, never more bytes than allowed, whatever the headers say."""
    names = archive.namelist()
    strange = [name for name in names if name not in LARGEST]
    if strange:
        raise InputError(f"{printable(strange[0])[:80]} has no place in a job")
    if len(set(names)) < len(names):
        raise InputError("an entry is there twice")
    missing = {IMAGE, TEXT} - set(names)
    if missing:
        raise InputError(f"{min(missing)} is missing")
    entries = {}
    for name in names:
        with archive.open(name) as entry:
            entries[name] = entry.read(LARGEST[name] + 1)
        if len(entries[name]) > LARGEST[name]:
            raise InputError(f"{name} has more than {LARGEST[name]} bytes")
    return entries


def _job(text: Any, entries: Mapping[str, bytes]) -> Job:
    _require(isinstance(text, dict), f"{TEXT} is no record")
    number = text.get("format")
    if number != FORMAT:
        raise InputError(
            f"it has format {number!r:.20}, this version of restore reads {FORMAT}: install "
            "another one"
        )
    models, results = text.get("models"), text.get("results")
    _require(isinstance(models, list) and 1 <= len(models) <= _MOST_MODELS, "models")
    _require(isinstance(results, list) and len(results) <= _MOST_RESULTS, "results")
    _require(all(_is_digest(one) for one in results), "results")
    named = [_model(one) for one in models]
    settings = _settings(text.get("settings"))
    precisions = text.get("precisions") or [EXACT] * len(named)
    fits = isinstance(precisions, list) and len(precisions) == len(named)
    _require(fits and all(one in (EXACT, MIXED) for one in precisions), "precisions")
    drawn = entries.get(STRENGTH)
    return Job(entries[IMAGE], entries.get(MASK), named, settings, results, drawn, precisions)


def _model(node: Any) -> ModelName:
    _require(isinstance(node, dict) and node.keys() == {"name", "sha256"}, "models")
    name = node["name"]
    _require(isinstance(name, str) and len(name) <= _LONGEST_NAME, "models.name")
    _require(_is_digest(node["sha256"]), "models.sha256")
    return ModelName(**node)


def _settings(node: Any) -> Settings:
    known = {field.name for field in fields(Settings)}
    _require(isinstance(node, dict), "settings")
    strange = sorted(node.keys() - known)
    if strange:
        raise InputError(f"settings.{printable(strange[0])[:80]} is not known")
    for name, value in node.items():
        whole = name in ("num_samples", "seed", "steps")
        optional = name in ("sigma", "strength", "steps", "guidance")
        kind = int if whole else (int, float)
        fits = isinstance(value, kind) and isinstance(value, bool) == (name == "self_ensemble")
        _require((optional and value is None) or fits, f"settings.{name}")
        _require(value is None or (abs(value) < 2**63 and math.isfinite(value)), f"settings.{name}")
    settings = Settings(**node)
    _require(1 <= settings.num_samples <= _MOST_RESULTS, "settings.num_samples")
    return settings


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _require(holds: bool, place: str) -> None:
    if not holds:
        raise InputError(f"{place} of {TEXT} is not what a job has")


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
