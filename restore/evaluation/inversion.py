"""Classical methods for a degradation whose operator is known: enlargement and deconvolution."""

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from restore.degradation.blur import Blur
from restore.evaluation.baseline import Baseline, Image
from restore.image import from_unit, to_unit
from restore.types import InputError, Observation


class Bicubic(Baseline):
    """A smaller measurement, enlarged with the kernel of `Downsample`, as by Pillow."""

    name = "bicubic"

    def __call__(self, observation: Observation) -> Tensor:
        shown = observation["input"]
        operator = observation.get("operator")
        if operator is None or operator.keeps_size:
            raise InputError("baseline=bicubic enlarges: use degradation=downsample")
        size = (shown.shape[-2], shown.shape[-1])
        return F.interpolate(operator.measured(shown), size, mode="bicubic", antialias=True)


class Deconvolution(Baseline):
    """Undoes a blur whose kernel it is told, image by image, channel by channel."""

    def __call__(self, observation: Observation) -> Tensor:
        degraded, operator = observation["input"], observation.get("operator")
        if not isinstance(operator, Blur):
            raise InputError(f"baseline={self.name} undoes a known blur: use degradation=blur")
        kernel = operator.kernel.cpu().numpy()
        planes = to_unit(degraded).cpu().double().flatten(0, 1).numpy()
        restored = np.stack([self.deconvolve(plane, kernel) for plane in planes])
        return from_unit(torch.from_numpy(restored)).view(degraded.shape).to(degraded)

    @abstractmethod
    def deconvolve(self, plane: Image, kernel: Image) -> Image:
        """[H, W] float64 in units of [0, 1], for a plane [H, W] and a kernel of odd sides."""


class Wiener(Deconvolution):
    """Hunt 1973, scikit-image: the error of the fit plus `balance` times the Laplacian's power."""

    name = "wiener"

    def __init__(self, balance: float = 0.002) -> None:
        if balance <= 0:
            raise InputError(f"baseline.balance={balance}: use more than 0")
        self.balance = balance

    def deconvolve(self, plane: Image, kernel: Image) -> Image:
        from skimage.restoration import wiener

        restored: Image = wiener(plane, kernel, self.balance, clip=False)
        return restored


class RichardsonLucy(Deconvolution):
    """Richardson 1972 and Lucy 1974, scikit-image; more iterations are sharper and noisier."""

    name = "richardson_lucy"

    def __init__(self, iterations: int = 30) -> None:
        if iterations < 1:
            raise InputError(f"baseline.iterations={iterations}: use 1 or more")
        self.iterations = iterations

    def deconvolve(self, plane: Image, kernel: Image) -> Image:
        from skimage.restoration import richardson_lucy

        # Levels below 0, which noise makes, have no meaning to a model of photons. Beyond the
        # borders scikit-image sees 0, and the blur has seen the opposite side.
        (top, left), (height, width) = (side // 2 for side in plane.shape), plane.shape
        around = np.pad(plane.clip(min=0), ((top, top), (left, left)), mode="wrap")
        restored: Image = richardson_lucy(around, kernel, self.iterations)
        return restored[top : top + height, left : left + width]
