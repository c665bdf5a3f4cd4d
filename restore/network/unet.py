"""The UNet of denoising diffusion (Ho et al. 2020), with the changes that became standard:
scale-and-shift conditioning, zero-initialised residuals (Dhariwal & Nichol 2021)."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.attention import attend
from restore.network.norm import normalize
from restore.types import InputError

Modulation = Literal["scale_shift", "added"]


def sinusoidal_embedding(t: Tensor, width: int) -> Tensor:
    """Sines and cosines [B, width] of t [B] in [0, 1], at the frequencies of 1000 DDPM steps."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angles = 1000 * t.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _zero(conv: nn.Conv2d) -> None:
    """So that the block starts as the identity, the network as zero."""
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)


class ConditionedResidualBlock(nn.Module):
    """GroupNorm, SiLU, convolution, twice; the embedding scales and shifts in between, or is added
    before the second norm."""

    def __init__(
        self, in_channels: int, out_channels: int, embedding: int, dropout: float, added: bool
    ) -> None:
        super().__init__()
        self.added = added
        self.norm1 = normalize("group", in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.embed = nn.Linear(embedding, out_channels if added else 2 * out_channels)
        self.norm2 = normalize("group", out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)
        _zero(self.conv2)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        told = self.embed(embedding)[:, :, None, None]
        if self.added:
            h = F.silu(self.norm2(h + told))
        else:
            scale, shift = told.chunk(2, dim=1)
            h = F.silu(self.norm2(h) * (1 + scale) + shift)
        out: Tensor = self.skip(x) + self.conv2(self.dropout(h))
        return out


class MultiHeadAttention(nn.Module):
    """Attention over all positions, with a residual; heads of head_size channels, or as few more as
    divide them."""

    def __init__(self, channels: int, head_size: int) -> None:
        super().__init__()
        most = max(channels // head_size, 1)
        self.num_heads = next(n for n in range(most, 0, -1) if channels % n == 0)
        self.norm = normalize("group", channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        _zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).view(b, 3, self.num_heads, c // self.num_heads, h * w)
        mixed = attend(*qkv.transpose(-1, -2).unbind(1))
        out: Tensor = x + self.out(mixed.transpose(-1, -2).reshape(b, c, h, w))
        return out


class Level(nn.Module):
    """One residual block and, where the level attends, attention."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        attends: bool,
        embedding: int,
        head_size: int,
        dropout: float,
        added: bool,
    ) -> None:
        super().__init__()
        self.block = ConditionedResidualBlock(in_channels, out_channels, embedding, dropout, added)
        self.attention = MultiHeadAttention(out_channels, head_size) if attends else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.block(x, embedding)
        return x if self.attention is None else self.attention(x)


class Upsample(nn.Module):
    """Nearest-neighbour doubling and a convolution: no checkerboard."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


def _check(width: int, multipliers: Sequence[int], num_blocks: int, head_size: int) -> None:
    if not multipliers or min(width, num_blocks, head_size, *multipliers) < 1 or width % 2:
        raise InputError(
            "task.network: width (even), multipliers, num_blocks and head_size must be "
            f"positive, got {width}, {list(multipliers)}, {num_blocks} and {head_size}"
        )


class UNet(nn.Module):
    """Network (x [B, in_channels, H, W], t [B] in [0, 1], label [B] or None) -> out_channels.

    multipliers: channels of each level in units of width; every level after the first halves the
    size, so H and W must be divisible by `factor`. attention: the down-sampling factors (1, 2, 4,
    ...) at which there is self-attention, besides the one in the middle. num_classes: adds a
    class embedding with one more row, of index num_classes, for "no class" (also label=None).
    modulation: what the embedding of time does in a block, scale and shift, or be added (Ho et al.
    2020).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int = 64,
        multipliers: Sequence[int] = (1, 2, 2),
        num_blocks: int = 2,
        attention: Sequence[int] = (4,),
        head_size: int = 32,
        dropout: float = 0.0,
        num_classes: int | None = None,
        modulation: Modulation = "scale_shift",
    ) -> None:
        super().__init__()
        _check(width, multipliers, num_blocks, head_size)
        if modulation not in ("scale_shift", "added"):
            raise InputError(f"task.network.modulation={modulation}: use scale_shift or added")
        self.factor = 2 ** (len(multipliers) - 1)
        self.width, self.modulation = width, modulation
        embedding = 4 * width
        self.embed_time = nn.Sequential(
            nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.embed_class = None if num_classes is None else nn.Embedding(num_classes + 1, embedding)
        level = partial(
            Level,
            embedding=embedding,
            head_size=head_size,
            dropout=dropout,
            added=modulation == "added",
        )
        self.conv_in = nn.Conv2d(in_channels, width, 3, padding=1)
        widths = [width * multiplier for multiplier in multipliers]
        attends = [2**depth in attention for depth in range(len(widths))]
        self.down, skips = _down(widths, attends, num_blocks, level)
        bottom = widths[-1]
        self.middle = nn.ModuleList(
            [level(bottom, bottom, attends=True), level(bottom, bottom, attends=False)]
        )
        self.up = _up(widths, attends, num_blocks, level, skips)
        self.norm_out = normalize("group", width * multipliers[0])
        self.conv_out = nn.Conv2d(width * multipliers[0], out_channels, 3, padding=1)
        _zero(self.conv_out)

    def check_size(self, height: int, width: int) -> None:
        """Raises InputError unless both sides are divisible by `factor`."""
        if height % self.factor or width % self.factor:
            raise InputError(
                f"UNet: image size {height}x{width} is not divisible by {self.factor}: choose "
                "another image size or fewer task.network.multipliers"
            )

    def _embed(self, t: Tensor, label: Tensor | None, dtype: torch.dtype) -> Tensor:
        embedding = self.embed_time(sinusoidal_embedding(t, self.width).to(dtype))
        if self.embed_class is not None:
            if label is None:
                label = torch.full_like(t, self.embed_class.num_embeddings - 1, dtype=torch.long)
            embedding = embedding + self.embed_class(label)
        return F.silu(embedding)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        self.check_size(x.shape[-2], x.shape[-1])
        embedding = self._embed(t, label, x.dtype)
        x = self.conv_in(x)
        skips = [x]
        for module in self.down:
            x = module(x, embedding) if isinstance(module, Level) else module(x)
            skips.append(x)
        for module in self.middle:
            x = module(x, embedding)
        for module in self.up:
            if isinstance(module, Level):
                x = module(torch.cat([x, skips.pop()], dim=1), embedding)
            else:
                x = module(x)
        output: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return output


def _down(
    widths: list[int], attends: list[bool], num_blocks: int, level: Callable[..., Level]
) -> tuple[nn.ModuleList, list[int]]:
    """The way down, and the channels of every activation that the way up will take."""
    modules, channels = nn.ModuleList(), widths[0]
    skips = [channels]
    for depth, width in enumerate(widths):
        if depth > 0:
            modules.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
            skips.append(channels)
        for _ in range(num_blocks):
            modules.append(level(channels, width, attends=attends[depth]))
            channels = width
            skips.append(channels)
    return modules, skips


def _up(
    widths: list[int],
    attends: list[bool],
    num_blocks: int,
    level: Callable[..., Level],
    skips: list[int],
) -> nn.ModuleList:
    modules, channels = nn.ModuleList(), widths[-1]
    for depth in reversed(range(len(widths))):
        for _ in range(num_blocks + 1):
            modules.append(level(channels + skips.pop(), widths[depth], attends=attends[depth]))
            channels = widths[depth]
        if depth > 0:
            modules.append(Upsample(channels))
    return modules
