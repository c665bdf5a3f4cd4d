"""The two-stage generator of gated convolutions (Yu et al. 2019, section 3.3)."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.attention import ContextualAttention, SelfAttention
from restore.network.gated import GatedConv2d, GatedUpConv2d, Upsampling
from restore.network.initialization import near_zero
from restore.network.push_pull import push_pull
from restore.network.size import pad_to_multiple
from restore.types import InputError

Attention = Literal["self", "contextual"]
InitialFill = Literal["push_pull"]


def composite(image: Tensor, filled: Tensor, hole: Tensor) -> Tensor:
    """`filled` inside the hole, `image` bit for bit outside. [B, C, H, W] and hole [B, 1, H, W]."""
    return torch.where(hole > 0, filled, image)


class Coarse(nn.Sequential):
    """[B, C + 1, H, W] to [B, C, H, W]: 16 gated layers, down twice, dilated, up twice."""

    def __init__(self, image_channels: int, width: int, upsampling: Upsampling) -> None:
        super().__init__(
            GatedConv2d(image_channels + 1, width, kernel_size=5),
            GatedConv2d(width, 2 * width, stride=2),
            GatedConv2d(2 * width, 2 * width),
            GatedConv2d(2 * width, 4 * width, stride=2),
            GatedConv2d(4 * width, 4 * width),
            GatedConv2d(4 * width, 4 * width),
            *(GatedConv2d(4 * width, 4 * width, dilation=dilation) for dilation in (2, 4, 8, 16)),
            GatedConv2d(4 * width, 4 * width),
            GatedConv2d(4 * width, 4 * width),
            GatedUpConv2d(4 * width, 2 * width, upsampling),
            GatedConv2d(2 * width, 2 * width),
            GatedUpConv2d(2 * width, width, upsampling),
            GatedConv2d(width, width // 2),
            nn.Conv2d(width // 2, image_channels, 3, padding=1),
        )


class Refinement(nn.Module):
    """[B, C + 1, H, W] to [B, C, H, W]: 9 gated layers, attention at a quarter of the size."""

    def __init__(
        self, image_channels: int, width: int, upsampling: Upsampling, attention: Attention
    ) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            GatedConv2d(image_channels + 1, width, kernel_size=5),
            GatedConv2d(width, 2 * width, stride=2),
            GatedConv2d(2 * width, 2 * width),
            GatedConv2d(2 * width, 4 * width, stride=2),
            GatedConv2d(4 * width, 4 * width),
        )
        contextual = attention == "contextual"
        self.attention = ContextualAttention() if contextual else SelfAttention(4 * width)
        self.decoder = nn.Sequential(
            GatedConv2d(4 * width, 4 * width),
            GatedUpConv2d(4 * width, 2 * width, upsampling),
            GatedConv2d(2 * width, 2 * width),
            GatedUpConv2d(2 * width, width, upsampling),
            nn.Conv2d(width, image_channels, 3, padding=1),
        )

    def forward(self, x: Tensor, hole: Tensor) -> Tensor:
        x = self.encoder(x)
        if isinstance(self.attention, ContextualAttention):
            x = self.attention(x, F.max_pool2d(hole, 4))  # a cell with any hole is hole
        else:
            x = self.attention(x)
        refined: Tensor = self.decoder(x)
        return refined


class InpaintingGenerator(nn.Module):
    """Masked images [B, C, H, W] in [-1, 1] and hole [B, 1, H, W] to (coarse, refined).

    Both stages are [B, C, H, W] in [-1, 1] by tanh and not composited; the second sees the first,
    composited. initial_fill: push_pull gives the first stage a filled image in the place of an
    empty hole, and both stages predict what to add to what they see, without tanh; an untrained
    generator is then nearly that fill. None is the published generator. Any size: mirrored to
    multiples of 8. attention: self (SAGAN's) or contextual (DeepFill's, which copies known
    texture); the memory of both grows with the fourth power of the side. upsampling: see
    GatedUpConv2d. width: even, 2 or more; 48 in the paper.
    """

    def __init__(
        self,
        image_channels: int,
        width: int = 48,
        attention: Attention = "self",
        upsampling: Upsampling = "nearest",
        initial_fill: InitialFill | None = None,
    ) -> None:
        super().__init__()
        if image_channels < 1 or width < 2 or width % 2:
            raise InputError(
                f"task.network: width={width} must be even, 2 or more, and image_channels="
                f"{image_channels} 1 or more"
            )
        if attention not in ("self", "contextual"):
            raise InputError(f"task.network.attention={attention}: use self or contextual")
        if initial_fill not in ("push_pull", None):
            raise InputError(f"task.network.initial_fill={initial_fill}: use push_pull or null")
        self.initial_fill = initial_fill
        self.factor = 8
        self.coarse = Coarse(image_channels, width, upsampling)
        self.refinement = Refinement(image_channels, width, upsampling, attention)
        if initial_fill is not None:
            for last in (self.coarse[-1], self.refinement.decoder[-1]):
                assert isinstance(last, nn.Conv2d)
                near_zero(last)

    def forward(self, masked: Tensor, hole: Tensor) -> tuple[Tensor, Tensor]:
        height, width = masked.shape[-2:]
        masked = pad_to_multiple(masked, self.factor)
        hole = pad_to_multiple(hole, self.factor)
        start = masked if self.initial_fill is None else push_pull(masked, hole)
        coarse = self._stage(start, self.coarse(torch.cat([start, hole], dim=1)))
        seen = composite(masked, coarse, hole)
        refined = self._stage(seen, self.refinement(torch.cat([seen, hole], dim=1), hole))
        return coarse[..., :height, :width], refined[..., :height, :width]

    def _stage(self, seen: Tensor, output: Tensor) -> Tensor:
        return torch.tanh(output) if self.initial_fill is None else seen + output
