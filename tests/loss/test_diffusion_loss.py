import math

import numpy as np
import pytest
import torch

from restore.loss.diffusion import (
    denoising_loss,
    discretized_nll,
    gaussian_kl,
    min_snr_weight,
    variational_bound,
)
from restore.types import InputError

SNR = torch.tensor([0.0, 1e-6, 0.3, 5.0, 80.0, 1e8, math.inf], dtype=torch.float64)
LEVELS = torch.arange(256, dtype=torch.float64) / 127.5 - 1


def phi(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def test_min_snr_weights_are_the_papers() -> None:
    for value in SNR[1:-1].tolist():
        snr = torch.tensor([value], dtype=torch.float64)
        low = min(value, 5.0)
        assert min_snr_weight(snr, 5.0, "eps").item() == pytest.approx(low / value)
        assert min_snr_weight(snr, 5.0, "x0").item() == pytest.approx(low)
        assert min_snr_weight(snr, 5.0, "v").item() == pytest.approx(low / (value + 1))
        velocity = low / (math.sqrt(value) + 1) ** 2
        assert min_snr_weight(snr, 5.0, "velocity").item() == pytest.approx(velocity)


def test_min_snr_weights_at_both_ends() -> None:
    ends = SNR[[0, -1]]
    assert min_snr_weight(ends, 5.0, "eps").tolist() == [1.0, 0.0]
    assert min_snr_weight(ends, 5.0, "x0").tolist() == [0.0, 5.0]
    assert min_snr_weight(ends, 5.0, "v").tolist() == [0.0, 0.0]
    assert min_snr_weight(ends, 5.0, "velocity").tolist() == [0.0, 0.0]


def test_the_weighted_loss_is_the_same_for_every_parameterization() -> None:
    """One prediction, told as eps, x0 and v: the errors differ, the weighted losses do not."""
    alpha, sigma = torch.tensor(0.6).double(), torch.tensor(0.8).double()
    x0, eps, guess = torch.randn(3, 4, 3, 5, 5, dtype=torch.float64)
    x = alpha * x0 + sigma * eps
    guess_eps = (x - alpha * guess) / sigma
    snr = (alpha / sigma).square().expand(4)
    losses = [
        denoising_loss(guess, x0, snr, "x0", 0.4),
        denoising_loss(guess_eps, eps, snr, "eps", 0.4),
        denoising_loss(alpha * guess_eps - sigma * guess, alpha * eps - sigma * x0, snr, "v", 0.4),
    ]
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[0], losses[2])
    velocity = denoising_loss(guess_eps - guess, eps - x0, snr, "velocity", 0.4)
    torch.testing.assert_close(losses[0], velocity)


def test_min_snr_has_no_weights_for_edm() -> None:
    with pytest.raises(InputError, match="edm has weights of its own"):
        min_snr_weight(SNR, 5.0, "edm")


def test_loss_over_a_region_is_the_mean_over_its_pixels() -> None:
    a, b = torch.randn(2, 2, 3, 2, 2)
    region = torch.tensor([[1.0, 0, 0, 1], [0, 0, 1, 0]]).view(2, 1, 2, 2)
    loss = denoising_loss(a, b, torch.ones(2), "eps", region=region)
    square = ((a - b) ** 2).mean(1)
    expected = [(square[0, 0, 0] + square[0, 1, 1]) / 2, square[1, 1, 0]]
    torch.testing.assert_close(loss, torch.stack(expected))


def test_unweighted_loss_is_the_mean_per_sample() -> None:
    a, b = torch.randn(2, 4, 3, 5, 5)
    expected = ((a - b) ** 2).mean(dim=(1, 2, 3))
    torch.testing.assert_close(denoising_loss(a, b, torch.ones(4), "eps"), expected)


def test_gamma_must_be_positive() -> None:
    with pytest.raises(InputError, match="gamma must be positive, got 0"):
        min_snr_weight(torch.ones(1), 0.0, "eps")


