"""What a checkpoint holds: types that are checked when it is read, and where classes have moved.

A checkpoint may come from a stranger. Reading it runs no code, and what its config may build is
bounded: by the allow-list of restore.config.signature, and here by the place in the config.
"""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, Union, is_typeddict

from torch import Tensor

from restore.config.trust import targets
from restore.types import Facts, InputError

FORMAT = 2  # version of what a file holds; a file that states none is of version 1
ORIGINS = ("init", "teacher", "codec")  # entries that tell of other models, and of their data
# Where the classes of released checkpoints have moved, by old path.
MOVED = {
    "restore.callback.checkpoint.Checkpoint": "restore.recovery.best.Checkpoint",
    "restore.callback.recovery.Recovery": "restore.recovery.points.Recovery",
    "restore.callback.memory.ChannelsLast": "restore.callback.channels_last.ChannelsLast",
    "restore.callback.tracking.WandB": "restore.tracking.WandB",
    "restore.degradation.mask.Mixture": "restore.degradation.mask.ShapeMixture",
    "restore.diffusion.schedule.Linear": "restore.diffusion.schedule.LinearBeta",
    "lightning.pytorch.loggers.CSVLogger": "restore.recovery.rows.Rows",
}
# Arguments that the class in the new place does not have, by old path.
GONE = {"lightning.pytorch.loggers.CSVLogger": {"name", "version"}}
# Arguments that have another name today, by the path of today.
RENAMED = {"restore.task.diffusion.Diffusion": {"prediction": "parameterization"}}
# Classes that write files or act on a run, by the one section of a config where they belong.
HOMES = {
    "lightning.pytorch.loggers.": "logger",
    "restore.tracking.": "logger",
    "restore.recovery.rows.": "logger",
    "lightning.pytorch.": "trainer",
    "lightning.pytorch.callbacks.": "callback",
    "restore.callback.": "callback",
    "restore.recovery.": "callback",
    "restore.evaluation.": "benchmark",
}


class DataConfig(TypedDict):
    batch_size: int


class StoredConfig(TypedDict):
    """What every reader of a stored config relies on; restore.config.rules checks the rest."""

    task: dict[str, Any]
    data: DataConfig
    seed: int
    max_updates: NotRequired[int]
    trainer: NotRequired[dict[str, Any]]
    callback: NotRequired[dict[str, Any]]
    logger: NotRequired[dict[str, Any]]
    benchmark: NotRequired[dict[str, Any]]


class StoredProgress(TypedDict):
    updates: int
    batches: int


class Average(TypedDict):
    """The state of restore.callback.ema.EMA."""

    updates: int
    weights: dict[str, Tensor]


class StoredInitial(TypedDict):
    """The record of restore.training.initial."""

    experiment: str
    updates: int
    data: dict[str, str]


class StoredOther(TypedDict):
    """A model that a training used: as its teacher, or as its codec."""

    checkpoint: str
    experiment: str
    data: dict[str, str]


class StoredPosition(TypedDict):
    """The position of a run: see restore.recovery.position."""

    epoch: int
    epoch_end_due: bool
    batch: int
    batches: int
    batch_size: int
    world_size: int
    validation_due: bool
    validated: NotRequired[int | None]
    random: list[dict[str, Any]]
    gradients: dict[str, Tensor]
    rows: int


class Content(TypedDict):
    """A checkpoint. run: id of the run that wrote it; None before runs had one."""

    experiment: str
    config: StoredConfig
    facts: Facts
    state_dict: dict[str, Tensor]
    progress: StoredProgress
    format: NotRequired[int]
    run: NotRequired[str | None]
    foreign: NotRequired[dict[str, str]]
    init: NotRequired[StoredInitial | None]
    teacher: NotRequired[StoredOther | None]
    codec: NotRequired[StoredOther | None]
    ema: NotRequired[Average]
    position: NotRequired[StoredPosition]
    fingerprint: NotRequired[dict[str, Any]]
    resumed: NotRequired[list[dict[str, Any]]]
    tracking: NotRequired[dict[str, Any]]
    callbacks: NotRequired[dict[str, Any]]
    loops: NotRequired[dict[str, Any]]
    optimizer_states: NotRequired[list[dict[str, Any]]]
    lr_schedulers: NotRequired[list[dict[str, Any]]]


