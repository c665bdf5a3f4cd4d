"""Lossy compression."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restore.degradation.contract import Degraded
from restore.image import from_uint8, to_uint8
from restore.stream import Stream
from restore.types import InputError


class JPEG:
    """The image after 8-bit baseline JPEG of libjpeg's `quality`, colour in 4:2:0.

    A list [low, high] draws each sample's quality uniformly, both included. Pillow encodes and
    decodes on the CPU: the differentiable codec of kornia rounds softly and is up to 1 dB kinder.
    """

    def __init__(self, quality: int | list[int]) -> None:
        bounds = list(quality) if isinstance(quality, (list, tuple)) else [quality, quality]
        if len(bounds) != 2 or not 1 <= bounds[0] <= bounds[1] <= 100:
            raise InputError(f"JPEG quality must be in 1..100 or [low, high], got {quality}")
        self.low, self.high = bounds

    def input_channels(self, image_channels: int) -> int:
        if image_channels not in (1, 3):
            raise InputError(f"JPEG needs images of 1 or 3 channels, got {image_channels}")
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        quality = Stream(seeds).integers(self.low, self.high + 1).tolist()
        images = to_uint8(target).cpu()
        decoded = [_recoded(image, q) for image, q in zip(images, quality, strict=True)]
        degraded = from_uint8(torch.stack(decoded)).to(target.device, target.dtype)
        return Degraded(target=target, input=degraded)


def _recoded(image: Tensor, quality: int) -> Tensor:
    """uint8 [1 or 3, H, W] through the encoder and the decoder."""
    file = io.BytesIO()
    array = image[0] if len(image) == 1 else image.permute(1, 2, 0)
    Image.fromarray(array.numpy()).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(file) as decoded:
        pixels = torch.from_numpy(np.array(decoded)).view(*image.shape[1:], len(image))
    return pixels.permute(2, 0, 1)
