"""diffusers' AutoencoderKL with its keys and arguments, which public autoencoders fit."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.autoencoder_kl import LOG_VARIANCE, GaussianAutoencoder
from restore.network.unet2d_block import Attention, LayerSettings, Resampled
from restore.types import InputError

_EPS = 1e-6  # of every normalisation there


class PlainResnetBlock(nn.Module):
    """GroupNorm, SiLU, convolution, twice."""

    def __init__(self, in_channels: int, out_channels: int, settings: LayerSettings) -> None:
        super().__init__()
        self.norm1 = settings.norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = settings.norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.conv_shortcut = None if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        out: Tensor = (x if self.conv_shortcut is None else self.conv_shortcut(x)) + h
        return out


class AutoencoderLevel(nn.Module):
    """Residual blocks of one size, and a change of size at the end."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        blocks: int,
        settings: LayerSettings,
        resampled: Resampled | None,
    ) -> None:
        super().__init__()
        widths = [in_channels, *[channels] * blocks]
        self.resnets = nn.ModuleList(
            PlainResnetBlock(before, after, settings) for before, after in pairwise(widths)
        )
        if resampled is not None:
            word = "upsamplers" if resampled.doubles else "downsamplers"
            self.add_module(word, nn.ModuleList([resampled]))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():
            for layer in part.children():
                x = layer(x)
        return x


class AutoencoderMiddle(nn.Module):
    """Two residual blocks, around attention where there is some."""

    def __init__(self, channels: int, attends: bool, settings: LayerSettings) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([Attention(channels, settings)] if attends else [])
        self.resnets = nn.ModuleList(
            PlainResnetBlock(channels, channels, settings) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        out: Tensor = self.resnets[1](x)
        return out


class _Shape(NamedTuple):
    """What encoder and decoder have in common."""

    widths: Sequence[int]
    blocks: int
    attends: bool
    settings: LayerSettings


class _Ends(nn.Module):
    """What encoder and decoder share: the first layer, the middle and the last layers."""

    def __init__(self, ins: int, first: int, last: int, outs: int, shape: _Shape) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(ins, first, 3, padding=1)
        self.mid_block = AutoencoderMiddle(shape.widths[-1], shape.attends, shape.settings)
        self.conv_norm_out = shape.settings.norm(last)
        self.conv_out = nn.Conv2d(last, outs, 3, padding=1)

    def _out(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        return out


class Encoder(_Ends):
    def __init__(self, ins: int, outs: int, shape: _Shape) -> None:
        widths, blocks, _, settings = shape
        super().__init__(ins, widths[0], widths[-1], outs, shape)
        before = [widths[0], *widths[:-1]]
        self.down_blocks = nn.ModuleList(
            # beyond the right and lower border alone: padding 0 of a Resampled
            AutoencoderLevel(
                *(channels, width, blocks, settings),
                Resampled(width, doubles=False, padding=0) if depth < len(widths) - 1 else None,
            )
            for depth, (channels, width) in enumerate(zip(before, widths, strict=True))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self._out(self.mid_block(x))


class Decoder(_Ends):
    def __init__(self, ins: int, outs: int, shape: _Shape) -> None:
        widths, blocks, _, settings = shape
        super().__init__(ins, widths[-1], widths[0], outs, shape)
        rising = [*reversed(widths)]
        before = [rising[0], *rising[:-1]]
        self.up_blocks = nn.ModuleList(
            AutoencoderLevel(
                *(channels, width, blocks + 1, settings),
                Resampled(width, doubles=True) if depth < len(widths) - 1 else None,
            )
            for depth, (channels, width) in enumerate(zip(before, rising, strict=True))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(x))
        for level in self.up_blocks:
            x = level(x)
        return self._out(x)


class AutoencoderKL2D(GaussianAutoencoder):
    """AutoencoderKL of diffusers, which `restore export --format diffusers` writes and reads.

    The arguments are those of its config.json. H and W must be divisible by `factor`,
    2^(len(block_out_channels) - 1). It differs from `AutoencoderKL` in what no weights can bridge:
    halving convolutions see a border of zeros at the right and below alone, and eps is 1e-6.

    Raises:
        InputError: channels that are not in norm_num_groups groups, or numbers below 1.
    """

    def __init__(
        self,
        image_channels: int,
        latent_channels: int = 4,
        block_out_channels: Sequence[int] = (64,),
        layers_per_block: int = 1,
        norm_num_groups: int = 32,
        mid_block_add_attention: bool = True,
        use_quant_conv: bool = True,
        use_post_quant_conv: bool = True,
    ) -> None:
        super().__init__()
        widths, counts = list(block_out_channels), (latent_channels, layers_per_block)
        if not widths or min(norm_num_groups, *counts, *widths) < 1:
            raise InputError(
                "task.network: block_out_channels, latent_channels, layers_per_block and "
                f"norm_num_groups must be positive, got {widths}, {counts} and {norm_num_groups}"
            )
        settings = LayerSettings(norm_num_groups, _EPS, 0, "default", None)
        self.factor, self.latent_channels = 2 ** (len(widths) - 1), latent_channels
        self.block_out_channels, self.layers_per_block = widths, layers_per_block
        self.norm_num_groups, self.attends = norm_num_groups, mid_block_add_attention
        shape = _Shape(widths, layers_per_block, mid_block_add_attention, settings)
        self.encoder = Encoder(image_channels, 2 * latent_channels, shape)
        self.decoder = Decoder(latent_channels, image_channels, shape)
        self.quant_conv = _mixing(2 * latent_channels) if use_quant_conv else None
        self.post_quant_conv = _mixing(latent_channels) if use_post_quant_conv else None

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        made = self.encoder(image)
        mean, log_variance = (made if self.quant_conv is None else self.quant_conv(made)).chunk(
            2, 1
        )
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def decode(self, latents: Tensor) -> Tensor:
        seen = latents if self.post_quant_conv is None else self.post_quant_conv(latents)
        image: Tensor = self.decoder(seen)
        return image


def _mixing(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 1)
