"""The first U-Net (Ronneberger et al. 2015), told the time of a diffusion."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.size import pad_to_multiple
from restore.types import InputError


class Pair(nn.Module):
    """Two 3x3 convolutions with ReLU, padded so that the size stays; time is added in between."""

    def __init__(self, in_channels: int, out_channels: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(embedding, out_channels)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = F.relu(self.first(x)) + self.time(embedding)[:, :, None, None]
        return F.relu(self.second(x))


class ClassicUNet(nn.Module):
    """Network (x [B, in_channels, H, W], t [B] in [0, 1]) -> [B, out_channels, H, W].

    Ronneberger et al. 2015, figure 1: pairs of convolutions, 2x2 max pooling, 2x2 up-convolutions,
    copies concatenated, and a 1x1 convolution at the end. What the paper lacks is the time: a small
    network of two layers makes a vector of it, which every pair adds. No normalisation and no
    attention. Its convolutions are padded, where the paper's lose their borders. widths: channels
    of each level; any size, mirrored to multiples of 2^(levels - 1).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int] = (64, 128, 256),
        embedding: int = 64,
    ) -> None:
        super().__init__()
        if not widths or min(embedding, *widths) < 1:
            raise InputError(
                f"task.network: widths and embedding must be positive, got {list(widths)} and "
                f"{embedding}"
            )
        self.factor = 2 ** (len(widths) - 1)
        self.embed_time = nn.Sequential(
            nn.Linear(1, embedding), nn.ReLU(), nn.Linear(embedding, embedding)
        )
        self.down = nn.ModuleList(
            Pair(channels, width, embedding)
            for channels, width in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(low, high, 2, stride=2) for low, high in steps)
        self.up = nn.ModuleList(Pair(2 * high, high, embedding) for _, high in steps)
        self.last = nn.Conv2d(widths[0], out_channels, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        embedding = self.embed_time(t.to(x.dtype)[:, None])
        copies: list[Tensor] = []
        for depth, pair in enumerate(self.down):
            x = pad_to_multiple(x, self.factor) if depth == 0 else F.max_pool2d(x, 2)
            x = pair(x, embedding)
            copies.append(x)
        copies.pop()
        for grow, pair in zip(self.grow, self.up, strict=True):
            x = pair(torch.cat([copies.pop(), grow(x)], dim=1), embedding)
        output: Tensor = self.last(x)
        return output[..., :height, :width]
