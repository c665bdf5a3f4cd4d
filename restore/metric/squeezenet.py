"""A distance of images in the features of the ImageNet network that ships with restore."""

import torch
from torch import Tensor

from restore.metric.base import Metric, check_size, eight_bit
from restore.network.squeezenet1_0 import SHA256, SMALLEST, load_squeezenet
from restore.types import Batch, InputError


class SqueezeNetDistance(Metric):
    """Of RGB images of 31 px or more, on 8-bit values, in [0, 4]; 0 for equal images.

    Zhang et al. 2018, eq. 1, of SqueezeNet 1.0's fire modules with all channel weights 1, a mean
    over the layers: no LPIPS, whose weights were learned for other networks.
    """

    name = "squeezenet1_0"
    definition = f"squeezenet1_0-{SHA256}/unit/uint8/per-image/v1"
    higher_is_better = False

    def __init__(self) -> None:
        self.network = load_squeezenet()

    def check(self, channels: int, height: int, width: int) -> None:
        if channels != 3:
            raise InputError(f"metric {self.name} is of RGB images, not of {channels} channels")
        check_size(self.name, height, width, SMALLEST, "leave it out")

    @torch.no_grad()
    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        network = self.network.to(restored.device)
        both = [network.features(eight_bit(image).float()) for image in (restored, target)]
        layers = [_distance(both[0][name], both[1][name]) for name in both[0]]
        return torch.stack(layers).mean(dim=0)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """Float64 [B]: squared, between unit vectors over the channels, a mean over the positions."""
    units = [x.double() / (x.double().norm(dim=1, keepdim=True) + 1e-10) for x in (one, other)]
    apart: Tensor = (units[0] - units[1]).square().sum(dim=1)
    return apart.mean(dim=(1, 2))
