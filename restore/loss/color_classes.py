"""Cross-entropy of colours as classes: vivid where an L1 goes to the median, which is grey."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.network.color_bins import ColorBins
from restore.types import InputError


class ColorClasses:
    """Class-rebalanced cross-entropy of the first stage, logits [B, Q, h, w] (Zhang et al. 2016).

    uniform: share of the uniform distribution in what rare colours are weighted by, 1/2 in the
    paper; 1 leaves the rebalancing out. Compared at the size of the logits, with ab's mean there.
    """

    def __init__(self, weight: float = 1.0, uniform: float = 0.5) -> None:
        if weight <= 0:
            raise InputError(f"task.loss.classes.weight={weight} must be positive")
        if not 0 < uniform <= 1:
            raise InputError(f"task.loss.classes.uniform={uniform} must be above 0 and at most 1")
        self.weight, self.uniform = weight, uniform
        self.bins: ColorBins | None = None

    def use(self, bins: ColorBins) -> None:
        """The bins that the network speaks of."""
        self.bins = bins

    def __call__(
        self, stages: Sequence[Tensor], target: Tensor, hole: Tensor | None
    ) -> dict[str, Tensor]:
        assert self.bins is not None
        logits = stages[0].float()
        height, width = logits.shape[-2:]
        small = F.adaptive_avg_pool2d(target.float(), (height, width))
        index, share = self.bins.encode(small)
        spoken = torch.log_softmax(logits, dim=1).permute(0, 2, 3, 1).gather(3, index)
        main = index.gather(3, share.argmax(-1, keepdim=True)).squeeze(-1)
        rarity = self.bins.rebalancing(self.uniform)[main]
        entropy = -(share * spoken).sum(-1)
        return {"classes": self.weight * (rarity * entropy).flatten(1).mean(1)}
