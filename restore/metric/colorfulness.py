"""Colourfulness (Hasler & Suesstrunk 2003), section 5: how vivid an image is, on 8-bit RGB."""

from torch import Tensor

from restore.metric.base import Metric, eight_bit
from restore.types import Batch, InputError


def colorfulness(image: Tensor) -> Tensor:
    """M3 [B], std + 0.3 mean of the opponent pair (rg, yb), for RGB [B, 3, H, W] in [0, 1].

    rg and yb are signed and in 0..255 units; with their absolute values it is another measure.
    """
    if image.shape[1] != 3:
        raise InputError(f"colorfulness is of RGB images, not of {image.shape[1]} channels")
    red, green, blue = (255 * image.double()).flatten(start_dim=2).unbind(dim=1)
    rg, yb = red - green, (red + green) / 2 - blue
    deviation = (rg.var(dim=1, correction=0) + yb.var(dim=1, correction=0)).sqrt()
    return deviation + 0.3 * (rg.mean(dim=1) ** 2 + yb.mean(dim=1) ** 2).sqrt()


class Colorfulness(Metric):
    """Colorfulness of the restored image; 0 for a grey one."""

    name = "colorfulness"
    definition = "colorfulness/hasler-m3-signed/uint8/per-image/v1"
    higher_is_better = True

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        return colorfulness(eight_bit(restored))


class ColorfulnessDifference(Metric):
    """How far the restored image's colourfulness is from its target's, either way."""

    name = "colorfulness_difference"
    definition = "colorfulness_difference/hasler-m3-signed/uint8/absolute/per-image/v1"
    higher_is_better = False

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        return (colorfulness(eight_bit(restored)) - colorfulness(eight_bit(target))).abs()
