"""Gaussian noise, added or multiplied, and its level as an image tells it."""

import math

import numpy as np
import torch
from torch import Tensor

from restore.degradation.choice import draw, parse_bounds
from restore.degradation.contract import Degraded
from restore.image import from_uint8, from_unit, to_uint8, to_unit
from restore.stream import Stream
from restore.types import InputError

_LAST_PLACE = 10_000  # all images before the one that is asked for are drawn, too


class Gaussian:
    """White Gaussian noise of standard deviation `sigma` in grey levels of 255.

    A list [low, high] draws each sample's sigma uniformly between the two. The input is neither
    clipped nor quantised. blind: the batch does not state the level.
    """

    def __init__(self, sigma: float | list[float], blind: bool = False) -> None:
        self.low, self.high = parse_bounds(sigma, "noise sigma")
        self.blind = blind

    def input_channels(self, image_channels: int) -> int:
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        stream = Stream(seeds)
        noise = stream.normal(*target.shape[1:])
        sigma = stream.uniform(low=self.low, high=self.high) / 127.5
        degraded = target + sigma[:, None, None, None] * noise
        made = Degraded(target=target, input=degraded.to(target.dtype))
        return made if self.blind else Degraded(**made, sigma=sigma)


class KAIRNoise:
    """The noise of the denoising tables, `sigma` in grey levels of 255 (KAIR, SwinIR, Restormer).

    NumPy's legacy generator, seeded with 0 for every image, fills [H, W, C] in float64: equal for
    all images of a size, whatever their seeds. The input is neither clipped nor quantised.
    """

    def __init__(self, sigma: float) -> None:
        if not 0 <= sigma < math.inf:
            raise InputError(f"noise sigma must be a level >= 0, got {sigma}")
        self.sigma = sigma

    def input_channels(self, image_channels: int) -> int:
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        channels, height, width = target.shape[1:]
        generator = np.random.RandomState(0)
        noise = generator.normal(0, self.sigma / 127.5, (height, width, channels))
        added = torch.from_numpy(noise).permute(2, 0, 1).to(target.device)
        return Degraded(
            target=target,
            input=(target.double() + added).to(target.dtype),
            sigma=target.new_full((len(target),), self.sigma / 127.5),
        )


class AllInOneNoise:
    """The noise of the all-in-one tables, `sigma` in grey levels of 255 (PromptIR, AdaIR).

    NumPy's legacy generator, seeded with 0 once, fills [H, W, C] in float64 for one image after the
    other; the noisy levels are clipped to [0, 255] and truncated to 8 bits. The seed of a sample is
    its place in that order, so that its noise is the same in any batch and on any process. All
    images must have equally many values (480 x 320 and 320 x 480 have).
    """

    def __init__(self, sigma: float) -> None:
        if not 0 <= sigma < math.inf:
            raise InputError(f"noise sigma must be a level >= 0, got {sigma}")
        self.sigma = sigma
        self._size = 0  # values of an image; 0 before the first one
        self._next, self._generator = 0, np.random.RandomState(0)

    def input_channels(self, image_channels: int) -> int:
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        noise = torch.stack([self._noise(place, target) for place in seeds.tolist()])
        levels = to_uint8(target).double() + self.sigma * noise.to(target.device)
        truncated = from_uint8(levels.clamp(0, 255).to(torch.uint8))
        sigma = target.new_full((len(target),), self.sigma / 127.5)
        return Degraded(target=target, input=truncated.to(target.dtype), sigma=sigma)

    def _noise(self, place: int, target: Tensor) -> Tensor:
        """The standard normal values [C, H, W] of image number `place`."""
        channels, height, width = target.shape[1:]
        size = channels * height * width
        if self._size not in (0, size):
            raise InputError(
                f"all-in-one noise is one stream over images of equal size, got {height} x {width} "
                f"x {channels} after one of {self._size} values: choose degradation=kair_noise"
            )
        if not 0 <= place < _LAST_PLACE:
            raise InputError(
                f"all-in-one noise numbers the images of a benchmark, and {place} is no number of "
                "one: it takes data.seed=0, and a training takes degradation=noise"
            )
        if place < self._next:
            self._next, self._generator = 0, np.random.RandomState(0)
        for _ in range(self._next, place):
            self._generator.standard_normal(size)
        self._size, self._next = size, place + 1
        noise = self._generator.standard_normal((height, width, channels))
        return torch.from_numpy(noise).permute(2, 0, 1)


class Speckle:
    """Every value in [0, 1] times 1 + `std` n, n standard normal; clipped and rounded to 8 bits.

    std: at least 0; a list [low, high] draws each sample's std uniformly between the two.
    """

    def __init__(self, std: float | list[float]) -> None:
        self.std = parse_bounds(std, "speckle std")

    def input_channels(self, image_channels: int) -> int:
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        stream = Stream(seeds)
        normal = stream.normal(*target.shape[1:])
        factor = 1 + draw(stream, self.std).float() * normal
        speckled = from_uint8(to_uint8(from_unit(to_unit(target) * factor)))
        return Degraded(target=target, input=speckled.to(target.dtype))


def estimate_level(image: np.ndarray, channel_axis: int | None) -> float:
    """Level of Gaussian noise in a floating-point image, in its units, the mean over channels.

    Donoho & Johnstone 1994: the median of the finest wavelet coefficients, by scikit-image.
    """
    from skimage.restoration import estimate_sigma

    level = float(estimate_sigma(image, channel_axis=channel_axis, average_sigmas=True))
    return level if np.isfinite(level) else 0.0  # of a flat image, which has no coefficients