def test_kl_against_quadrature() -> None:
    m1, v1, m2, v2 = 0.3, 0.2, -0.5, 0.7
    x = np.linspace(-8, 8, 200_001)
    p = np.exp(-((x - m1) ** 2) / (2 * v1)) / math.sqrt(2 * math.pi * v1)
    log_ratio = (x - m2) ** 2 / (2 * v2) - (x - m1) ** 2 / (2 * v1) + 0.5 * math.log(v2 / v1)
    expected = np.sum(p * log_ratio) * (x[1] - x[0])
    arguments = [torch.tensor(a) for a in (m1, math.log(v1), m2, math.log(v2))]
    assert gaussian_kl(*arguments).item() == pytest.approx(expected, rel=1e-5)


def test_kl_of_neighbours_is_positive() -> None:
    """exp(d) - 1 - d would round to nonsense in float32."""
    zero, difference = torch.zeros(50), torch.linspace(1e-3, 3e-3, 50)
    kl = gaussian_kl(zero, difference, zero, zero)
    exact = (torch.expm1(difference.double()) - difference.double()) / 2
    torch.testing.assert_close(kl.double(), exact, rtol=1e-3, atol=0)
    assert (gaussian_kl(zero, zero, zero, zero) == 0).all()


@pytest.mark.parametrize("deviation", [0.002, 0.05, 0.7, 5.0])
@pytest.mark.parametrize("mean", [-1.3, 0.123, 1.0])
def test_the_256_likelihoods_sum_to_one(mean: float, deviation: float) -> None:
    log_variance = torch.tensor(2 * math.log(deviation), dtype=torch.float64)
    nll = discretized_nll(LEVELS, torch.tensor(mean, dtype=torch.float64), log_variance)
    assert torch.exp(-nll).sum().item() == pytest.approx(1, abs=1e-12)


def test_nll_against_the_error_function() -> None:
    mean, deviation = 0.1, 0.05
    log_variance = torch.tensor(2 * math.log(deviation), dtype=torch.float64)
    nll = discretized_nll(LEVELS, torch.tensor(mean, dtype=torch.float64), log_variance)
    for k in (0, 90, 140, 141, 170, 255):
        x = LEVELS[k].item()
        high = 1.0 if k == 255 else phi((x - mean + 1 / 255) / deviation)
        low = 0.0 if k == 0 else phi((x - mean - 1 / 255) / deviation)
        if high - low > 1e-8:
            assert nll[k].item() == pytest.approx(-math.log(high - low), rel=1e-5)


def test_nll_and_gradients_are_finite_in_float32_far_from_the_mean() -> None:
    for log_variance in (-14.0, -9.0, 0.0, 9.0):
        v = torch.full((256,), log_variance, requires_grad=True)
        nll = discretized_nll(LEVELS.float(), torch.tensor(-0.98), v)
        nll.sum().backward()
        assert nll.isfinite().all() and (nll >= 0).all()
        assert v.grad is not None and v.grad.isfinite().all()


def bound_arguments() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    shape = (2, 3, 4, 4)
    return {
        "x_0": LEVELS[torch.randint(0, 256, shape)],
        "true_mean": torch.randn(shape, dtype=torch.float64),
        "true_log_variance": torch.full((2, 1, 1, 1), -3.0, dtype=torch.float64),
        "mean": torch.randn(shape, dtype=torch.float64, requires_grad=True),
        "log_variance": torch.full(shape, -2.5, dtype=torch.float64, requires_grad=True),
        "is_last": torch.tensor([False, True]),
    }


def test_bound_is_bits_per_dimension_of_the_right_term() -> None:
    a = bound_arguments()
    bits = variational_bound(**a).detach().numpy()
    m1, m2 = a["true_mean"][0].numpy(), a["mean"][0].detach().numpy()
    kl = 0.5 * (0.5 - 1 + math.exp(-0.5) + (m1 - m2) ** 2 * math.exp(2.5))
    nll = discretized_nll(a["x_0"][1], a["mean"][1], a["log_variance"][1]).detach().numpy()
    np.testing.assert_allclose(bits, [kl.mean() / math.log(2), nll.mean() / math.log(2)])


def test_bound_teaches_the_variance_only() -> None:
    a = bound_arguments()
    variational_bound(**a).sum().backward()
    assert a["mean"].grad is None
    assert a["log_variance"].grad is not None and (a["log_variance"].grad != 0).any()
