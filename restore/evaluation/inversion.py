"""Classical methods for a degradation whose operator is known: enlargement and deconvolution."""

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from restore.degradation.blur import Blur
from restore.evaluation.baseline import Baseline
from restore.image import from_unit, to_unit
from restore.types import InputError, Observation

_DARK = 1e-12  # where an estimate is black, and the rounding of an FFT would divide


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
    """Undoes a blur whose kernel it is told, channel by channel."""

    def __call__(self, observation: Observation) -> Tensor:
        degraded, operator = observation["input"], observation.get("operator")
        if not isinstance(operator, Blur):
            raise InputError(f"baseline={self.name} undoes a known blur: use degradation=blur")
        return from_unit(self.deconvolve(to_unit(degraded).cpu().double(), operator)).to(degraded)

    @abstractmethod
    def deconvolve(self, images: Tensor, blur: Blur) -> Tensor:
        """[B, C, H, W] float64 in units of [0, 1], of images like it."""


class Wiener(Deconvolution):
    """Hunt 1973, scikit-image: the error of the fit plus `balance` times the Laplacian's power."""

    name = "wiener"

    def __init__(self, balance: float = 0.002) -> None:
        if balance <= 0:
            raise InputError(f"baseline.balance={balance}: use more than 0")
        self.balance = balance

    def deconvolve(self, images: Tensor, blur: Blur) -> Tensor:
        from skimage.restoration import wiener

        kernel, planes = blur.kernel.cpu().numpy(), images.flatten(0, 1).numpy()
        restored = [wiener(plane, kernel, self.balance, clip=False) for plane in planes]
        return torch.from_numpy(np.stack(restored)).view(images.shape)


class RichardsonLucy(Deconvolution):
    """Richardson 1972 and Lucy 1974; more iterations are sharper and noisier.

    By the blur's own operator: what is beyond the borders of an image is its opposite side.
    """

    name = "richardson_lucy"

    def __init__(self, iterations: int = 30) -> None:
        if iterations < 1:
            raise InputError(f"baseline.iterations={iterations}: use 1 or more")
        self.iterations = iterations

    def deconvolve(self, images: Tensor, blur: Blur) -> Tensor:
        # Levels below 0, which noise makes, have no meaning to a model of photons.
        seen, found = images.clamp(min=0), torch.full_like(images, 0.5)
        for _ in range(self.iterations):
            share = seen / blur.forward(found).clamp(min=_DARK)
            found = found * blur.adjoint(share, *images.shape[-2:])
        return found