def upgrade(content: Any, path: Path) -> dict[str, Any]:
    """The content of the file `path` with today's class paths.

    Raises:
        InputError: not a checkpoint of restore, one of a newer format, one whose entries have
            other types than they should, or one whose config names a class where it has no place.
    """
    if not isinstance(content, dict) or not {"config", "facts", "state_dict"} <= content.keys():
        raise InputError(f"{path} holds no config: it was not written by restore")
    number = content.get("format", 1)
    if not isinstance(number, int) or number > FORMAT:
        raise InputError(
            f"{path} has format {number}, this version of restore reads up to {FORMAT}: "
            "install a newer one"
        )
    for wrong in _wrong(content, Content, ""):
        raise InputError(f"{path} cannot be used: {wrong}")
    config = update_paths(content["config"])
    task = config["task"].get("_target_")
    known = isinstance(task, str) and task.startswith(("restore.", "torch.", "lightning."))
    if not isinstance(task, str) or (known and not task.startswith("restore.task.")):
        raise InputError(
            f"{path} cannot be used: config.task._target_={task} is no class of a task"
        )
    for key, node in config.items():
        for place, target in targets(node, key):
            prefix = max((one for one in HOMES if target.startswith(one)), key=len, default=None)
            home = key if prefix is None else HOMES[prefix]
            if home != key:
                raise InputError(
                    f"{path} cannot be used: {place}._target_={target} belongs below {home} alone"
                )
    return {**content, "config": config}


def _wrong(value: Any, kind: Any, path: str) -> Iterator[str]:
    """Every place whose value does not have its type, with the type that it should have."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return
    if is_typeddict(kind) or dataclasses.is_dataclass(kind):
        yield from _wrong_record(value, kind, path)
    elif origin in (Union, types.UnionType):
        if all(any(True for _ in _wrong(value, one, path)) for one in arguments):
            yield f"{path} is {_kind(value)} and should be {kind}"
    elif not _is(value, origin or kind):
        yield f"{path} is {_kind(value)} and should be {_name(origin or kind)}"
    elif origin is dict:
        for key, one in value.items():
            if not isinstance(key, str):
                yield f"{path} has the key {key!r}, which should be a name"
            else:
                yield from _wrong(one, arguments[1], f"{path}.{key}")
    elif origin is list:
        for k, one in enumerate(value):
            yield from _wrong(one, arguments[0], f"{path}.{k}")


def _wrong_record(value: Any, kind: Any, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path} is {_kind(value)} and should be a mapping"
        return
    hints = typing.get_type_hints(kind)
    needed = getattr(kind, "__required_keys__", hints.keys())
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        needed = {field.name for field in fields if field.default is dataclasses.MISSING}
    for name, hint in hints.items():
        place = f"{path}.{name}".lstrip(".")
        if name in value:
            yield from _wrong(value[name], hint, place)
        elif name in needed:
            yield f"{place} is missing"
    if dataclasses.is_dataclass(kind):
        for name in value.keys() - hints.keys():
            yield f"{path}.{name} is not known"


def _is(value: Any, kind: type) -> bool:
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, Mapping if kind is dict else kind)


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _name(kind: type) -> str:
    return "None" if kind is type(None) else f"a {kind.__name__}"


def update_paths(node: Any) -> Any:
    """A config in which classes and their arguments have the names of today."""
    if isinstance(node, list):
        return [update_paths(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    target = node.get("_target_")
    old = target if isinstance(target, str) else ""
    new = MOVED.get(old, old)
    names, gone = RENAMED.get(new, {}), GONE.get(old, ())
    today = {names.get(k, k): update_paths(one) for k, one in node.items() if k not in gone}
    return {**today, "_target_": new} if old in MOVED else today
