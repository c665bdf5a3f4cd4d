"""What every degradation is."""

from typing import NotRequired, Protocol, TypedDict

from torch import Tensor

from restore.types import ForwardOperator, InputError, path_of


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


def checked(degradation: Degradation | None) -> Degradation:
    """The degradation; InputError where none is chosen, or where it is no Degradation."""
    if degradation is None:
        raise InputError(
            "the degradation is not set: choose one as degradation=NAME, or of a benchmark as "
            "+degradation@benchmark.NAME.data.degradation=NAME"
        )
    if not hasattr(degradation, "input_channels"):
        raise InputError(
            f"data.degradation {path_of(degradation)} has no input_channels: make it a class with "
            "what Degradation of restore.degradation.contract lists"
        )
    return degradation
