"""A model to pass on: model.safetensors and model.json. Nothing in it can run code.

The weights are those that restore (averaged, where training averaged them), without a training's
optimizers, position and adversary. The JSON file says all else: config, facts of the data, SHA-256
of the weights, licence, terms of the data, and the record of the training.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from restore.content import FORMAT, upgrade
from restore.folder import write_whole
from restore.released import MODEL, WEIGHTS, described, weights_of
from restore.types import InputError


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
    content: Mapping[str, Any], folder: Path, said: Mapping[str, Any], half: bool = False
) -> None:
    """Writes the bundle of a checkpoint's content into a folder that exists.

    said: what else model.json says, such as licence and record. half: weights in float16.

    Raises:
        InputError: weights that float16 cannot hold.
    """
    kept = {name: _stored(name, tensor, half) for name, tensor in weights(content).items()}
    data = safetensors.torch.save(kept, {"format": "pt"})
    config = {key: node for key, node in content["config"].items() if key != "packages"}
    model = {
        "format": FORMAT,
        "experiment": content["experiment"],
        **said,
        "weights": "float16" if half else "float32",
        "parameters": sum(one.numel() for name, one in kept.items() if _is_network(name)),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "progress": content["progress"],
        "run": content.get("run"),
        "init": content.get("init"),
        "foreign": content.get("foreign", {}),
        "facts": content["facts"],
        "config": {**config, "data": {**config["data"], "root": None}},
    }
    _write_bytes(folder / WEIGHTS, data)
    write_whole(folder / MODEL, json.dumps(model, indent=1) + "\n")


def _stored(name: str, tensor: Tensor, half: bool) -> Tensor:
    kept = tensor.detach().cpu()
    if not kept.is_floating_point():
        return kept.clone(memory_format=torch.contiguous_format)
    smaller = kept.to(torch.float16 if half else torch.float32)
    if not torch.isfinite(smaller).all():
        raise InputError(f"{name} does not fit into float16: leave out --half")
    return smaller.clone(memory_format=torch.contiguous_format)


def _write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


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
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"checkpoint={place} holds no weights: {error}") from error
    state = {name: one.float() if one.is_floating_point() else one for name, one in stored.items()}
    kept = ("format", "experiment", "config", "facts", "progress", "run", "foreign", "init")
    content = {key: model[key] for key in kept if key in model}
    return _alone(upgrade({**content, "state_dict": state}, place))


def verified(path: Path) -> tuple[dict[str, Any], bytes]:
    """What model.json says, and the file of weights, whose SHA-256 is the one that it says.

    Raises:
        InputError: no bundle, or a damaged one.
    """
    model, place = described(path), weights_of(path)
    if not place.is_file():
        raise InputError(f"checkpoint={path} is incomplete: {place} does not exist")
    data = place.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != model["sha256"]:
        raise InputError(
            f"checkpoint={place} is damaged, or belongs to another model.json: its SHA-256 is "
            f"{found[:12]}, not {str(model['sha256'])[:12]}"
        )
    return model, data


def _alone(content: dict[str, Any]) -> dict[str, Any]:
    """The content without an adversary, whose weights no bundle holds."""
    config = content["config"]
    if config["task"].get("adversary") is None:
        return content
    return {**content, "config": {**config, "task": {**config["task"], "adversary": None}}}
