"""Kernel distance between feature distributions (Binkowski et al. 2018), section 4."""

import numpy as np
import torch
from torch import Tensor, nn

from restore.metric.distribution import DistributionMetric, Statistics
from restore.types import InputError


class Features:
    """All features in float64: 16 KB an image with Inception's 2048."""

    def __init__(self, num_features: int) -> None:
        self.parts = [torch.zeros(0, num_features, dtype=torch.float64)]

    @property
    def count(self) -> int:
        return sum(map(len, self.parts))

    def add(self, features: Tensor) -> None:
        self.parts.append(features)

    def merge(self, state: dict[str, Tensor]) -> None:
        self.parts.append(state["features"])

    def state(self) -> dict[str, Tensor]:
        return {"features": torch.cat(self.parts)}

    def sorted(self) -> Tensor:
        """[n, D] in an order of their own, so that seeded subsets do not depend on batches."""
        features = torch.cat(self.parts)
        return features[torch.from_numpy(np.lexsort(features.numpy().T[::-1]))]


def polynomial_mmd(x: Tensor, y: Tensor) -> float:
    """Unbiased squared MMD of x [m, D] and y [n, D] (Gretton et al. 2012, eq. 3).

    The kernel is (x.y / D + 1)^3.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        values = kernel(a, a)
        return (values.sum() - values.trace()) / (len(a) * (len(a) - 1))

    return (within(x) + within(y) - 2 * kernel(x, y).mean()).item()


class KID(DistributionMetric):
    """Mean over `num_subsets` draws of `subset_size` images of each set, without replacement.

    Sets no larger than a subset are taken whole, once. Not multiplied by 1000. May be negative.
    extractor: as for FID.
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
        return f"kid/{self.features}/uint8/cubic/{subsets}/v1"

    def _empty(self) -> Features:
        assert isinstance(self.extractor.num_features, int)
        return Features(self.extractor.num_features)

    def _distance(self, restored: Statistics, target: Statistics) -> float:
        assert isinstance(restored, Features) and isinstance(target, Features)
        x, y = restored.sorted(), target.sorted()
        if max(len(x), len(y)) <= self.subset_size:
            return polynomial_mmd(x, y)
        generator = np.random.default_rng(self.seed)

        def draw(features: Tensor) -> Tensor:
            size = min(self.subset_size, len(features))
            return features[torch.from_numpy(generator.permutation(len(features))[:size])]

        return float(np.mean([polynomial_mmd(draw(x), draw(y)) for _ in range(self.num_subsets)]))
