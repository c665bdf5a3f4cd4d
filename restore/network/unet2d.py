"""The UNet of diffusers' UNet2DModel, with its keys and arguments, which public priors fit."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.attention import attend
from restore.network.norm import GroupNorm
from restore.types import InputError

PLAIN, ATTENDS = ("DownBlock2D", "UpBlock2D"), ("AttnDownBlock2D", "AttnUpBlock2D")
Shift = Literal["default", "scale_shift"]


class Made:
    """What all layers of one network share."""

    def __init__(
        self, groups: int, eps: float, embedding: int, shift: Shift, head_size: int | None
    ) -> None:
        self.groups, self.eps, self.embedding = groups, eps, embedding
        self.shift, self.head_size = shift, head_size

    def norm(self, channels: int) -> GroupNorm:
        if channels % self.groups:
            raise InputError(
                f"task.network: {channels} channels are not in norm_num_groups={self.groups} groups"
            )
        return GroupNorm(self.groups, channels, eps=self.eps)


class ResnetBlock2D(nn.Module):
    """GroupNorm, SiLU, convolution, twice; the embedding is added, or scales and shifts."""

    def __init__(self, in_channels: int, out_channels: int, made: Made) -> None:
        super().__init__()
        self.scales = made.shift == "scale_shift"
        self.norm1 = made.norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(made.embedding, (1 + self.scales) * out_channels)
        self.norm2 = made.norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.conv_shortcut = None if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        said = self.time_emb_proj(F.silu(embedding))[:, :, None, None]
        if self.scales:
            scale, shift = said.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + said)
        h = self.conv2(F.silu(h))
        out: Tensor = (x if self.conv_shortcut is None else self.conv_shortcut(x)) + h
        return out


class Attention(nn.Module):
    """Multi-head attention over all positions, with a residual; normed: a GroupNorm before it."""

    def __init__(self, channels: int, made: Made, normed: bool = True) -> None:
        super().__init__()
        size = made.head_size or channels
        self.num_heads = channels // size
        inner = self.num_heads * size
        if not inner:
            raise InputError(
                f"task.network: attention_head_dim={size} is more than {channels} channels"
            )
        self.group_norm = made.norm(channels) if normed else None
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, inner) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(inner, channels)])

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = (x if self.group_norm is None else self.group_norm(x)).flatten(2).mT
        query, key, value = (
            part(tokens).view(b, h * w, self.num_heads, -1).transpose(1, 2)
            for part in (self.to_q, self.to_k, self.to_v)
        )
        mixed = attend(query, key, value).transpose(1, 2).flatten(2)
        out: Tensor = x + self.to_out[0](mixed).mT.reshape(b, c, h, w)
        return out


class Resampled(nn.Module):
    """The convolution that halves, or the one behind a doubling by nearest neighbours."""

    def __init__(self, channels: int, doubles: bool, padding: int = 1) -> None:
        super().__init__()
        self.doubles, self.padding = doubles, padding
        stride = 1 if doubles else 2
        self.conv = nn.Conv2d(channels, channels, 3, stride, padding=1 if doubles else padding)

    def forward(self, x: Tensor) -> Tensor:
        if self.doubles:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        elif self.padding == 0:
            x = F.pad(x, (0, 1, 0, 1))
        out: Tensor = self.conv(x)
        return out


class Stage(nn.Module):
    """Residual blocks, attention after each where it attends, and a change of size at the end."""

    def __init__(
        self, ins: Sequence[int], out: int, attends: bool, made: Made, resampled: Resampled | None
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock2D(channels, out, made) for channels in ins])
        self.attentions = nn.ModuleList([Attention(out, made) for _ in ins] if attends else [])
        if resampled is not None:
            word = "upsamplers" if resampled.doubles else "downsamplers"
            self.add_module(word, nn.ModuleList([resampled]))

    def layer(self, number: int, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.resnets[number](x, embedding)
        if len(self.attentions):
            x = self.attentions[number](x)
        return x

    def resample(self, x: Tensor) -> Tensor | None:
        """The map at another size; None where the stage keeps it."""
        for word in ("upsamplers", "downsamplers"):
            if word in self._modules:
                out: Tensor = getattr(self, word)[0](x)
                return out
        return None


class Middle(nn.Module):
    """Two residual blocks around attention."""

    def __init__(self, channels: int, attends: bool, normed: bool, made: Made) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock2D(channels, channels, made) for _ in range(2)])
        self.attentions = nn.ModuleList([Attention(channels, made, normed)] if attends else [])

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.resnets[0](x, embedding)
        for attention in self.attentions:
            x = attention(x)
        out: Tensor = self.resnets[1](x, embedding)
        return out


class TimeEmbedding(nn.Module):
    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, embedding)
        self.linear_2 = nn.Linear(embedding, embedding)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear_2(F.silu(self.linear_1(x)))
        return out


class UNet2D(nn.Module):
    """Network (x [B, in_channels, H, W], t [B] in [0, 1], label [B] or None) -> out_channels.

    Arguments and keys are those of diffusers' UNet2DModel, whose time step is num_train_timesteps
    t - 1. num_classes: rows of its class embedding are one more, the last for "no class".
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        block_out_channels: Sequence[int] = (224, 448, 672, 896),
        layers_per_block: int = 2,
        down_block_types: Sequence[str] = (PLAIN[0], ATTENDS[0], ATTENDS[0], ATTENDS[0]),
        up_block_types: Sequence[str] = (ATTENDS[1], ATTENDS[1], ATTENDS[1], PLAIN[1]),
        add_attention: bool = True,
        attention_head_dim: int | None = 8,
        norm_num_groups: int = 32,
        attn_norm_num_groups: int | None = None,
        norm_eps: float = 1e-5,
        downsample_padding: int = 1,
        freq_shift: float = 0,
        flip_sin_to_cos: bool = True,
        resnet_time_scale_shift: Shift = "default",
        num_train_timesteps: int = 1000,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        widths = list(block_out_channels)
        if not len(widths) == len(down_block_types) == len(up_block_types) >= 1:
            raise InputError("task.network: as many block types as block_out_channels are needed")
        self.factor = 2 ** (len(widths) - 1)
        self.width, self.freq_shift, self.flip = widths[0], freq_shift, flip_sin_to_cos
        self.num_steps = num_train_timesteps
        embedding = 4 * widths[0]
        made = Made(
            norm_num_groups, norm_eps, embedding, resnet_time_scale_shift, attention_head_dim
        )
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], embedding)
        self.class_embedding = (
            None if num_classes is None else nn.Embedding(num_classes + 1, embedding)
        )
        self.down_blocks, skips = _down(
            widths, down_block_types, layers_per_block, made, downsample_padding
        )
        normed = attn_norm_num_groups is not None or resnet_time_scale_shift == "default"
        self.mid_block = Middle(widths[-1], add_attention, normed, made)
        self.up_blocks = _up(widths, up_block_types, layers_per_block, made, skips)
        self.conv_norm_out = made.norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def _embed(self, t: Tensor, label: Tensor | None, dtype: torch.dtype) -> Tensor:
        half = self.width // 2
        place = torch.arange(half, device=t.device) / (half - self.freq_shift)
        step = self.num_steps * t.float() - 1
        angles = step[:, None] * torch.exp(-math.log(10_000) * place)
        parts = [angles.cos(), angles.sin()] if self.flip else [angles.sin(), angles.cos()]
        embedding: Tensor = self.time_embedding(torch.cat(parts, dim=1).to(dtype))
        if self.class_embedding is not None:
            if label is None:
                last = self.class_embedding.num_embeddings - 1
                label = torch.full_like(t, last, dtype=torch.long)
            embedding = embedding + self.class_embedding(label)
        return embedding

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        embedding = self._embed(t, label, x.dtype)
        x = self.conv_in(x)
        skips = [x]
        for stage in self.down_blocks:
            assert isinstance(stage, Stage)
            for number in range(len(stage.resnets)):
                x = stage.layer(number, x, embedding)
                skips.append(x)
            smaller = stage.resample(x)
            if smaller is not None:
                x = smaller
                skips.append(x)
        x = self.mid_block(x, embedding)
        for stage in self.up_blocks:
            assert isinstance(stage, Stage)
            for number in range(len(stage.resnets)):
                x = stage.layer(number, torch.cat([x, skips.pop()], dim=1), embedding)
            larger = stage.resample(x)
            x = x if larger is None else larger
        output: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        return output


