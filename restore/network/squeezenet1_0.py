"""SqueezeNet 1.0 (Iandola et al. 2016) with weights of ILSVRC 2012 that ship with restore.

The weights are those of Deep Compression (Han et al. 2016), under the BSD licence beside them.
"""

import hashlib
from collections.abc import Collection
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.squeezenet import Fire
from restore.types import InputError

WEIGHTS = Path(__file__).with_name("squeezenet1_0.safetensors")
SHA256 = "24f442a8"  # its first digits
SIDE = 227  # px of the images of its training
SMALLEST = 31  # px that leave one at the end

# Means of the features of a photo: divided by them, the layers weigh alike.
SCALES = {
    **{"fire2": 54.09, "fire3": 111.11, "fire4": 88.05, "fire5": 155.89},
    **{"fire6": 65.17, "fire7": 58.91, "fire8": 15.92, "fire9": 10.41},
}
_CHANNELS = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
_POOLED = ("fire4", "fire8")  # what a pool follows
_MEAN = (104.0, 117.0, 123.0)  # of blue, green, red in 0 to 255


class SqueezeNet10(nn.Module):
    """RGB [B, 3, H, W] in [0, 1] to logits [B, 1000]; InputError where a side is below 31 px."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2)
        channels = 96
        for name, (squeezed, expanded) in zip(SCALES, _CHANNELS, strict=True):
            self.add_module(name, Fire(channels, squeezed, expanded))
            channels = 2 * expanded
        self.classifier = nn.Conv2d(channels, 1000, 1, padding=1)

    def features(self, image: Tensor, names: Collection[str] = tuple(SCALES)) -> dict[str, Tensor]:
        """What the fire modules of these names make of it: [B, 128 to 512, h, w] each."""
        if min(image.shape[-2:]) < SMALLEST:
            height, width = image.shape[-2:]
            raise InputError(
                f"an image of {height}x{width} px is too small for squeezenet1_0: it takes "
                f"{SMALLEST} px or more"
            )
        mean = image.new_tensor(_MEAN)[:, None, None]
        x = F.relu(self.conv1(255 * image.flip(1) - mean))
        x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
        made: dict[str, Tensor] = {}
        for name in SCALES:
            x = self.get_submodule(name)(x)
            if name in names:
                made[name] = x
            if len(made) == len(names):
                break
            if name in _POOLED:
                x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
        return made

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = F.relu(self.classifier(self.features(image, ["fire9"])["fire9"]))
        return logits.mean(dim=(2, 3))


def load_squeezenet() -> SqueezeNet10:
    """The network with its weights, on the CPU, frozen. InputError for a damaged file."""
    data = WEIGHTS.read_bytes()
    if not hashlib.sha256(data).hexdigest().startswith(SHA256):
        raise InputError(f"{WEIGHTS} is damaged: its checksum is not {SHA256}..., install anew")
    with torch.device("meta"):
        network = SqueezeNet10()
    state = {key: value.float() for key, value in load(data).items()}
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)
