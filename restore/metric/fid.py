"""Frechet distance between feature distributions taken as Gaussians (Heusel et al. 2017, eq. 6)."""

import torch
from torch import Tensor, nn

from restore.metric.distribution import DistributionMetric, Statistics


class Moments:
    """Count, sum [D] and sum of outer products [D, D] in float64, whatever the number of images."""

    def __init__(self, num_features: int) -> None:
        self.count = 0
        self.total = torch.zeros(num_features, dtype=torch.float64)
        self.outer = torch.zeros(num_features, num_features, dtype=torch.float64)

    def add(self, features: Tensor, index: Tensor) -> None:
        self.count += len(features)
        self.total += features.sum(dim=0)
        self.outer += features.T @ features

    def merge(self, state: dict[str, Tensor]) -> None:
        self.count += int(state["count"])
        self.total += state["total"]
        self.outer += state["outer"]

    def state(self) -> dict[str, Tensor]:
        return {"count": torch.tensor(self.count), "total": self.total, "outer": self.outer}

    @property
    def mean(self) -> Tensor:
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """Unbiased, [D, D]."""
        return (self.outer - self.count * torch.outer(self.mean, self.mean)) / (self.count - 1)


def frechet_distance(
    mean_x: Tensor, covariance_x: Tensor, mean_y: Tensor, covariance_y: Tensor
) -> float:
    """Squared, between Gaussians with means [D] and covariances [D, D], float64.

    tr (S_x S_y)^(1/2) is the sum of the roots of the eigenvalues of S_x^(1/2) S_y S_x^(1/2), which
    is symmetric and positive semi-definite: no complex roots, even from less than D images.
    """
    root = _root(covariance_x)
    product = torch.linalg.eigvalsh(root @ covariance_y @ root)
    cross = product.clamp(min=0).sqrt().sum()
    distance = (mean_x - mean_y).square().sum() + covariance_x.trace() + covariance_y.trace()
    return max(0.0, float(distance - 2 * cross))


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a symmetric positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


class FID(DistributionMetric):
    """Lies in [0, infinity), 0 for equal sets. Small sets raise it: compare equal n alone.

    extractor: "inception", the name of a shipped classifier, or a module with num_features.
    """

    def __init__(self, extractor: str | nn.Module = "inception") -> None:
        super().__init__("fid", extractor)

    @property
    def definition(self) -> str:
        return f"fid/{self.features}/uint8/v1"

    def _empty(self) -> Moments:
        assert isinstance(self.extractor.num_features, int)
        return Moments(self.extractor.num_features)

    def _distance(self, restored: Statistics, target: Statistics) -> float:
        assert isinstance(restored, Moments) and isinstance(target, Moments)
        return frechet_distance(restored.mean, restored.covariance, target.mean, target.covariance)
