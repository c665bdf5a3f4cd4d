"""The only conversions between ranges: uint8 in files, [-1, 1] inside, [0, 1] for metrics."""

import torch
from torch import Tensor


def from_uint8(image: Tensor) -> Tensor:
    """uint8 [..., C, H, W] in 0..255 to float32 in [-1, 1]."""
    if image.dtype != torch.uint8:
        raise ValueError(f"expected uint8, got {image.dtype}")
    return image.float() / 127.5 - 1


def to_uint8(image: Tensor) -> Tensor:
    """Float in [-1, 1] to uint8, clamped and rounded; the inverse of from_uint8 on its image."""
    return ((image.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_unit(image: Tensor) -> Tensor:
    """[-1, 1] to [0, 1]; neither clamped nor rounded."""
    return (image + 1) / 2


def from_unit(image: Tensor) -> Tensor:
    """[0, 1] to [-1, 1]; neither clamped nor rounded."""
    return image * 2 - 1


def lab_from_rgb(image: Tensor) -> Tensor:
    """sRGB [B, 3, H, W] in [-1, 1] to CIE LAB (D65): L / 50 - 1, a / 110, b / 110, in [-1, 1]."""
    from kornia.color import rgb_to_lab

    with torch.autocast(image.device.type, enabled=False):  # kornia multiplies matrices
        lab = rgb_to_lab(to_unit(image.float()))
    return torch.cat([lab[:, :1] / 50 - 1, lab[:, 1:] / 110], dim=1)


def rgb_from_lab(lab: Tensor) -> Tensor:
    """The inverse of lab_from_rgb; colours that sRGB does not have are clipped to its cube."""
    from kornia.color import lab_to_rgb

    lab = lab.float()
    with torch.autocast(lab.device.type, enabled=False):
        rgb = lab_to_rgb(torch.cat([(lab[:, :1] + 1) * 50, lab[:, 1:] * 110], dim=1))
    return from_unit(rgb)
