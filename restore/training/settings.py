"""Settings of a resumed run in the place of its stored ones."""

import copy
from collections.abc import Mapping
from typing import Any

from restore.types import InputError

PLAIN = ("max_updates", "seed", "packages")  # the settings that have no dot in their name


def replace_settings(stored: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a stored config with other settings; what follows max_updates goes along."""
    config = copy.deepcopy(dict(stored))
    for key, value in settings.items():
        *parents, name = key.split(".")
        if not parents and name not in PLAIN:
            raise InputError(f"{key}={value}: a resumed run keeps its groups, set single keys")
        node: Any = config
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise InputError(f"{key} is not a setting of this run")
        node[name] = value
    if "max_updates" in settings:
        _follow(config, stored["max_updates"], settings["max_updates"], follows=False)
        config["callback"]["max_updates"]["max_updates"] = settings["max_updates"]
    return config


def _follow(node: Any, old: int, new: int, follows: bool) -> None:
    """Schedules that were as long as the run stay so: stored configs hold no interpolations."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if follows and type(value) is int and value == old:
            node[key] = new
        _follow(value, old, new, follows or key == "scheduler")
