"""The residual UNet of the networks that add to an image: bias_free and inpainting_unet."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.drunet import residual_blocks
from restore.network.size import cap_levels, pad_to_multiple
from restore.types import InputError


class ResidualUNet(nn.Module):
    """[B, in_channels, H, W] to [B, out_channels, H, W] by `features`.

    Works at half size on 2x2 pixels as channels (Zhang et al. 2018, FFDNet), with residual blocks
    and added skips (Zhang et al. 2021, DRUNet). in_maps: channels beyond those, given at half size.
    No biases, and no normalisation, so channels_last costs no conversions. Any size: mirrored to
    multiples of 2^levels. image_size: side of the training patches, caps the levels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        image_size: int | None,
        widths: Sequence[int],
        num_blocks: int,
        in_maps: int = 0,
    ) -> None:
        super().__init__()
        widths = widths[: cap_levels(len(widths), image_size)]
        if min(in_channels, num_blocks, *widths) < 1:
            raise InputError(
                f"task.network: widths={list(widths)}, num_blocks={num_blocks} and image_channels="
                f"{out_channels} must be positive"
            )
        self.factor = 2 ** len(widths)
        conv_in = nn.Conv2d(4 * in_channels + in_maps, widths[0], 3, padding=1, bias=False)
        self.down = nn.ModuleList([nn.Sequential(conv_in, *residual_blocks(widths[0], num_blocks))])
        self.doubling, self.up = nn.ModuleList(), nn.ModuleList()
        for fine, coarse in pairwise(widths):
            halving = nn.Conv2d(fine, coarse, 2, stride=2, bias=False)
            self.down.append(nn.Sequential(halving, *residual_blocks(coarse, num_blocks)))
        for coarse, fine in pairwise(reversed(widths)):
            self.doubling.append(nn.ConvTranspose2d(coarse, fine, 2, stride=2, bias=False))
            self.up.append(nn.Sequential(*residual_blocks(fine, num_blocks)))
        self.conv_out = nn.Conv2d(widths[0], 4 * out_channels, 3, padding=1, bias=False)

    def halved(self, image: Tensor) -> Tensor:
        """[B, C, H, W] to [B, 4C, h, w], h and w as many as the levels need."""
        return F.pixel_unshuffle(pad_to_multiple(image, self.factor), 2)

    def features(self, x: Tensor, height: int, width: int) -> Tensor:
        """[B, out_channels, height, width] of `halved` input [B, 4 in_channels + in_maps, h, w]."""
        skips: list[Tensor] = []
        for level in self.down:
            x = level(x)
            skips.append(x)
        skips.pop()
        for double, blocks in zip(self.doubling, self.up, strict=True):
            x = blocks(double(x) + skips.pop())
        return F.pixel_shuffle(self.conv_out(x), 2)[..., :height, :width]
