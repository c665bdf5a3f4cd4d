"""What published denoising networks have in common, whatever their layers."""

from abc import abstractmethod
from typing import ClassVar, Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from restore.image import from_unit, to_unit
from restore.types import InputError


class PublishedDenoiser(nn.Module):
    """A network for Gaussian noise whose state dict has the keys of its public release.

    image_channels: 1 or 3. factor: height and width must be multiples of it. takes_sigma: whether
    it is told the noise level.
    """

    factor: ClassVar[int] = 1
    takes_sigma: ClassVar[bool] = True

    def __init__(self, image_channels: int) -> None:
        super().__init__()
        if image_channels not in (1, 3):
            raise InputError(f"network.image_channels={image_channels}: use 1 (grey) or 3 (RGB)")
        self.image_channels = image_channels

    @abstractmethod
    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """Clean [B, C, H, W] from noisy [B, C, H, W] and levels sigma [B], in units of [0, 1]."""


class Denoising(Protocol):
    """Whatever is called as a `PublishedDenoiser` is."""

    @property
    def factor(self) -> int: ...

    def __call__(self, image: Tensor, sigma: Tensor) -> Tensor: ...


def restore_any_size(network: Denoising, image: Tensor, sigma: Tensor) -> Tensor:
    """Clean [B, C, H, W] from noisy ones in [-1, 1] of any size; sigma [B] in units of [0, 1].

    The image's last row and column are repeated up to multiples of the network's factor.
    """
    height, width = image.shape[-2:]
    padding = (0, -width % network.factor, 0, -height % network.factor)
    padded = F.pad(to_unit(image), padding, mode="replicate")
    clean = network(padded, sigma)
    return from_unit(clean[..., :height, :width])


def plain_cnn(in_channels: int, out_channels: int, width: int, depth: int) -> nn.Sequential:
    """`depth` 3x3 convolutions of `width` channels with ReLU between them: keys 0, 2, 4 ..."""
    if width < 1 or depth < 2:
        raise InputError(f"network.width={width}, network.depth={depth}: use 1, 2 or more")
    layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1)]
    for _ in range(depth - 2):
        layers += [nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1)]
    return nn.Sequential(
        *layers, nn.ReLU(inplace=True), nn.Conv2d(width, out_channels, 3, padding=1)
    )


def sigma_map(sigma: Tensor, like: Tensor) -> Tensor:
    """Levels [B] as constant maps [B, 1, H, W] of the size of `like` [B, C, H, W]."""
    return sigma.to(like).view(-1, 1, 1, 1).expand(-1, 1, *like.shape[-2:])
