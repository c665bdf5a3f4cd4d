"""A metric of edges."""

from torch import Tensor

from mylab.loss import edge_distance
from restore.metric.base import Metric, eight_bit
from restore.types import Batch


class EdgeError(Metric):
    """Mean absolute error of forward differences, on 8-bit values in units of [0, 1]."""

    name = "edge_error"
    definition = "mylab/edge_error/uint8/per-image/v1"
    higher_is_better = False

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        return edge_distance(eight_bit(restored), eight_bit(target))
