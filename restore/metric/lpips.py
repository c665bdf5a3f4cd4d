"""Learned perceptual image patch similarity, version 0.1 (Zhang et al. 2018), eq. 1."""

import importlib.util
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from restore.image import from_unit
from restore.metric.base import Metric, check_size, eight_bit
from restore.network.alexnet import AlexNet
from restore.network.squeezenet import SqueezeNet
from restore.network.vgg import VGG16
from restore.network.weights import PublishedNetwork, load_published
from restore.types import Batch, InputError

_SMALLEST = 32  # px, where every backbone still has a pixel at its last layer
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's, for [-1, 1]


class _Backbone(NamedTuple):
    network: type[PublishedNetwork]
    layers: tuple[int, ...]  # of `features`, whose outputs are compared


_BACKBONES = {
    "alex": _Backbone(AlexNet, (1, 4, 7, 9, 11)),
    "vgg": _Backbone(VGG16, (3, 8, 15, 22, 29)),
    "squeeze": _Backbone(SqueezeNet, (1, 4, 7, 9, 10, 11, 12)),
}


class LPIPS(Metric):
    """Distance of RGB images of 32 px or more, on 8-bit values. Never compare two nets' numbers.

    The linear heads come with torchmetrics, the backbone from the user's weight file.
    """

    higher_is_better = False

    def __init__(self, net: Literal["alex", "vgg", "squeeze"] = "alex") -> None:
        backbone = _BACKBONES[net]
        network = load_published(backbone.network)
        assert isinstance(network.features, nn.Sequential)
        self.layers = backbone.layers
        self.features = nn.Sequential(*list(network.features)[: self.layers[-1] + 1])
        self.heads = _load_heads(net)
        self.name = f"lpips_{net}"
        self.definition = f"lpips/{net}/v0.1/uint8/per-image/v1"

    def check(self, channels: int, height: int, width: int) -> None:
        if channels != 3:
            raise InputError(f"metric {self.name} is of RGB images, not of {channels} channels")
        check_size(self.name, height, width, _SMALLEST, "leave it out")

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        return self.distance(from_unit(eight_bit(restored)), from_unit(eight_bit(target)))

    @torch.no_grad()
    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Float64 [B] between RGB [B, 3, H, W] in [-1, 1]."""
        total = x.new_zeros(len(x), dtype=torch.float64)
        for one, other, head in zip(
            self._activations(x), self._activations(y), self.heads, strict=True
        ):
            squared = (_normalize(one) - _normalize(other)).square()
            weighted = (squared * head.to(x.device)[:, None, None]).sum(dim=1)
            total += weighted.mean(dim=(1, 2)).double()
        return total

    def _activations(self, x: Tensor) -> list[Tensor]:
        shift, scale = (x.new_tensor(v).float()[:, None, None] for v in (_SHIFT, _SCALE))
        x = (x.float() - shift) / scale
        outputs = []
        for index, layer in enumerate(self.features.to(x.device)):
            x = layer(x)
            if index in self.layers:
                outputs.append(x)
        return outputs


def _normalize(activation: Tensor) -> Tensor:
    """Features of unit length over the channels."""
    return activation / (activation.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def _load_heads(net: str) -> list[Tensor]:
    """Non-negative channel weights, one vector a layer."""
    spec = importlib.util.find_spec("torchmetrics")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / "functional/image/lpips_models" / f"{net}.pth"
    if not path.is_file():
        raise InputError(f"no LPIPS heads {path}: install a torchmetrics that ships them (>= 1.9)")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return [state[f"lin{i}.model.1.weight"].flatten() for i in range(len(state))]
