"""Kernel distance between feature distributions (Binkowski et al. 2018), section 4."""

import numpy as np
import torch
from torch import Tensor, nn

from restore.metric.distribution import DistributionMetric, Statistics
from restore.types import InputError


class Features:
    """All features in float64 with the indices of their images, in one buffer that doubles.

    16 KB an image with Inception's 2048. A tensor for every batch would pin the heap around it,
    forty times the memory.
    """

    def __init__(self, num_features: int) -> None:
        self.count = 0
        self._features = torch.zeros(0, num_features, dtype=torch.float64)
        self._index = torch.zeros(0, dtype=torch.int64)

    def add(self, features: Tensor, index: Tensor) -> None:
        stop = self.count + len(features)
        if stop > len(self._index):
            self._features, self._index = (
                torch.cat([kept, kept.new_zeros(max(stop, 64), *kept.shape[1:])])
                for kept in (self._features, self._index)
            )
        self._features[self.count : stop] = features
        self._index[self.count : stop] = index
        self.count = stop

    def merge(self, state: dict[str, Tensor]) -> None:
        self.add(state["features"], state["index"])

    def state(self) -> dict[str, Tensor]:
        return {"features": self._features[: self.count], "index": self._index[: self.count]}

    def sorted(self) -> tuple[Tensor, Tensor]:
        """Features [n, D] and indices [n] by index, so that subsets do not depend on batches."""
        index, order = self._index[: self.count].sort(stable=True)
        return self._features[order], index


def polynomial_mmd(x: Tensor, y: Tensor, index_x: Tensor, index_y: Tensor) -> float:
    """Unbiased squared MMD of x [m, D] and y [n, D] (Gretton et al. 2012, eq. 4).

    The kernel is (x.y / D + 1)^3. Means are over pairs of different images alone, by the indices
    [m] and [n]: an image and its restoration are no two independent draws, nor are two samples of
    one image. InputError where there are no such pairs.
    """

    def mean(a: Tensor, b: Tensor, index_a: Tensor, index_b: Tensor) -> Tensor:
        values = (a @ b.T / a.shape[1] + 1) ** 3
        different = index_a[:, None] != index_b
        if not different.any():
            raise InputError("kid needs 2 images of different index or more in each set")
        return torch.where(different, values, 0.0).sum() / different.sum()

    within = mean(x, x, index_x, index_x) + mean(y, y, index_y, index_y)
    return (within - 2 * mean(x, y, index_x, index_y)).item()


class KID(DistributionMetric):
    """Mean over `num_subsets` draws of `subset_size` images, the same of both sets.

    A draw is without replacement; sets no larger than a subset are taken whole, once. In
    (-infinity, infinity), around 0 for equal distributions and exactly 0 for equal images. Not
    multiplied by 1000. extractor: as for FID. Version 1 left the pairs of an image and its own
    restoration in, and drew each set by itself, which is biased by -0.06 at 368 images.
    """

    def __init__(
        self,
        extractor: str | nn.Module = "inception",
        subset_size: int = 1000,
        num_subsets: int = 100,
        seed: int = 0,
    ) -> None:
        if subset_size < 2 or num_subsets < 1:
            raise InputError(
                f"subset_size={subset_size}, num_subsets={num_subsets}: use 2 or more images and "
                "1 or more subsets"
            )
        self.subset_size = subset_size
        self.num_subsets = num_subsets
        self.seed = seed
        super().__init__("kid", extractor)

    @property
    def definition(self) -> str:
        subsets = f"subsets{self.num_subsets}x{self.subset_size}-seed{self.seed}"
        return f"kid/{self.features}/uint8/cubic/{subsets}/v2"

    def _empty(self) -> Features:
        assert isinstance(self.extractor.num_features, int)
        return Features(self.extractor.num_features)

    def _distance(self, restored: Statistics, target: Statistics) -> float:
        assert isinstance(restored, Features) and isinstance(target, Features)
        x, y = restored.sorted(), target.sorted()
        indices = torch.unique(torch.cat([x[1], y[1]]))
        if len(indices) <= self.subset_size:
            return polynomial_mmd(x[0], y[0], x[1], y[1])
        generator = np.random.default_rng(self.seed)
        values = []
        for _ in range(self.num_subsets):
            order = indices[torch.from_numpy(generator.permutation(len(indices)))]
            a, b = (self._draw(*one, order) for one in (x, y))
            values.append(polynomial_mmd(a[0], b[0], a[1], b[1]))
        return float(np.mean(values))

    def _draw(self, features: Tensor, index: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        """Features and indices of the first `subset_size` images of `order` that the set has."""
        drawn = order[torch.isin(order, index)][: self.subset_size]
        chosen = torch.isin(index, drawn)
        return features[chosen], index[chosen]
