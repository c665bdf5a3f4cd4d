"""Denoisers with the keys of KAIR's files, which ComfyUI, chaiNNer and others open by spandrel."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from restore.evaluation.method import Method
from restore.evaluation.published import Published
from restore.network.kair import TrainableDenoiser
from restore.task.restoration import RestorationTask
from restore.types import InputError

FILE = "model.pth"
FILES = (FILE,)


def write(task: RestorationTask, folder: Path) -> Path:
    """The state dict of the published network; images and noise levels in units of [0, 1].

    Raises:
        InputError: another network than dncnn, ffdnet or drunet.
    """
    network = task.network
    if not isinstance(network, TrainableDenoiser):
        raise InputError(
            f"--format kair takes network=dncnn, ffdnet or drunet, not {type(network).__name__}: "
            "choose another format"
        )
    path = folder / FILE
    torch.save({name: one.cpu() for name, one in network.released.state_dict().items()}, path)
    return path


def method(task: RestorationTask, path: Path, content: Mapping[str, Any]) -> Method:
    """What the file does, read as a file of others."""
    assert isinstance(task.network, TrainableDenoiser)
    network = copy.deepcopy(task.network.released)  # every weight of it becomes the file's
    return Published(network, str(path.resolve())).method(str(content["experiment"]))
