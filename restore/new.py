"""restore new NAME: a package of the user's own, that trains as it is written."""

import importlib.util
import keyword
import re
import shutil
from pathlib import Path

from restore.types import InputError

FILES = {
    "pyproject.toml": """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "NAME"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["restore"]

[tool.setuptools]
packages = ["NAME", "NAME.conf"]

[tool.setuptools.package-data]
"NAME.conf" = ["**/*.yaml"]
""",
    "README.md": """\
# NAME

```bash
pip install -e . && pytest
restore train experiment=NAME_digits 'hydra.searchpath=[pkg://NAME.conf]'
restore evaluate checkpoint=RUN 'baseline=[mean_fill]' benchmark=digits_half 'packages=[NAME]'
```

`NAME/network.py` is the network and `NAME/conf/network/NAME_net.yaml` its settings; both are found
by name. What restore has can be replaced in the same way: data, degradation, loss, metric, task.
""",
    "NAME/__init__.py": '"""Own code for restore."""\n',
    "NAME/network.py": '''\
"""A network that fills holes."""

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """Masked images [B, C, H, W] in [-1, 1] and hole [B, 1, H, W] to the one stage [B, C, H, W].

    image_channels: comes from the data. The others are settings, checked by their types. Photos
    have any size: a network that halves them pads inside and cuts again, as
    restore.network.denoising.DenoisingUNet does by pad_to_multiple.
    """

    def __init__(self, image_channels: int, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(image_channels + 1, width, 3, padding=1)]
        for _ in range(depth):
            layers += [nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)]
        self.body = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(width, image_channels, 1))

    def forward(self, masked: Tensor, hole: Tensor) -> tuple[Tensor]:
        return (self.body(torch.cat([masked, hole], dim=1)),)
''',
    "NAME/conf/__init__.py": '"""Configs, found by pkg://NAME.conf."""\n',
    "NAME/conf/network/NAME_net.yaml": """\
# @package task.network
_target_: NAME.network.Net
_partial_: true
width: 32
depth: 3
""",
    "NAME/conf/experiment/NAME_digits.yaml": """\
# @package _global_
# Does the own network fill halves of digits better than their mean?
defaults:
  - override /data: digits
  - override /degradation: half
  - override /task: inpainting
  - override /network: NAME_net
  - override /loss: l1
  - override /benchmark: digits_half

packages: [NAME]
max_updates: 1000
trainer:
  val_check_interval: 250
""",
    "tests/test_network.py": """\
import torch

from NAME.network import Net


def test_every_weight_learns() -> None:
    network = Net(image_channels=1, width=8)
    image, hole = torch.rand(2, 1, 8, 8) * 2 - 1, torch.ones(2, 1, 8, 8)
    (filled,) = network(image * (1 - hole), hole)
    assert filled.shape == image.shape
    (filled - image).square().mean().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_it_takes_images_of_any_size():
    network = Net(image_channels=1, width=8)
    for height, width in ((8, 8), (33, 35), (17, 6)):
        image = torch.zeros(1, 1, height, width)
        assert network(image, torch.ones_like(image))[-1].shape == image.shape
""",
}


def create(name: str) -> Path:
    """Writes the package into a new folder `name` of the working folder; returns it.

    Raises:
        InputError: no name of a package, one that is taken, or a folder that is there or cannot be
            made.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise InputError(
            f"{name!r} is no name of a package: take lower-case letters, digits and _, as mylab"
        )
    folder = Path(name).absolute()
    if folder.exists():
        raise InputError(f"{folder} is there already: choose another name")
    if importlib.util.find_spec(name) is not None:
        raise InputError(f"{name} is the name of an installed package: choose another one")
    try:
        for place, text in FILES.items():
            path = folder / place.replace("NAME", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("NAME", name), encoding="utf-8")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise InputError(f"{folder} cannot be written: {error.strerror}") from error
    return folder
