"""A model to pass on: model.safetensors and model.json. Nothing in it can run code.

The weights are those that restore (averaged, where training averaged them), without a training's
optimizers, position and adversary. The JSON file says all else: config, facts of the data, SHA-256
of the weights, licence, terms of the data, and the record of the training.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from restore.content import FORMAT, ORIGINS, upgrade
from restore.folder import write_whole
from restore.released import MODEL, WEIGHTS, described, weights_of
from restore.types import InputError

Kind = Literal["float32", "float16", "int8"]
_SCALE = "#scale"  # behind the name of a tensor: what its int8 numbers are multiplied by


def weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """By their names in the task: what restores, averages in the place of raw weights."""
    averaged = content.get("ema", {}).get("weights") or {}
    plays = content["config"]["task"].get("adversary") is not None
    return {
        name: averaged.get(name.removeprefix("network."), tensor) if _is_network(name) else tensor
        for name, tensor in content["state_dict"].items()
        if not (plays and name.startswith("adversary."))
    }


def _is_network(name: str) -> bool:
    return name.startswith("network.")


def write(
    content: Mapping[str, Any], folder: Path, said: Mapping[str, Any], kind: Kind = "float32"
) -> None:
    """Writes the bundle of a checkpoint's content into a folder that exists.

    said: what else model.json says, such as licence and record. kind: of the weights; int8 holds
    matrices and kernels of the network, and of a codec's, in one byte a number, with a scale for
    each of their first channels, and all else in float16.

    Raises:
        InputError: weights that float16 cannot hold.
    """
    kept: dict[str, Tensor] = {}
    for name, tensor in weights(content).items():
        kept |= _stored(name, tensor.detach().cpu(), kind)
    data = safetensors.torch.save(kept, {"format": "pt"})
    config = {key: node for key, node in content["config"].items() if key != "packages"}
    model = {
        "format": FORMAT,
        "experiment": content["experiment"],
        **said,
        "weights": kind,
        "parameters": sum(
            one.numel()
            for name, one in kept.items()
            if _is_network(name) and not name.endswith(_SCALE)
        ),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "progress": content["progress"],
        "run": content.get("run"),
        **{key: content.get(key) for key in ORIGINS},
        "foreign": content.get("foreign", {}),
        "facts": content["facts"],
        "config": {**config, "data": {**config["data"], "root": None}},
    }
    write_whole(folder / WEIGHTS, data)
    write_whole(folder / MODEL, json.dumps(model, indent=1) + "\n")


def _stored(name: str, tensor: Tensor, kind: Kind) -> dict[str, Tensor]:
    """The tensors of the file that hold this one, by name."""
    if not tensor.is_floating_point():
        return {name: tensor.clone(memory_format=torch.contiguous_format)}
    smaller = tensor.to(torch.float32 if kind == "float32" else torch.float16)
    if not torch.isfinite(smaller).all():
        raise InputError(f"{name} does not fit into float16: leave out --half and --int8")
    if kind != "int8" or tensor.ndim < 2 or not _is_network(name.removeprefix("codec.")):
        return {name: smaller.clone(memory_format=torch.contiguous_format)}
    highest = tensor.float().abs().amax(tuple(range(1, tensor.ndim)), keepdim=True)
    scale = (highest / 127).clamp(min=torch.finfo(torch.float32).tiny)
    rounded = (tensor.float() / scale).round().to(torch.int8)
    return {name: rounded.contiguous(), name + _SCALE: scale}


def _read_back(stored: Mapping[str, Tensor], name: str) -> Tensor:
    """The tensor of that name, however stored; ValueError where its scale does not fit."""
    one, scale = stored[name], stored.get(name + _SCALE)
    if scale is None:
        return one.float() if one.is_floating_point() else one
    if one.dtype != torch.int8 or scale.shape != (len(one), *[1] * (one.ndim - 1)):
        raise ValueError(f"the scale of {name} does not fit")
    return one.float() * scale.float()


def read(path: Path) -> dict[str, Any]:
    """What a checkpoint of this model would hold, checked as one is.

    Raises:
        InputError: no bundle, a damaged one, one of a newer format, or one that says what it
            may not.
    """
    model, data = verified(path)
    place = weights_of(path)
    try:
        stored = safetensors.torch.load(data)
        state = {name: _read_back(stored, name) for name in stored if not name.endswith(_SCALE)}
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{place} holds no weights: {error}") from error
    kept = ("format", "experiment", "config", "facts", "progress", "run", "foreign", *ORIGINS)
    content = {key: model[key] for key in kept if key in model}
    return _alone(upgrade({**content, "state_dict": state}, place))


def verified(path: Path) -> tuple[dict[str, Any], bytes]:
    """What model.json says, and the file of weights, whose SHA-256 is the one that it says.

    Raises:
        InputError: no bundle, or a damaged one.
    """
    model, place = described(path), weights_of(path)
    if not place.is_file():
        raise InputError(f"{path} is incomplete: {place} does not exist")
    data = place.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != model["sha256"]:
        raise InputError(
            f"{place} is damaged, or belongs to another model.json: its SHA-256 is "
            f"{found[:12]}, not {str(model['sha256'])[:12]}"
        )
    return model, data


def _alone(content: dict[str, Any]) -> dict[str, Any]:
    """The content without an adversary, whose weights no bundle holds."""
    config = content["config"]
    if config["task"].get("adversary") is None:
        return content
    return {**content, "config": {**config, "task": {**config["task"], "adversary": None}}}
