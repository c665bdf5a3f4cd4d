"""Classical methods: `baseline(observation)` gives [B, C, H, W] in [-1, 1].

Those that work on 8-bit or on double-precision images do so one image at a time, on the CPU.
"""

import importlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.image import from_uint8, from_unit, rgb_from_lab, to_uint8, to_unit
from restore.network.push_pull import push_pull
from restore.types import InputError, Observation

Image = NDArray[Any]


class Baseline(ABC):
    """Raises InputError where an observation lacks what the method needs."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, observation: Observation) -> Tensor:
        """Restored images [B, C, H, W] in [-1, 1], not clipped."""


class Identity(Baseline):
    """The degraded input itself: the floor."""

    name = "identity"

    def __call__(self, observation: Observation) -> Tensor:
        return observation["input"]


class HoleFill(Baseline):
    """Fills the hole and returns known pixels bit-equal; without any of them, middle grey."""

    def __call__(self, observation: Observation) -> Tensor:
        degraded = observation["input"]
        if "hole" not in observation:
            raise InputError(f"baseline={self.name} needs a hole: use a degradation of masks")
        hole = observation["hole"] > 0.5
        filled = torch.zeros_like(degraded)
        for i in range(len(degraded)):
            if not hole[i].all():
                filled[i] = self.fill(degraded[i], hole[i])
        return torch.where(hole, filled, degraded)

    @abstractmethod
    def fill(self, image: Tensor, hole: Tensor) -> Tensor:
        """[C, H, W] for image [C, H, W] in [-1, 1] and hole [1, H, W], bool, not full."""


class MeanFill(HoleFill):
    """Every channel's mean over the known pixels."""

    name = "mean_fill"

    def fill(self, image: Tensor, hole: Tensor) -> Tensor:
        known = ~hole
        return ((image * known).sum(dim=(1, 2)) / known.sum())[:, None, None].expand_as(image)


class _OpenCVInpaint(HoleFill):
    flag: ClassVar[str]

    def __init__(self, radius: float = 3.0) -> None:
        if radius <= 0:
            raise InputError(f"baseline.radius={radius}: it is in pixels, use more than 0")
        self.radius = radius

    def fill(self, image: Tensor, hole: Tensor) -> Tensor:
        import cv2

        pixels = np.ascontiguousarray(to_uint8(image).cpu().permute(1, 2, 0).numpy())
        mask = hole[0].cpu().numpy().astype(np.uint8)
        filled = cv2.inpaint(pixels, mask, self.radius, getattr(cv2, self.flag))
        return from_uint8(torch.from_numpy(filled.reshape(pixels.shape)).permute(2, 0, 1))


class Telea(_OpenCVInpaint):
    """Fast marching (Telea 2004), OpenCV, 8-bit; radius in pixels."""

    name = "telea"
    flag = "INPAINT_TELEA"


class NavierStokes(_OpenCVInpaint):
    """Isophotes as a flow (Bertalmio et al. 2001), OpenCV, 8-bit; radius in pixels."""

    name = "navier_stokes"
    flag = "INPAINT_NS"


class Biharmonic(HoleFill):
    """The smoothest surface through the known pixels (Damelin & Hoang 2018), scikit-image."""

    name = "biharmonic"

    def fill(self, image: Tensor, hole: Tensor) -> Tensor:
        from skimage.restoration import inpaint_biharmonic

        pixels = image.cpu().double().numpy()
        return torch.from_numpy(inpaint_biharmonic(pixels, hole[0].cpu().numpy(), channel_axis=0))


class PushPull(HoleFill):
    """The image pyramid of Gortler et al. 1996, smoothed level by level: see its function."""

    name = "push_pull"

    def __init__(self, relaxations: int = 4) -> None:
        if relaxations < 0:
            raise InputError(f"baseline.relaxations={relaxations}: use 0 or more")
        self.relaxations = relaxations

    def fill(self, image: Tensor, hole: Tensor) -> Tensor:
        return push_pull(image[None], hole[None].float(), self.relaxations)[0]


class NoiseFilter(Baseline):
    """A denoiser that is told the noise level."""

    def __call__(self, observation: Observation) -> Tensor:
        degraded = observation["input"]
        if "sigma" not in observation:
            raise InputError(f"baseline={self.name} needs sigma: use Gaussian noise, or median")
        images = to_unit(degraded).cpu().double().permute(0, 2, 3, 1).numpy()
        # sigma is in units of [-1, 1], which is twice as long as [0, 1]
        restored = [
            self.denoise(image, sigma / 2).reshape(image.shape)
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


class TotalVariation(NoiseFilter):
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

        restored: Image = denoise_wavelet(image, sigma=sigma, channel_axis=-1)
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


class Grey(Baseline):
    """The lightness with a = b = 0: the floor of colorization."""

    name = "grey"

    def __call__(self, observation: Observation) -> Tensor:
        lightness = observation["input"]
        if lightness.shape[1] != 1:
            raise InputError("baseline=grey needs L as input: use degradation=gray")
        ab = torch.zeros_like(lightness).repeat(1, 2, 1, 1)
        return rgb_from_lab(torch.cat([lightness, ab], dim=1))


def _positive(strength: float) -> float:
    if strength <= 0:
        raise InputError(f"baseline.strength={strength}: it multiplies sigma, use more than 0")
    return strength


def _optional(module: str, package: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"baseline={name} needs {package}: pip install {package}") from None
