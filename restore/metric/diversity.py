"""How much the samples drawn for one degraded image differ from each other."""

import torch
from torch import Tensor

from restore.metric.base import Metric, eight_bit
from restore.types import Batch, InputError


class Diversity(Metric):
    """Mean over all pairs of samples of their root-mean-square difference, in units of [0, 1].

    Takes restored [B, N, C, H, W], N >= 2; 0 where all samples are the same.
    """

    name = "diversity"
    definition = "diversity/rms/uint8/all-pairs/per-image/v1"
    higher_is_better = True
    takes_samples = True

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        num_samples = restored.shape[1]
        if num_samples < 2:
            raise InputError(
                "metric diversity: 1 sample of each image has no pairs, draw 2 or more"
            )
        flat = eight_bit(restored).flatten(start_dim=2)
        rms = [
            (flat[:, i] - flat[:, j]).square().mean(dim=1).sqrt()
            for i in range(num_samples)
            for j in range(i)
        ]
        return torch.stack(rms).mean(dim=0)
