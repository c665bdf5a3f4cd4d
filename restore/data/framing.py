"""From a photo of any size to what a batch can hold: uint8 [C, H, W] in and out."""

from typing import Protocol

import torch
from torch import Tensor

from restore.network.size import mirror
from restore.stream import SampleStream
from restore.types import InputError

_PLACE = -3  # keeps the stream of places apart from those of other uses of a seed


_LARGEST = 8192  # pixels of a side: a photo of this size takes 0.8 GB


class Framing(Protocol):
    @property
    def size(self) -> int | None:
        """Side of the square result; None where sizes vary."""
        ...

    @property
    def fixed(self) -> bool:
        """Whether the result depends on the photo alone, and not on the seed."""
        ...

    def __call__(self, image: Tensor, seed: int) -> Tensor: ...


class CenterSquare:
    """The largest square in the middle, resized by area to `size` pixels."""

    fixed = True

    def __init__(self, size: int) -> None:
        self.size = _checked(size)

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        height, width = image.shape[-2:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return _square(image, top, left, side, self.size)


class RandomPatch:
    """A square of unchanged pixels at a place drawn from the seed.

    A photo smaller than the patch is continued by reflection at its lower and right border.
    """

    fixed = False

    def __init__(self, size: int) -> None:
        self.size = _checked(size)

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        (height, width), size = image.shape[-2:], self.size
        down, right = SampleStream(seed, _PLACE).uniform(2)
        top = int(down * (max(height - size, 0) + 1))
        left = int(right * (max(width - size, 0) + 1))
        if min(height, width) >= size:
            return image[:, top : top + size, left : left + size]
        offset = torch.arange(size)
        return image[:, mirror(top + offset, height)][:, :, mirror(left + offset, width)]


class RandomSquare:
    """A square at a place drawn from the seed, resized by area to `size` pixels.

    Its side is drawn uniformly from [smallest, 1] times the photo's shorter side.
    """

    fixed = False

    def __init__(self, size: int, smallest: float = 0.6) -> None:
        self.size = _checked(size)
        if not 0 < smallest <= 1:
            raise InputError(f"data.train_framing.smallest={smallest} must be in (0, 1]")
        self.smallest = smallest

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        size, down, right = SampleStream(seed, _PLACE).uniform(3)
        height, width = image.shape[-2:]
        share = self.smallest + (1 - self.smallest) * size
        side = max(1, round(share * min(height, width)))
        top, left = int(down * (height - side + 1)), int(right * (width - side + 1))
        return _square(image, top, left, side, self.size)


class Resized:
    """The whole photo, resized by area to a square of `size` pixels: long photos are squeezed."""

    fixed = True

    def __init__(self, size: int) -> None:
        self.size = _checked(size)

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        if image.shape[-2:] == (self.size, self.size):
            return image
        return area_resize(image, self.size, self.size).round().to(torch.uint8)


class Whole:
    """The photo as it is."""

    size = None
    fixed = True

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        return image


class Multiple:
    """The middle of the photo, its height and width cut to multiples of `factor` pixels.

    Of an odd number of pixels too many, the smaller part is cut at the top and at the left, as in
    the tests of PromptIR (Potlapalli et al. 2023), AdaIR and their successors.
    """

    size = None
    fixed = True

    def __init__(self, factor: int = 16) -> None:
        self.factor = _checked(factor)

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        height, width = image.shape[-2:]
        rows, columns = height % self.factor, width % self.factor
        if min(height, width) < self.factor:
            raise InputError(
                f"a photo of {height} x {width} pixels has no multiple of {self.factor} in it: "
                "leave it out, or lower the factor of the framing"
            )
        top, left = rows // 2, columns // 2
        return image[..., top : top + height - rows, left : left + width - columns]


def _square(image: Tensor, top: int, left: int, side: int, size: int) -> Tensor:
    square = image[:, top : top + side, left : left + side]
    return square if side == size else area_resize(square, size, size).round().to(torch.uint8)


def area_resize(image: Tensor, height: int, width: int) -> Tensor:
    """[..., H, W] of any type to float64 [..., height, width].

    Every new pixel is the mean of the area it covers, fractions of old pixels included.
    """
    rows = _coverage(image.shape[-2], height)
    columns = _coverage(image.shape[-1], width)
    return rows @ image.double() @ columns.T


def _coverage(old: int, new: int) -> Tensor:
    """Share of each old pixel in each new one, float64 [new, old]; rows add up to 1."""
    scale = old / new
    low = torch.arange(new, dtype=torch.float64)[:, None] * scale
    pixel = torch.arange(old, dtype=torch.float64)
    overlap = torch.minimum(low + scale, pixel + 1) - torch.maximum(low, pixel)
    return overlap.clamp_(min=0) / scale


def _checked(size: int) -> int:
    if size < 1:
        raise InputError(f"framing size must be at least 1 pixel, got {size}")
    if size > _LARGEST:
        raise InputError(f"framing size must be at most {_LARGEST} pixels, got {size}")
    return size
