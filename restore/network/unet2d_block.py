"""The layers of diffusers' UNet2DModel, with their keys: residual blocks, attention, stages."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.attention import attend
from restore.network.norm import GroupNorm
from restore.types import InputError

Shift = Literal["default", "scale_shift"]


class LayerSettings:
    """What all layers of one network share."""

    def __init__(
        self, groups: int, eps: float, embedding: int, shift: Shift, head_size: int | None
    ) -> None:
        self.groups, self.eps, self.embedding = groups, eps, embedding
        self.shift, self.head_size = shift, head_size

    def norm(self, channels: int, groups: int | None = None) -> GroupNorm:
        """groups: attn_norm_num_groups; None takes norm_num_groups.

        Raises InputError for channels that are not in so many groups.
        """
        key = "norm_num_groups" if groups is None else "attn_norm_num_groups"
        number = self.groups if groups is None else groups
        if number < 1 or channels % number:
            raise InputError(f"task.network: {channels} channels are not in {key}={number} groups")
        return GroupNorm(number, channels, eps=self.eps)


class ResnetBlock2D(nn.Module):
    """GroupNorm, SiLU, convolution, twice; the embedding is added, or scales and shifts."""

    def __init__(self, in_channels: int, out_channels: int, settings: LayerSettings) -> None:
        super().__init__()
        self.scales = settings.shift == "scale_shift"
        self.norm1 = settings.norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(settings.embedding, (1 + self.scales) * out_channels)
        self.norm2 = settings.norm(out_channels)
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
    """Multi-head attention over all positions, with a residual.

    normed: a GroupNorm before it, of `groups` groups; None is those of the network.
    """

    def __init__(
        self,
        channels: int,
        settings: LayerSettings,
        normed: bool = True,
        groups: int | None = None,
    ) -> None:
        super().__init__()
        size = settings.head_size or channels
        self.num_heads = channels // size
        inner = self.num_heads * size
        if not inner:
            raise InputError(
                f"task.network: attention_head_dim={size} is more than {channels} channels"
            )
        self.group_norm = settings.norm(channels, groups) if normed else None
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
        self,
        ins: Sequence[int],
        out: int,
        attends: bool,
        settings: LayerSettings,
        resampled: Resampled | None,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock2D(channels, out, settings) for channels in ins])
        self.attentions = nn.ModuleList([Attention(out, settings) for _ in ins] if attends else [])
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
    """Two residual blocks around attention.

    groups: of the GroupNorm of its attention; with None it is that of the network, and with
    scale_shift there is none.
    """

    def __init__(
        self, channels: int, attends: bool, groups: int | None, settings: LayerSettings
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            [ResnetBlock2D(channels, channels, settings) for _ in range(2)]
        )
        normed = groups is not None or settings.shift == "default"
        self.attentions = nn.ModuleList(
            [Attention(channels, settings, normed, groups)] if attends else []
        )

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
