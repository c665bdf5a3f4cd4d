"""Folders of a user's own configs: `hydra.searchpath=[pkg://mylab.conf]`, or file:///folder."""

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from restore.config.command import conf
from restore.config.trust import check_hidden, root_of
from restore.types import InputError

KEY = "hydra.searchpath="
PACKAGE = "pkg://"


def places_of(arguments: Iterable[str]) -> list[str]:
    """The places that a command line names; Hydra says what cannot be read."""
    texts = [one for one in arguments if one.lstrip("+").startswith(KEY)]
    if not texts:
        return []
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        value = OverridesParser.create().parse_override(texts[-1]).value()
    except HydraException:
        return []
    return [str(one) for one in value] if isinstance(value, list) else []


def check(arguments: Iterable[str]) -> None:
    """Raises InputError for a place that is not there, of which Hydra would only warn, and for a
    file that another of the same name hides."""
    places = places_of(arguments)
    for place in places:
        if place.startswith(PACKAGE) and not folder(place).is_dir():
            check_hidden(root_of(place.removeprefix(PACKAGE)))
        if not folder(place).is_dir():
            raise InputError(
                f"{KEY}{place} is not there: give the folder of your configs as pkg://mylab.conf, "
                "or as file:///folder"
            )
    if places:
        _check_names([conf(), *map(folder, places)])


def _check_names(folders: list[Path]) -> None:
    """Hydra takes a file from the first folder that has it, and is silent about the others."""
    known: dict[str, Path] = {}
    for home in dict.fromkeys(one.resolve() for one in folders):
        for path in sorted(home.rglob("*.yaml")):
            name = path.relative_to(home).as_posix()
            first = known.setdefault(name, path)
            if first != path and first.read_bytes() != path.read_bytes():
                choice = "=".join(name.removesuffix(".yaml").rsplit("/", 1))
                raise InputError(
                    f"{path} would never be read: {choice} is {first}, which comes first; give "
                    "yours another name"
                )


def folder(place: str) -> Path:
    """The folder of a place in hydra.searchpath; nothing is imported."""
    scheme, _, rest = place.rpartition("://")
    if scheme != "pkg":
        return Path(rest)
    root, *parts = rest.split(".")
    spec = importlib.util.find_spec(root) if root.isidentifier() else None
    found = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(found or ["/nowhere"]))).joinpath(*parts)
