"""What every degradation is."""

from typing import NotRequired, Protocol, TypedDict

from torch import Tensor

from restore.types import ForwardOperator


class Degraded(TypedDict):
    """The part of a Batch that a degradation makes; the fields mean what they mean there."""

    target: Tensor
    input: Tensor
    hole: NotRequired[Tensor]
    sigma: NotRequired[Tensor]
    operator: NotRequired[ForwardOperator]


def makes_holes(degradation: object) -> bool:
    """Whether there is a hole in what it makes: a degradation that makes one says so."""
    return bool(getattr(degradation, "makes_holes", False))


class Degradation(Protocol):
    def input_channels(self, image_channels: int) -> int:
        """Channels of `input` for targets of `image_channels`; InputError where it cannot be."""
        ...

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        """Degrade [B, C, H, W] in [-1, 1] by seeds [B] int64, both on one device.

        What happens to a sample depends on its own image and seed alone.
        """
        ...
