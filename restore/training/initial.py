"""A training that starts from the weights of a model: fine-tuning."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restore import bundle, zoo
from restore.data.terms import UNKNOWN, learnt_from
from restore.evaluation.results import checkpoint_name
from restore.task.teacher import Teacher
from restore.types import InputError

_NAMED = 4  # misfits in one message
_DRAWN = ("source", "seed", "limit", "train_framing", "train_repeat", "degradation")
_ADVERSARY, _CODEC = "adversary.", "codec."


@dataclass(frozen=True)
class Initial:
    """What a training started from, as it is recorded."""

    model: str  # as it was given
    checkpoint: str  # name and hash of the file
    experiment: str
    updates: int
    tensors: int  # that were taken
    left_out: list[str] = field(default_factory=list)  # `name: why`
    data: dict[str, str] = field(default_factory=dict)  # terms of what the weights learnt from
    repeats: bool = False  # this training draws the very samples of the one that made the weights

    def record(self) -> dict[str, Any]:
        return asdict(self)

    def told(self) -> list[str]:
        """Lines for the user."""
        taken = f"{self.tensors} tensors of {self.checkpoint}, update {self.updates}"
        repeats = "its training drew the same samples by the same seed: another seed=N draws others"
        return [
            f"started from {self.experiment}: {taken}",
            *(f"left out: {one}" for one in self.left_out),
            *([repeats] if self.repeats else []),
        ]


def start(
    task: nn.Module, init: Mapping[str, Any] | None, data: Mapping[str, Any] | None = None
) -> Initial | None:
    """Gives `task` the weights of the model that init.path names; None where it names none.

    data: the config of the data that it will learn from.

    The restorer's are its averages, if training averaged them. An adversary of the model goes on;
    where only one of the two has an adversary, a new one is trained, or the old one left.
    init.partial: leaves out what does not fit, in place of refusing.

    Raises:
        InputError: no such model, or tensors that have no counterpart of their shape.
    """
    given = dict(init or {})
    place = given.get("path")
    if place is None:
        return None
    content, path = _read(place)
    own = task.state_dict()
    theirs, codec = _without_codec(_weights(content), own)
    plays = [any(name.startswith(_ADVERSARY) for name in one) for one in (theirs, own)]
    notes = [*_without_adversary(*plays), *codec]
    judged = all(plays)
    wrong = dict(_misfits(theirs, own, judged))
    taken = {
        name: theirs[name]
        for name in own
        if name in theirs and name not in wrong and (judged or not name.startswith(_ADVERSARY))
    }
    if wrong and (not given.get("partial") or not taken):
        raise InputError(_refusal(str(place), wrong, bool(taken)))
    task.load_state_dict({**own, **taken})
    return Initial(
        model=str(place),
        checkpoint=checkpoint_name(str(path)),
        experiment=str(content["experiment"]),
        updates=int(content["progress"]["updates"]),
        tensors=len(taken),
        left_out=[*notes, *(f"{name}: {why}" for name, why in wrong.items())],
        data=_terms(content),
        repeats=_draws(content["config"]["data"]) == _draws(data or {}) != {},
    )


def taught(callbacks: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the record says of the model that is the teacher; None without one."""
    for one in callbacks.values():
        if isinstance(one, Teacher):
            return _used(one.path, one.file, one.origin)
    return None


def coded(task: nn.Module) -> dict[str, Any] | None:
    """What the record says of the model that task.codec.path names; None without one."""
    origin = getattr(getattr(task, "codec", None), "origin", None)
    return _used(origin["path"], origin["file"], origin) if origin else None


def _used(place: str, file: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": place,
        "checkpoint": checkpoint_name(str(file)),
        "experiment": str(content["experiment"]),
        "data": _terms(content),
    }


def _terms(content: Mapping[str, Any]) -> dict[str, str]:
    """Name -> terms of what a model learnt from, which is not known where no data are named."""
    return learnt_from(content) or {str(content["experiment"]): UNKNOWN}


def _draws(data: Mapping[str, Any]) -> dict[str, Any]:
    """What says where the patches of a training lie and what becomes of them."""
    return {key: data[key] for key in _DRAWN if key in data}


def _read(place: str) -> zoo.StoredModel:
    try:
        return zoo.read(place)
    except InputError as error:
        raise InputError(f"init.path={error}") from error


def _weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    state: Mapping[str, Tensor] = content["state_dict"]
    judges = {name: tensor for name, tensor in state.items() if name.startswith(_ADVERSARY)}
    return {**judges, **bundle.weights(content)}


def _without_adversary(theirs: bool, own: bool) -> list[str]:
    if own and not theirs:
        return ["adversary: the model has none, a new one is trained"]
    return ["adversary: this training has none"] if theirs and not own else []


def _without_codec(
    theirs: dict[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Their tensors with the codec that task.codec.path names, and a word where theirs differs."""
    mine = {name: tensor for name, tensor in own.items() if name.startswith(_CODEC)}
    if not mine:
        return theirs, []
    given = {name: tensor for name, tensor in theirs.items() if name.startswith(_CODEC)}
    rest = {name: tensor for name, tensor in theirs.items() if name not in given}
    same = given.keys() == mine.keys() and all(torch.equal(given[k], mine[k]) for k in mine)
    notes = [] if same else ["codec: that of task.codec.path counts, from which its own differs"]
    return {**rest, **mine}, notes


def _misfits(
    theirs: Mapping[str, Tensor], own: Mapping[str, Tensor], judged: bool
) -> list[tuple[str, str]]:
    """Name and reason of every tensor without a counterpart."""
    found = []
    for name in dict.fromkeys([*own, *theirs]):
        if name.startswith(_ADVERSARY) and not judged:
            continue
        if name not in theirs:
            found.append((name, "the model has none"))
        elif name not in own:
            found.append((name, "this training has none"))
        elif theirs[name].shape != own[name].shape:
            found.append((name, f"{_shape(theirs[name])} there, {_shape(own[name])} here"))
    return found


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _refusal(place: str, wrong: Mapping[str, str], some: bool) -> str:
    named = "; ".join(f"{name}: {why}" for name, why in list(wrong.items())[:_NAMED])
    more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    way = "or start from what fits with init.partial=true" if some else "nothing of it fits"
    return f"init={place} does not fit: {named}{more}. Take the network that it has, {way}"
