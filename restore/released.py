"""The models that come with restore, as their bundles describe them. Importing this is instant.

They lie in experiments/<name>/ of a checkout, and in the package of an installed restore.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore.types import InputError

SUFFIX = ".safetensors"
WEIGHTS, MODEL = f"model{SUFFIX}", "model.json"
NEEDED = ("format", "experiment", "config", "facts", "progress", "sha256")
_LONGEST = 2**24  # bytes of a JSON file
# What a task's own name means, where a model is asked for.
DEFAULTS = {"denoise": "denoise_any", "inpaint": "inpaint_any", "colorize": "colorize_any"}


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle's folder, or its file of weights."""
    if path.is_dir():
        return (path / MODEL).is_file()
    return path.suffix == SUFFIX and path.is_file()


def weights_of(path: Path) -> Path:
    """The file of weights of a bundle's folder; a file is itself."""
    return path / WEIGHTS if path.is_dir() else path


def described(path: Path) -> dict[str, Any]:
    """What the JSON file of a bundle says, of which nothing but its form is checked."""
    place = weights_of(path).with_suffix(".json")
    if not place.is_file():
        raise InputError(f"{path} is no bundle: {place} does not exist")
    if place.stat().st_size > _LONGEST:
        raise InputError(f"{place} is larger than {_LONGEST // 2**20} MiB: it is no bundle's")
    try:
        model = json.loads(place.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is no JSON file: {error}") from None
    missing = [key for key in NEEDED if key not in model] if isinstance(model, dict) else NEEDED
    if missing:
        raise InputError(f"{place} says no {missing[0]}: it was not written by restore export")
    return dict(model)


@dataclass(frozen=True)
class Released:
    """A model that comes with restore. said: all of its model.json."""

    name: str
    folder: Path
    said: Mapping[str, Any]

    @property
    def task(self) -> str:
        """Name of its class: `Denoiser`, `InpaintingGAN`."""
        return str(self.said["config"]["task"]["_target_"]).rpartition(".")[2]

    @property
    def data(self) -> Mapping[str, str]:
        """Terms of the data that it learnt from, by name."""
        terms: Mapping[str, str] = self.said.get("data", {})
        return terms


def folder() -> Path:
    """experiments/ of a checkout, or its copy inside an installed package."""
    package = Path(__file__).parent
    inside = package / "experiments"
    return inside if inside.is_dir() else package.parent / "experiments"


def released() -> list[Released]:
    """The models that come with restore, by name; their weights are not read."""
    places = sorted(path.parent for path in folder().glob(f"*/{MODEL}"))
    return [Released(place.name, place, described(place)) for place in places]


def defaults() -> dict[str, str]:
    """Task (`denoise`, `inpaint`, `colorize`) -> the released model that it stands for."""
    known = names()
    return {word: name for word, name in DEFAULTS.items() if name in known}


def names() -> list[str]:
    return sorted(path.parent.name for path in folder().glob(f"*/{MODEL}"))
