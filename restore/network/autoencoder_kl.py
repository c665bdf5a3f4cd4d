"""The autoencoder of latent diffusion (Rombach et al. 2022, "AutoencoderKL" of the field)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.norm import normalize
from restore.types import InputError

LOG_VARIANCE = (-30.0, 20.0)  # of the authors' clamp: neither end is met where training is sound


class PlainResidual(nn.Module):
    """GroupNorm, SiLU, convolution, twice, without an embedding."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = normalize("group", in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = normalize("group", out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        out: Tensor = self.skip(x) + self.conv2(F.silu(self.norm2(h)))
        return out


class GaussianAutoencoder(nn.Module, ABC):
    """Images [B, C, H, W] to a Gaussian over latents [B, latent_channels, H / factor, W / factor],
    and back."""

    factor: int
    latent_channels: int

    @abstractmethod
    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the latents."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Images; nothing keeps them in [-1, 1]."""

    def forward(self, image: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, log variance and the image of a latent at mean + deviation * noise; None is 0."""
        mean, log_variance = self.encode(image)
        latents = mean if noise is None else mean + (log_variance / 2).exp() * noise
        return mean, log_variance, self.decode(latents)


class AutoencoderKL(GaussianAutoencoder):
    """Images [B, C, H, W] to a Gaussian over latents [B, latent_channels, H / f, W / f], and back.

    f = `factor` = 2^(len(multipliers) - 1); H and W must be divisible by it. multipliers: channels
    of each level in units of width. No attention: what is far away is the prior's affair, and any
    size costs memory in proportion.
    """

    def __init__(
        self,
        image_channels: int,
        latent_channels: int = 4,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 4),
        num_blocks: int = 1,
    ) -> None:
        super().__init__()
        if not multipliers or min(latent_channels, width, num_blocks, *multipliers) < 1:
            raise InputError(
                "task.network: latent_channels, width, multipliers and num_blocks must be positive,"
                f" got {latent_channels}, {width}, {list(multipliers)} and {num_blocks}"
            )
        self.factor = 2 ** (len(multipliers) - 1)
        self.latent_channels = latent_channels
        widths = [width * multiplier for multiplier in multipliers]
        self.encoder = _encoder(image_channels, widths, num_blocks, 2 * latent_channels)
        self.decoder = _decoder(latent_channels, widths, num_blocks, image_channels)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(image).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def decode(self, latents: Tensor) -> Tensor:
        image: Tensor = self.decoder(latents)
        return image


def _encoder(
    image_channels: int, widths: list[int], num_blocks: int, out_channels: int
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(image_channels, widths[0], 3, padding=1)]
    channels = widths[0]
    for depth, width in enumerate(widths):
        if depth > 0:
            layers.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
        for _ in range(num_blocks):
            layers.append(PlainResidual(channels, width))
            channels = width
    layers += [PlainResidual(channels, channels), normalize("group", channels), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(channels, out_channels, 3, padding=1))


def _decoder(
    latent_channels: int, widths: list[int], num_blocks: int, image_channels: int
) -> nn.Sequential:
    channels = widths[-1]
    layers: list[nn.Module] = [nn.Conv2d(latent_channels, channels, 3, padding=1)]
    layers.append(PlainResidual(channels, channels))
    for depth in reversed(range(len(widths))):
        for _ in range(num_blocks):
            layers.append(PlainResidual(channels, widths[depth]))
            channels = widths[depth]
        if depth > 0:
            layers.append(nn.Upsample(scale_factor=2.0, mode="nearest"))
            layers.append(nn.Conv2d(channels, channels, 3, padding=1))
    layers += [normalize("group", channels), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(channels, image_channels, 3, padding=1))
