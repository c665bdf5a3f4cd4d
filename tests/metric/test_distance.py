import numpy as np
import pytest
import torch

from restore.metric.fid import frechet_distance
from restore.metric.kid import polynomial_mmd


def test_frechet_distance_of_commuting_gaussians_is_the_closed_form() -> None:
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    x, y = torch.rand(2, 6, dtype=torch.float64)
    mean_x, mean_y = torch.randn(2, 6, dtype=torch.float64)
    expected = (mean_x - mean_y).square().sum() + (x.sqrt() - y.sqrt()).square().sum()
    value = frechet_distance(mean_x, basis * x @ basis.T, mean_y, basis * y @ basis.T)
    assert value == pytest.approx(expected.item(), abs=1e-9)


def test_frechet_distance_of_plane_gaussians_is_the_closed_form() -> None:
    torch.manual_seed(1)
    x, y = (a @ a.T for a in torch.randn(2, 2, 2, dtype=torch.float64))
    # in 2 dimensions tr (XY)^(1/2) = (tr XY + 2 (det X det Y)^(1/2))^(1/2)
    cross = ((x @ y).trace() + 2 * (x.det() * y.det()).sqrt()).sqrt()
    expected = (x.trace() + y.trace() - 2 * cross).item()
    zero = torch.zeros(2, dtype=torch.float64)
    assert frechet_distance(zero, x, zero, y) == pytest.approx(expected, abs=1e-9)


def test_mmd_against_a_double_loop() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(6, 3)), generator.normal(0.5, 1, size=(5, 3))

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / 3 + 1) ** 3

    within_x = [kernel(x[i], x[j]) for i in range(6) for j in range(6) if i != j]
    within_y = [kernel(y[i], y[j]) for i in range(5) for j in range(5) if i != j]
    cross = [kernel(a, b) for a in x for b in y]
    expected = np.mean(within_x) + np.mean(within_y) - 2 * np.mean(cross)
    value = polynomial_mmd(
        torch.from_numpy(x), torch.from_numpy(y), torch.arange(6), torch.arange(10, 15)
    )
    assert value == pytest.approx(expected)
