"""What torch alone can refuse: the parts of a task that are built in a moment, before Lightning is
loaded, which takes longer than all of them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from restore.build import build
from restore.config.source import describe
from restore.config.trust import Trust
from restore.task.learning import in_words, moved

Config = dict[str, Any]


def check(config: Config) -> None:
    """Raises InputError for a sampler that does not fit its schedule, a discriminator that patches
    are too small for, or settings of learning that an optimizer or a scheduler refuses, or fails
    by at its first step."""
    task, trust = config["task"], Trust.of(config)
    _check_sampler(task, trust)
    _check_adversary(task.get("adversary"), config["data"].get("train_framing"), trust)
    for path, player in (("task", task), ("task.adversary", task.get("adversary"))):
        if isinstance(player, Mapping):
            with in_words():
                optimizer = _made(
                    player, "optimizer", path, trust, [nn.Parameter(torch.zeros(2, 2))]
                )
                if optimizer is not None:
                    moved(_made(player, "scheduler", path, trust, optimizer))


def _check_sampler(task: Config, trust: Trust) -> None:
    nodes = {key: task.get(key) for key in ("sampler", "schedule")}
    if all(isinstance(node, Mapping) for node in nodes.values()):
        sampler, schedule = (
            build({**node}, f"task.{key}", trust=trust) for key, node in nodes.items() if node
        )
        if hasattr(sampler, "num_calls"):
            sampler.num_calls(schedule)


def _check_adversary(node: Any, framing: Any, trust: Trust) -> None:
    """The discriminator of patches of that size; channels play no part."""
    size = framing.get("size") if isinstance(framing, Mapping) else None
    described = describe(str(node["_target_"])) if isinstance(node, Mapping) else None
    given = {"image_channels": 3, "condition_channels": 3, "image_size": size}
    if size is not None and described is not None and given.keys() <= described.parameters.keys():
        build({**node, "_partial_": False}, "task.adversary", trust=trust, **given)


def _made(player: Mapping[str, Any], key: str, path: str, trust: Trust, given: Any) -> Any:
    """An optimizer of one parameter, or the scheduler of an optimizer; None where there is none, or
    where source text does not tell what it calls its first argument."""
    node = player.get(key)
    if not isinstance(node, Mapping):
        return None
    described = describe(str(node["_target_"]))
    if described is None or not described.parameters:
        return None
    called = {next(iter(described.parameters)): given}
    return build({**node, "_partial_": False}, f"{path}.{key}", trust=trust, **called)
