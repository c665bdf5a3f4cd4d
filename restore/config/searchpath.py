"""Folders of a user's own configs: `hydra.searchpath=[pkg://mylab.conf]`, or file:///folder."""

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from restore.types import InputError

KEY = "hydra.searchpath="


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
    """Raises InputError for a place that is not there, of which Hydra would only warn."""
    for place in places_of(arguments):
        if not folder(place).is_dir():
            raise InputError(
                f"{KEY}{place} is not there: give the folder of your configs as pkg://mylab.conf, "
                "or as file:///folder"
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
