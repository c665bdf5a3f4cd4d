"""Published weights from local files: found, checked by their hash, never downloaded."""

import os
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from torch import nn

from restore.hashing import sha256_of
from restore.types import InputError

PYTORCH = "https://download.pytorch.org/models/"


class PublishedNetwork(nn.Module):
    """A network whose public weight file is `weights`, from `address`, with the same keys."""

    weights: ClassVar[str]  # NAME-HASH.pth, HASH the first digits of the file's SHA-256
    address: ClassVar[str] = PYTORCH


NetworkT = TypeVar("NetworkT", bound=PublishedNetwork)


def find_weights(name: str, address: str = PYTORCH) -> Path:
    """The file in $RESTORE_WEIGHTS or torch hub's cache.

    Raises InputError where it is in neither, or where its hash is not the one of its name.
    """
    folders = [Path(torch.hub.get_dir()) / "checkpoints"]
    if own := os.environ.get("RESTORE_WEIGHTS"):
        folders.insert(0, Path(own))
    for folder in folders:
        if (folder / name).is_file():
            _check_hash(folder / name)
            return folder / name
    raise InputError(
        f"no weights {name} in {' or '.join(map(str, folders))}: "
        f"get {address}{name} and set RESTORE_WEIGHTS to its folder"
    )


def _check_hash(path: Path) -> None:
    published = path.stem.rpartition("-")[2]
    actual = sha256_of(path)
    if not actual.startswith(published):
        raise InputError(f"{path} is damaged: its SHA-256 starts with {actual[:8]}, get it anew")


def load_published(network: type[NetworkT]) -> NetworkT:
    """The network with its public weights, on the CPU, frozen and in evaluation mode."""
    path = find_weights(network.weights, network.address)
    # on the meta device, so that random initial weights are neither drawn nor stored
    with torch.device("meta"):
        built = network()
    state = torch.load(path, map_location="cpu", weights_only=True)
    built.load_state_dict(state, assign=True)
    return built.eval().requires_grad_(False)
