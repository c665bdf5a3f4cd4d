"""Discriminators that judge patches (Isola et al. 2017; Yu et al. 2019, section 3.4)."""

from collections.abc import Sequence
from itertools import count

from torch import Tensor, nn

from restore.network.gated import SpectralConv2d
from restore.network.norm import Norm, normalize
from restore.types import InputError


class PatchDiscriminator(nn.Module):
    """[B, in_channels, H, W] to logits [B, 1, h, w], one for each patch, and the features before.

    Concatenate image and condition. The default is the 70x70 PatchGAN of Isola et al. 2017,
    section 6.1.2: 30x30 logits at 256 px. Every layer but the last is a convolution, normalised
    except in the first, and LeakyReLU(0.2); its output is a feature. padding: kernel_size // 2 for
    odd kernels, 1 for the paper's even one.

    norm: group by default (see `normalize`); with spectral, `none` is usual. spectral: bounds the
    Lipschitz constant instead, off by default because the paper's recipe has no need of it.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int] = (64, 128, 256, 512),
        strides: Sequence[int] = (2, 2, 2, 1),
        kernel_size: int = 4,
        norm: Norm = "group",
        spectral: bool = False,
    ) -> None:
        super().__init__()
        if not widths or len(widths) != len(strides) or min(in_channels, *widths, *strides) < 1:
            raise InputError(
                "discriminator: widths and strides must be equally many and positive, got "
                f"{list(widths)} and {list(strides)}"
            )
        if kernel_size < 3:
            raise InputError(f"discriminator: kernel_size={kernel_size} must be 3 or more")
        conv = SpectralConv2d if spectral else nn.Conv2d
        self.padding = (kernel_size - 1) // 2
        self.layers = nn.ModuleList()
        for depth, (width, stride) in enumerate(zip(widths, strides, strict=True)):
            self.layers.append(
                nn.Sequential(
                    conv(in_channels, width, kernel_size, stride, self.padding),
                    normalize("none" if depth == 0 else norm, width),
                    nn.LeakyReLU(0.2),
                )
            )
            in_channels = width
        self.head = conv(in_channels, 1, kernel_size, 1, self.padding)
        self.kernel_size, self.strides = kernel_size, [*strides, 1]

    def map_size(self, size: int) -> int:
        """Side of the logit map for images with a side of `size` px; below 1: too small."""
        return self._sides(size)[-1]

    @property
    def least_size(self) -> int:
        """Side in px of the smallest images to learn from: every layer sees more than one pixel.

        Of a map of one pixel only the middle of a kernel learns, and the bfloat16 gradient of the
        rest is whatever lies in memory (oneDNN of PyTorch 2.13, strides of 2 and 5x5 kernels).
        """
        return next(
            size
            for size in count(2)
            if self.map_size(size) >= 1 and min(self._sides(size)[:-1]) >= 2
        )

    def _sides(self, size: int) -> list[int]:
        """The sides of what each layer sees, and of the logit map."""
        sides = [size]
        for stride in self.strides:
            sides.append((sides[-1] + 2 * self.padding - self.kernel_size) // stride + 1)
        return sides

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        if min(map(self.map_size, x.shape[-2:])) < 1:
            raise InputError(
                f"images of {x.shape[-2]}x{x.shape[-1]} px are too small for the discriminator: "
                "use larger ones or fewer of its widths and strides"
            )
        features: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return self.head(x), features


class SpectralPatchDiscriminator(PatchDiscriminator):
    """SN-PatchGAN: 7 convolutions of 5x5, strides 2, 2, 2, 2, 1, 1, 1, 16x16 logits at 256 px.

    For inpainting: sees [image, hole], and needs no normalisation but the spectral one.
    """

    def __init__(self, in_channels: int, width: int = 64) -> None:
        widths = (width, 2 * width, 4 * width, 4 * width, 4 * width, 4 * width)
        super().__init__(in_channels, widths, (2, 2, 2, 2, 1, 1), 5, norm="none", spectral=True)
