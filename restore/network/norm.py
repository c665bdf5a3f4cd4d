"""Normalisation as one choice for generators and discriminators."""

import math
from typing import Literal

from torch import nn

from restore.types import InputError

Norm = Literal["none", "group", "instance", "batch"]


def normalize(norm: Norm, channels: int) -> nn.Module:
    """The layer of that name; instance and batch learn scale and shift as group does.

    `group` (up to 32 groups) is the default everywhere: a sample's statistics are its own, so that
    two processes train like one, evaluation like training, and a map of one pixel is no error
    (instance). `batch` is the classic recipe of Isola et al. 2017.
    """
    match norm:
        case "none":
            return nn.Identity()
        case "group":
            return nn.GroupNorm(math.gcd(32, channels), channels)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "batch":
            return nn.BatchNorm2d(channels)
        case _:
            raise InputError(f"norm={norm}: use none, group, instance or batch")
