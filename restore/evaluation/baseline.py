"""Classical methods: `baseline(observation)` gives [B, C, H, W] in [-1, 1].

Those that work on 8-bit or on double-precision images do so one image at a time, on the CPU.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.image import from_uint8, rgb_from_lab, to_uint8
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
    """The degraded input itself."""

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
            if hole[i].any() and not hole[i].all():
                filled[i] = self.fill(degraded[i], hole[i])
        return torch.where(hole, filled, degraded)

    @abstractmethod
    def fill(self, image: Tensor, hole: Tensor) -> Tensor:
        """[C, H, W] for image [C, H, W] in [-1, 1]; hole [1, H, W] is bool, not empty, not full."""


class MeanFill(HoleFill):
    """Every channel's mean over the known pixels."""

    name = "mean_fill"

    def fill(self, image: Tensor, hole: Tensor) -> Tensor:
        known = ~hole
        return ((image * known).sum(dim=(1, 2)) / known.sum())[:, None, None].expand_as(image)


class _EightBit(HoleFill):
    """OpenCV's, of 8-bit images."""

    def fill(self, image: Tensor, hole: Tensor) -> Tensor:
        pixels = np.ascontiguousarray(to_uint8(image).cpu().permute(1, 2, 0).numpy())
        filled = self.paint(pixels, hole[0].cpu().numpy().astype(np.uint8)).reshape(pixels.shape)
        return from_uint8(torch.from_numpy(filled).permute(2, 0, 1))

    @abstractmethod
    def paint(self, pixels: Image, hole: Image) -> Image:
        """As many numbers as pixels, uint8 [H, W, 1 or 3], has; hole [H, W] is 0 or 1."""


class _OpenCVInpaint(_EightBit):
    flag: ClassVar[str]

    def __init__(self, radius: float = 3.0) -> None:
        if radius <= 0:
            raise InputError(f"baseline.radius={radius}: it is in pixels, use more than 0")
        self.radius = radius

    def paint(self, pixels: Image, hole: Image) -> Image:
        import cv2

        filled: Image = cv2.inpaint(pixels, hole, self.radius, getattr(cv2, self.flag))
        return filled


class Telea(_OpenCVInpaint):
    """Fast marching (Telea 2004), OpenCV, 8-bit; radius in pixels."""

    name = "telea"
    flag = "INPAINT_TELEA"


class NavierStokes(_OpenCVInpaint):
    """Isophotes as a flow (Bertalmio et al. 2001), OpenCV, 8-bit; radius in pixels."""

    name = "navier_stokes"
    flag = "INPAINT_NS"


class _Exemplar(_EightBit):
    """OpenCV's xphoto, which takes the known pixels as its mask."""

    def paint(self, pixels: Image, hole: Image) -> Image:
        import cv2

        colored = pixels.shape[2] == 3  # patches are compared best in CIE LAB
        given = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB) if colored else pixels
        filled = np.zeros_like(given)
        cv2.xphoto.inpaint(given, 255 * (1 - hole), filled, self.flag())
        made: Image = cv2.cvtColor(filled, cv2.COLOR_LAB2RGB) if colored else filled
        return made

    @abstractmethod
    def flag(self) -> int:
        """OpenCV's number of the method."""


class ShiftMap(_Exemplar):
    """Patches from elsewhere in the image, by their frequent shifts (He & Sun 2012), OpenCV."""

    name = "shiftmap"

    def flag(self) -> int:
        import cv2

        return int(cv2.xphoto.INPAINT_SHIFTMAP)


class FrequencySelective(_Exemplar):
    """Fourier functions that fit the known surroundings (Seiler & Kaup 2010), OpenCV.

    best takes about 20 times as long as fast.
    """

    name = "frequency_selective"

    def __init__(self, quality: Literal["fast", "best"] = "fast") -> None:
        if quality not in ("fast", "best"):
            raise InputError(f"baseline.quality={quality}: use fast or best")
        self.quality = quality

    def flag(self) -> int:
        import cv2

        return int(getattr(cv2.xphoto, f"INPAINT_FSR_{self.quality.upper()}"))


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


class Grey(Baseline):
    """The lightness with a = b = 0."""

    name = "grey"

    def __call__(self, observation: Observation) -> Tensor:
        lightness = observation["input"]
        if lightness.shape[1] != 1:
            raise InputError("baseline=grey needs L as input: use degradation=gray")
        ab = torch.zeros_like(lightness).repeat(1, 2, 1, 1)
        return rgb_from_lab(torch.cat([lightness, ab], dim=1))
