"""Settings of a resumed run in the place of its stored ones."""

import copy
from collections.abc import Mapping
from typing import Any

from restore.types import InputError

PLAIN = ("max_updates", "seed", "packages")  # the settings that have no dot in their name
_SHARED = (
    *("root", "on_error", "degradation"),
    *(f"source.{key}" for key in ("folder", "mode", "val_fraction")),
)
# Settings that hold the value of another one, or of a section the values in it, by an interpolation
# of conf/, which stored configs have no more.
FOLLOWERS = {
    "seed": ("data.seed", "task.seed", "callback.teacher.seed"),
    "task.optimizer.lr": ("task.scheduler.max_lr", "task.adversary.scheduler.max_lr"),
    **{f"data.{key}": (f"benchmark.folder.data.{key}",) for key in _SHARED},
    "data.train_framing.size": ("data.eval_framing.size",),
}


def replace_settings(stored: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a stored config with other settings; what followed them goes along."""
    config = copy.deepcopy(dict(stored))
    for key, value in settings.items():
        *parents, name = key.split(".")
        if not parents and name not in PLAIN:
            raise InputError(f"{key}={value}: a resumed run keeps its groups, set single keys")
        node = _node(config, parents)
        if node is None:
            raise InputError(f"{key} is not a setting of this run")
        old = node.get(name)
        node[name] = value
        for follower in _followers(key):
            *above, its = follower.split(".")
            following = _node(config, above)
            followed = following is not None and its in following and following[its] == old
            if followed and follower not in settings:
                following[its] = value  # type: ignore[index]
    if "max_updates" in settings:
        _follow(config, stored["max_updates"], settings["max_updates"], follows=False)
        config["callback"]["max_updates"]["max_updates"] = settings["max_updates"]
    return config


def _followers(key: str) -> list[str]:
    found = [(head, one) for head, several in FOLLOWERS.items() for one in several]
    return [one + key[len(head) :] for head, one in found if f"{key}.".startswith(f"{head}.")]


def _node(config: dict[str, Any], path: list[str]) -> dict[str, Any] | None:
    """The section of that path; None where it is not there, or is none."""
    node: Any = config
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else None


def _follow(node: Any, old: int, new: int, follows: bool) -> None:
    """Schedules that were as long as the run stay so: stored configs hold no interpolations."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if follows and type(value) is int and value == old:
            node[key] = new
        _follow(value, old, new, follows or key == "scheduler")
