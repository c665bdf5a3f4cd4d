"""Photos of people in memory: what they handed over as a tensor, and a tensor as what they gave."""

import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restore.data.image_file import on_white
from restore.data.mask_files import opacity
from restore.types import InputError

_TOPS = {"uint8": 255, "uint16": 65535}
_FARTHEST = 4.0  # of floats in [0, 1]: beyond it they are no noise, but another range


@dataclass(frozen=True)
class Values:
    """Numbers of a photo [B, C, H, W] from 0 to `top`, and what the photo was.

    float32, which holds every uint16; float64 where that was given.
    """

    numbers: Tensor
    kind: Literal["pil", "numpy", "torch"]
    dtype: Any
    ndim: int  # of the array that was given
    top: float  # 255 or 65535; 1 for floats
    profile: bytes | None = None  # ICC profile of the numbers of a PIL image
    device: torch.device | str = "cpu"  # of the tensor; numbers lie on the CPU

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, H, W)."""
        count, _, height, width = self.numbers.shape
        return count, height, width

    def image(self) -> Tensor:
        """float32 [B, C, H, W] in [-1, 1]."""
        return self.numbers.float() * (2 / self.top) - 1

    def like(self, image: Tensor, hole: Tensor | None = None) -> Any:
        """[B, C, H, W] in [-1, 1] as a photo of this kind; numbers outside of a hole are its own.

        They are clamped to 0 and `top`, and whole numbers are rounded. PIL has no colours of 16
        bits: such a result has 8.
        """
        if self.kind == "pil" and self.top > 255 and image.shape[1] == 3:
            eight = replace(self, dtype=np.dtype(np.uint8), top=255, numbers=self.numbers / 257)
            return eight.like(image, hole)
        numbers = ((image.to(self.numbers) + 1) * (self.top / 2)).clamp(0, self.top)
        if self.top > 1:
            numbers = numbers.round()
        if hole is not None and numbers.shape == self.numbers.shape:
            numbers = torch.where(hole > 0, numbers, self.numbers)
        return self._packed(numbers)

    def _packed(self, numbers: Tensor) -> Any:
        if self.kind == "torch":
            made = numbers.to(self.device, self.dtype)
            if self.ndim == 2 and made.shape[1] == 1:
                return made[0, 0]
            return made if self.ndim == 4 else made[0]
        array = numbers.permute(0, 2, 3, 1).numpy().astype(self.dtype)
        if self.ndim < 4:
            array = array[0]
        if self.ndim == 2 and array.shape[-1] == 1:
            array = array[..., 0]
        if self.kind != "pil":
            return array
        picture = Image.fromarray(array)
        if self.profile is not None:
            picture.info["icc_profile"] = self.profile  # where Pillow keeps it, and saves it from
        return picture


def values(photo: Any, what: str = "an image") -> Values:
    """Of a PIL image, a NumPy array [H, W], [H, W, C] or [B, H, W, C], or a tensor [H, W],
    [C, H, W] or [B, C, H, W], with C = 1 or 3.

    Whole numbers are uint8 (0..255) or uint16 (0..65535); floats are in [0, 1], which noise may
    leave. PIL images with transparency are laid on white. what: how errors call it. Warns of floats
    that look like those in [-1, 1].

    Raises:
        InputError: another type, shape or range.
    """
    if isinstance(photo, Image.Image):
        return _of_pil(photo)
    if isinstance(photo, Tensor):
        numbers = photo.detach().cpu()
        kind: Literal["numpy", "torch"] = "torch"
    elif isinstance(photo, np.ndarray):
        numbers, kind = _native(photo, what), "numpy"
    else:
        raise InputError(
            f"{what} of type {type(photo).__name__} is not read: give a PIL image, a NumPy array "
            "or a torch tensor"
        )
    name, shape = str(numbers.dtype).removeprefix("torch."), tuple(photo.shape)
    if name not in _TOPS and not numbers.is_floating_point():
        raise InputError(f"{what} of {name} is not read: give uint8, uint16 or floats in [0, 1]")
    numbers = numbers if numbers.dtype == torch.float64 else numbers.float()
    numbers = _four(numbers, kind, shape, what)
    top = _TOPS.get(name, 1)
    if top == 1:
        _check_range(numbers, what)
    place = photo.device if isinstance(photo, Tensor) else numbers.device
    return Values(numbers, kind, photo.dtype, photo.ndim, top, device=place)


def _native(array: np.ndarray, what: str) -> Tensor:
    """In the byte order of this machine, which torch wants."""
    try:
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    except TypeError:
        raise InputError(
            f"{what} of {array.dtype} is not read: give uint8, uint16 or floats in [0, 1]"
        ) from None


def _four(numbers: Tensor, kind: str, shape: tuple[int, ...], what: str) -> Tensor:
    """[B, C, H, W], or InputError."""
    last = kind == "numpy"
    if numbers.ndim == 2:
        numbers = numbers[None, None]
    elif numbers.ndim in (3, 4):
        numbers = numbers if numbers.ndim == 4 else numbers[None]
        numbers = numbers.permute(0, 3, 1, 2) if last else numbers
    if numbers.ndim != 4 or numbers.shape[1] not in (1, 3) or not numbers.numel():
        wanted = "[H, W], [H, W, C] or [B, H, W, C]" if last else "[H, W], [C, H, W], [B, C, H, W]"
        raise InputError(f"{what} of shape {list(shape)} is not read: give {wanted}, C = 1 or 3")
    return numbers


def _check_range(numbers: Tensor, what: str) -> None:
    low, high = (float(end) for end in numbers.aminmax())
    if not (low >= 1 - _FARTHEST and high <= _FARTHEST):  # also false for NaN
        raise InputError(
            f"{what} of floats from {low:.4g} to {high:.4g} is not read: floats are in [0, 1]; "
            "uint8 is in 0..255"
        )
    if -1 <= low < -0.5 and high <= 1:  # noise as strong leaves [0, 1] at both ends
        warnings.warn(
            f"{what} of floats from {low:.4g} to {high:.4g} is read as noise around [0, 1]: of one "
            "in [-1, 1] give (image + 1) / 2",
            stacklevel=4,
        )


def _of_pil(photo: Image.Image) -> Values:
    if photo.mode.startswith("I;16"):
        array = np.asarray(photo).astype(np.uint16)
    else:
        array = np.asarray(_on_white(photo))
    numbers = _four(torch.from_numpy(array.astype(np.float32)), "numpy", array.shape, "an image")
    # Inks have become sRGB.
    profile = None if photo.mode == "CMYK" else photo.info.get("icc_profile")
    return Values(numbers, "pil", array.dtype, array.ndim, _TOPS[array.dtype.name], profile)


def _on_white(photo: Image.Image) -> Image.Image:
    try:
        return on_white(photo)
    except ValueError as error:
        raise InputError(f"a PIL image of mode {photo.mode} is not read: {error}") from None


def hole_of(hole: Any, shape: tuple[int, int, int]) -> Tensor:
    """float32 [B, 1, H, W] in {0, 1} for images of shape (B, H, W); 1 = to be filled.

    Takes what `values` takes with one channel, and bool; what is half of the range or more is hole.
    Whole numbers of at most 1 are 0 and 1. Of a PIL image of white strokes with transparency, the
    strokes are the hole.

    Raises:
        InputError: another type, another size, or a hole that is not empty and nowhere half of its
            range, as of uint16 with 0 and 255.
    """
    found = _channel(hole, shape, "hole")
    top, brightest = _top(found), float(found.numbers.max())
    if 0 < brightest < top / 2:
        raise InputError(
            f"the hole is not empty, but nothing in it is half of its range (its largest is "
            f"{brightest:g} of {top:g}): give bool, or {top:g} for holes and 0 for what is known"
        )
    return (found.numbers >= top / 2).float().expand(shape[0], -1, -1, -1)


def _top(drawn: Values) -> float:
    """What stands for all: 1 of whole numbers that are 0 and 1."""
    return 1 if float(drawn.numbers.max()) <= 1 else drawn.top


def strength_of(strength_map: Any, shape: tuple[int, int, int]) -> Tensor:
    """float32 [B, 1, H, W] in [0, 1] for images of shape (B, H, W), from what `hole_of` takes.

    White is 1, drawn anew; black is 0, kept. InputError as there, and for floats outside [0, 1].
    """
    found = _channel(strength_map, shape, "strength_map")
    shares = found.numbers / _top(found)
    low, high = (float(bound) for bound in shares.aminmax())
    if not (low >= 0 and high <= 1):
        raise InputError(f"strength_map spans [{low:.4g}, {high:.4g}], it must lie in [0, 1]")
    return shares.float().expand(shape[0], -1, -1, -1)


def _drawn(image: Image.Image) -> np.ndarray:
    """uint8 [H, W] of a PIL image; where it is white everywhere, how opaque it is."""
    array = np.asarray(_on_white(image).convert("L"))
    drawn = opacity(image) if array.min(initial=255) > 127 else None
    return array if drawn is None else np.asarray(drawn)


def _channel(given: Any, shape: tuple[int, int, int], name: str) -> Values:
    """One channel of the size of images (B, H, W); bool is 0 and 1 of floats."""
    if isinstance(given, Image.Image) and not given.mode.startswith("I;16"):
        given = _drawn(given)
    if isinstance(given, np.ndarray | Tensor) and str(given.dtype).endswith("bool"):
        given = given.astype(np.float32) if isinstance(given, np.ndarray) else given.float()
    found = values(given, f"the {name}")
    count, height, width = shape
    if found.numbers.shape[1:] != (1, height, width) or len(found.numbers) not in (1, count):
        sides = "x".join(str(side) for side in reversed(found.numbers.shape[-2:]))
        raise InputError(
            f"the {name} has {found.numbers.shape[1]} channel(s) and {sides} px, the image "
            f"{width}x{height} px: give one channel of the same size"
        )
    return found
