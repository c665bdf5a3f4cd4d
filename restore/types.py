"""The records that cross package borders, and the one error that users see."""

from __future__ import annotations  # torch is not loaded for the sake of an error

from dataclasses import dataclass
from typing import TYPE_CHECKING, NotRequired, Protocol, TypedDict

if TYPE_CHECKING:
    from torch import Tensor


class ForwardOperator(Protocol):
    """A known degradation: y = A x + noise. See `restore.degradation.operator`."""

    @property
    def keeps_size(self) -> bool: ...

    @property
    def mixes_pixels(self) -> bool: ...

    def forward(self, x: Tensor) -> Tensor: ...

    def nearest(self, x: Tensor, y: Tensor, ridge: float | Tensor = 0.0) -> Tensor: ...

    def measured(self, shown: Tensor) -> Tensor: ...


class Observation(TypedDict):
    """All that a restorer may see of a sample. It is never extended on the way."""

    input: Tensor  # [B, K, H, W] in [-1, 1], the degraded image
    index: Tensor  # [B] int64, position of the sample in its split
    name: list[str]  # names of the samples, for reports
    hole: NotRequired[Tensor]  # [B, 1, H, W] in {0, 1}, 1 = to be filled
    sigma: NotRequired[Tensor]  # [B] noise level in units of the [-1, 1] range
    label: NotRequired[Tensor]  # [B] int64 class
    operator: NotRequired[ForwardOperator]  # how the input came from the image, where that is known


class Batch(Observation):
    """What a task trains on, built by the data module: an observation and what it hides."""

    target: Tensor  # [B, C, H, W] in [-1, 1], the clean image


@dataclass(frozen=True)
class Facts:
    """What the data knows and a network needs; passed in code, never typed into a config."""

    image_channels: int  # of the target
    input_channels: int  # of the degraded input, without the hole
    image_size: int | None  # side of the square images; None where sizes vary
    num_classes: int | None  # None where the source has no labels
    has_hole: bool = False  # whether inputs have one; False where a checkpoint does not say


def path_of(one: object) -> str:
    """The dotted path of an object's class, as configs name it."""
    return f"{type(one).__module__}.{type(one).__qualname__}"


def shape_of(value: object) -> str:
    """`[2, 3, 8, 8]` of a tensor; of anything else what it is."""
    from torch import Tensor

    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__


class InputError(ValueError):
    """A configuration or an input that cannot be used: shown as one line, exit code 2.

    The message names the offending value and the way out. It survives a DataLoader's worker, whose
    traceback PyTorch puts in its place.
    """

    def __init__(self, message: str = "") -> None:
        in_worker = message.startswith("Caught ") and "worker process" in message.partition("\n")[0]
        last = message.rstrip().rpartition("\n")[2]
        super().__init__(last.partition(": ")[2] if in_worker else message)


class RunError(RuntimeError):
    """A run that cannot go on, by no fault of the program: shown as one line, exit code 1."""


class NonFiniteError(RunError):
    """A loss term, a gradient or a weight is not finite; the message names it and the update."""
