"""Gated and spectrally normalised convolutions (Yu et al. 2019, "Free-form image inpainting with
gated convolution")."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from restore.types import InputError

Upsampling = Literal["nearest", "transposed"]

# E[elu(z)^2] E[gate^2] for z ~ N(0, 1) and gates nearly half open: what comes out of a gated layer
# whose features have unit scale. Weights that undo it keep the scale from layer to layer; with
# PyTorch's, and without normalisation, 16 gated layers shrink their input to nothing.
_POWER = 0.163


def _gate(x: Tensor) -> Tensor:
    """elu(features) * sigmoid(gates) of [B, 2C, H, W]: section 3.1.

    ELU rather than LeakyReLU, the paper's other example: smooth, bounded below, and still with a
    gradient where a feature is negative.
    """
    features, gates = x.chunk(2, dim=1)
    return F.elu(features) * torch.sigmoid(gates)


@torch.no_grad()
def _initialize(conv: nn.Conv2d | nn.ConvTranspose2d, fan_in: float) -> None:
    """The features' half; gates keep PyTorch's small weights, and so start nearly half open."""
    features, _ = conv.weight.chunk(2, dim=1 if isinstance(conv, nn.ConvTranspose2d) else 0)
    nn.init.normal_(features, std=(_POWER * fan_in) ** -0.5)


class GatedConv2d(nn.Module):
    """[B, in_channels, H, W] to [B, out_channels, H / stride, W / stride], zero-padded."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            2 * out_channels,
            kernel_size,
            stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
        )
        _initialize(self.conv, in_channels * kernel_size**2)

    def forward(self, x: Tensor) -> Tensor:
        return _gate(self.conv(x))


class GatedUpConv2d(nn.Module):
    """[B, in_channels, H, W] to [B, out_channels, 2H, 2W].

    nearest: repeats pixels, then a 3x3 convolution, which leaves no checkerboard (Odena et al.
    2016). transposed: 4x4, stride 2, four ninths of the arithmetic.
    """

    def __init__(
        self, in_channels: int, out_channels: int, upsampling: Upsampling = "nearest"
    ) -> None:
        super().__init__()
        if upsampling not in ("nearest", "transposed"):
            raise InputError(f"upsampling={upsampling}: use nearest or transposed")
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        self.repeat = upsampling == "nearest"
        if self.repeat:
            self.conv = nn.Conv2d(in_channels, 2 * out_channels, 3, padding=1)
            _initialize(self.conv, in_channels * 9)
        else:
            self.conv = nn.ConvTranspose2d(in_channels, 2 * out_channels, 4, stride=2, padding=1)
            _initialize(self.conv, in_channels * 4)  # taps that meet in one output pixel

    def forward(self, x: Tensor) -> Tensor:
        return _gate(self.conv(F.interpolate(x, scale_factor=2.0) if self.repeat else x))


class SpectralConv2d(nn.Conv2d):
    """A convolution whose weight matrix has a largest singular value of one: Miyato et al. 2018.

    One power iteration per training forward; the vectors are buffers. A turn of the generator takes
    one forward, and one more with feature_matching; a turn of the discriminator takes two, and one
    more with R1. Accumulated batches take as many each, where the paper has one in an update. More
    are harmless: each replaces u by W W^T u at length 1, and the estimate |W^T u| of the largest
    singular value never falls by that and never exceeds it, so that the layer's own comes down to
    one from above. Accumulated batches differ from one large batch by what that estimate lacks, and
    not at all where it lacks nothing.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        spectral_norm(self)
