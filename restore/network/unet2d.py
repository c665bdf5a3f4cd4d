"""The UNet of diffusers' UNet2DModel, with its keys and arguments, which public priors fit."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.unet2d_block import (
    LayerSettings,
    Middle,
    Resampled,
    Shift,
    Stage,
    TimeEmbedding,
)
from restore.types import InputError

PLAIN, ATTENDS = ("DownBlock2D", "UpBlock2D"), ("AttnDownBlock2D", "AttnUpBlock2D")


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
        settings = LayerSettings(
            norm_num_groups, norm_eps, embedding, resnet_time_scale_shift, attention_head_dim
        )
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], embedding)
        self.class_embedding = (
            None if num_classes is None else nn.Embedding(num_classes + 1, embedding)
        )
        self.down_blocks, skips = _down(
            widths, down_block_types, layers_per_block, settings, downsample_padding
        )
        self.mid_block = Middle(widths[-1], add_attention, attn_norm_num_groups, settings)
        self.up_blocks = _up(widths, up_block_types, layers_per_block, settings, skips)
        self.conv_norm_out = settings.norm(widths[0])
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
    widths: Sequence[int],
    kinds: Sequence[str],
    num_blocks: int,
    settings: LayerSettings,
    padding: int,
) -> tuple[nn.ModuleList, list[int]]:
    """The way down, and the channels of every activation that the way up will take."""
    stages, channels, skips = nn.ModuleList(), widths[0], [widths[0]]
    for depth, (width, kind) in enumerate(zip(widths, kinds, strict=True)):
        last = depth == len(widths) - 1
        halving = None if last else Resampled(width, doubles=False, padding=padding)
        ins = [channels] + [width] * (num_blocks - 1)
        stages.append(Stage(ins, width, _attends(kind), settings, halving))
        channels = width
        skips += [width] * (num_blocks + (not last))
    return stages, skips


def _up(
    widths: Sequence[int],
    kinds: Sequence[str],
    num_blocks: int,
    settings: LayerSettings,
    skips: list[int],
) -> nn.ModuleList:
    stages, channels = nn.ModuleList(), widths[-1]
    for depth, (width, kind) in enumerate(zip(reversed(widths), kinds, strict=True)):
        ins = []
        for _ in range(num_blocks + 1):
            ins.append(channels + skips.pop())
            channels = width
        doubling = None if depth == len(widths) - 1 else Resampled(width, doubles=True)
        stages.append(Stage(ins, width, _attends(kind), settings, doubling))
    return stages
