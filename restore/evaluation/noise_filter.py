"""Classical filters of noise, one image at a time on the CPU, in double precision."""

import importlib
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restore.evaluation.baseline import Baseline, Image
from restore.image import from_unit, to_unit
from restore.types import InputError, Observation


class NoiseFilter(Baseline):
    """A denoiser that is told the noise level."""

    def __call__(self, observation: Observation) -> Tensor:
        degraded = observation["input"]
        if "sigma" not in observation:
            raise InputError(f"baseline={self.name} needs sigma: use Gaussian noise, or median")
        images = to_unit(degraded).cpu().double().permute(0, 2, 3, 1).numpy()
        # sigma is in units of [-1, 1], which is twice as long as [0, 1]
        restored = [
            self.denoise(image, sigma / 2).reshape(image.shape) if sigma else image
            for image, sigma in zip(images, observation["sigma"].tolist(), strict=True)
        ]
        return from_unit(torch.from_numpy(np.stack(restored))).permute(0, 3, 1, 2).to(degraded)

    @abstractmethod
    def denoise(self, image: Image, sigma: float) -> Image:
        """[H, W, C] for image [H, W, C] float64 and sigma, both in units of [0, 1]."""


class BM3D(NoiseFilter):
    """Block matching and collaborative filtering (Dabov et al. 2007), the authors' bm3d package."""

    name = "bm3d"

    def __init__(self) -> None:
        self._package = _optional("bm3d", "bm3d", self.name)

    def denoise(self, image: Image, sigma: float) -> Image:
        in_color = image.shape[2] == 3
        method = self._package.bm3d_rgb if in_color else self._package.bm3d
        restored: Image = method(image if in_color else image[..., 0], sigma)
        return restored


class NonLocalMeans(NoiseFilter):
    """Buades et al. 2005, scikit-image: 5 px patches up to 6 px away; h = strength * sigma."""

    name = "non_local_means"

    def __init__(self, strength: float = 0.6) -> None:
        self.strength = _positive(strength)

    def denoise(self, image: Image, sigma: float) -> Image:
        from skimage.restoration import denoise_nl_means

        restored: Image = denoise_nl_means(
            image,
            patch_size=5,
            patch_distance=6,
            h=self.strength * sigma,
            sigma=sigma,
            channel_axis=-1,
        )
        return restored


class TotalVariationFilter(NoiseFilter):
    """Rudin et al. 1992 by Chambolle 2004, scikit-image; weight = strength * sigma."""

    name = "total_variation"

    def __init__(self, strength: float = 0.9) -> None:
        self.strength = _positive(strength)

    def denoise(self, image: Image, sigma: float) -> Image:
        from skimage.restoration import denoise_tv_chambolle

        restored: Image = denoise_tv_chambolle(image, self.strength * sigma, channel_axis=-1)
        return restored


class Wavelet(NoiseFilter):
    """BayesShrink (Chang et al. 2000) in YCbCr, scikit-image with PyWavelets."""

    name = "wavelet"

    def __init__(self) -> None:
        _optional("pywt", "PyWavelets", self.name)

    def denoise(self, image: Image, sigma: float) -> Image:
        from skimage.restoration import denoise_wavelet

        in_color = image.shape[2] == 3
        restored: Image = denoise_wavelet(
            image, sigma=sigma, channel_axis=-1, convert2ycbcr=in_color
        )
        return restored


class Median(Baseline):
    """The median of size x size pixels, channel by channel: for salt and pepper."""

    name = "median"

    def __init__(self, size: int = 3) -> None:
        if size < 3 or size % 2 == 0:
            raise InputError(f"baseline.size={size}: use an odd number of pixels, 3 or more")
        self.size = size

    def __call__(self, observation: Observation) -> Tensor:
        from scipy.ndimage import median_filter

        degraded = observation["input"]
        window = (1, 1, self.size, self.size)
        return torch.from_numpy(median_filter(degraded.cpu().numpy(), window)).to(degraded)


def _positive(strength: float) -> float:
    if strength <= 0:
        raise InputError(f"baseline.strength={strength}: it multiplies sigma, use more than 0")
    return strength


def _optional(module: str, package: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"baseline={name} needs {package}: pip install {package}") from None
