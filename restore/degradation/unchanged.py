"""No degradation: for what learns images as they are."""

from torch import Tensor

from restore.degradation.contract import Degraded


class Unchanged:
    """The input is the target."""

    def input_channels(self, image_channels: int) -> int:
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        return Degraded(target=target, input=target)