def _attends(word: str) -> bool:
    if word not in PLAIN + ATTENDS:
        raise InputError(f"task.network: {word} is not served: use {', '.join(PLAIN + ATTENDS)}")
    return word in ATTENDS


def _down(
    widths: Sequence[int], kinds: Sequence[str], num_blocks: int, made: Made, padding: int
) -> tuple[nn.ModuleList, list[int]]:
    """The way down, and the channels of every activation that the way up will take."""
    stages, channels, skips = nn.ModuleList(), widths[0], [widths[0]]
    for depth, (width, kind) in enumerate(zip(widths, kinds, strict=True)):
        last = depth == len(widths) - 1
        halving = None if last else Resampled(width, doubles=False, padding=padding)
        ins = [channels] + [width] * (num_blocks - 1)
        stages.append(Stage(ins, width, _attends(kind), made, halving))
        channels = width
        skips += [width] * (num_blocks + (not last))
    return stages, skips


def _up(
    widths: Sequence[int], kinds: Sequence[str], num_blocks: int, made: Made, skips: list[int]
) -> nn.ModuleList:
    stages, channels = nn.ModuleList(), widths[-1]
    for depth, (width, kind) in enumerate(zip(reversed(widths), kinds, strict=True)):
        ins = []
        for _ in range(num_blocks + 1):
            ins.append(channels + skips.pop())
            channels = width
        doubling = None if depth == len(widths) - 1 else Resampled(width, doubles=True)
        stages.append(Stage(ins, width, _attends(kind), made, doubling))
    return stages
