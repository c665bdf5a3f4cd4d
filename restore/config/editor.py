"""`restore schema`: schemas on the screen, and in files where editors look."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from restore.config import schema
from restore.errors import DONE, FAILED
from restore.folder import write_whole
from restore.types import InputError


def show(name: str, folders: Sequence[Path]) -> int:
    """Prints the schema of a group, or of a composed config."""
    print(json.dumps(schema.schema(name, folders), indent=1))
    return DONE


def write(directory: Path, settings: Path | None, folders: Sequence[Path]) -> int:
    """Writes all schemas and prints the line that a file begins with to be checked by one.

    settings: a file of VS Code, or of another editor with its `yaml.schemas`, which gets an entry
    a schema and keeps what else it holds.

    Raises:
        InputError: settings that are no JSON object.
    """
    files = schema.render(folders)
    kept = _read(settings) if settings is not None else {}
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_whole(directory / name, text)
        print(f"# yaml-language-server: $schema={(directory / name).resolve()}")
    if settings is not None:
        root = settings.resolve().parent.parent
        entries = {
            _seen_from(root, directory / name): _leaves(root, Path(name).stem, folders)
            for name in files
        }
        kept["yaml.schemas"] = {**kept.get("yaml.schemas", {}), **entries}
        settings.parent.mkdir(parents=True, exist_ok=True)
        write_whole(settings, json.dumps(kept, indent=2) + "\n")
    return DONE


def check(directory: Path, folders: Sequence[Path]) -> int:
    """Fails, with a line a file, where a written schema is not what the code makes it now."""
    files = schema.render(folders)
    there = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}
    stale = sorted(name for name in files | there if files.get(name) != there.get(name))
    for name in stale:
        print(f"{directory / name} is stale: run `restore schema --write {directory}`")
    return FAILED if stale else DONE


def _leaves(root: Path, name: str, folders: Sequence[Path]) -> list[str]:
    """Which files a schema is for."""
    below = f"{name}.yaml" if any((one / f"{name}.yaml").exists() for one in folders) else None
    return [_seen_from(root, one / (below or f"{name}/*.yaml")) for one in folders]


def _seen_from(root: Path, path: Path) -> str:
    whole = path.resolve()
    return f"{whole.relative_to(root) if whole.is_relative_to(root) else whole}"


def _read(settings: Path) -> dict[str, Any]:
    try:
        kept = json.loads(settings.read_text(encoding="utf-8")) if settings.exists() else {}
    except ValueError as error:
        raise InputError(f"{settings} is no plain JSON, comments included: {error}") from None
    if not isinstance(kept, dict) or not isinstance(kept.get("yaml.schemas", {}), dict):
        raise InputError(f"{settings} is no JSON object of settings")
    return kept
