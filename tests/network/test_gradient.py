"""A gradient reaches every parameter of every network that conf/network/ names."""

import inspect
from typing import Any

import pytest
import torch
import yaml
from entry import ROOT
from torch import Tensor, nn

from restore.config.target import resolve

LEAVES = sorted((ROOT / "conf" / "network").glob("*.yaml"))
SIZE = 32
GIVEN = {
    **{"in_channels": 3, "out_channels": 3, "image_channels": 3},
    **{"image_size": SIZE, "num_classes": 5},
}


def settings(name: str) -> dict[str, Any]:
    """Those of a leaf, in a small size."""
    leaf = yaml.safe_load((ROOT / "conf" / "network" / f"{name}.yaml").read_text())
    listed = [one for one in leaf.pop("defaults", []) if one != "_self_"]
    merged = {key: value for one in listed for key, value in settings(one).items()} | leaf
    if "widths" in merged:
        merged["widths"] = [8] * len(merged["widths"])
    return merged | ({"width": 8} if "width" in merged else {})


def argument(name: str) -> Tensor:
    """What a network is called with, by the name that it has there."""
    generator = torch.Generator().manual_seed(1)
    if name in ("t", "sigma"):
        return torch.rand(2, generator=generator)
    if name == "label":
        return torch.tensor([1, 3])
    if name == "hole":
        return (torch.rand(2, 1, SIZE, SIZE, generator=generator) > 0.5).float()
    if name == "noise":  # of latents, in the shape that the leaf of an autoencoder gives them
        return torch.randn(2, 4, SIZE // 4, SIZE // 4, generator=generator)
    channels = 1 if name == "lightness" else 3
    return torch.rand(2, channels, SIZE, SIZE, generator=generator) - 0.5


def alive(network: nn.Module) -> None:
    """Random values everywhere: what begins as zero stops the gradients before it."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("name", [path.stem for path in LEAVES])
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    given = settings(name)
    make = resolve(given.pop("_target_"))
    given.pop("_partial_")
    taken = inspect.signature(make).parameters
    network = make(**{key: value for key, value in GIVEN.items() if key in taken}, **given)
    alive(network)
    network.train()
    found = network(**{key: argument(key) for key in inspect.signature(network.forward).parameters})
    outputs = found if isinstance(found, tuple) else (found,)
    sum(one.float().square().sum() for one in outputs).backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead
