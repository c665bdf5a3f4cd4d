"""Who draws: a sampler and a guidance are of a task that calls them."""

from collections.abc import Mapping
from typing import Any

from restore.types import InputError


def check_drawing(config: Mapping[str, Any]) -> None:
    """Raises InputError for a sampler or a guidance that the task of a new run would never call.

    Not a part of `rules.check_run`, which is asked of stored runs, too: they go on with idle
    settings that nobody can change any more.
    """
    for key in ("sampler", "guidance"):
        if config.get(key) is not None and key not in config["task"]:
            task = str(config["task"].get("_target_")).rpartition(".")[2]
            raise InputError(
                f"{key}=... is of task=diffusion: {task} has none, leave it out, or say {key}=null "
                "where an experiment sets it"
            )
