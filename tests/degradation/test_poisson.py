import numpy as np
import pytest
import torch
from scipy import stats

from restore.degradation.poisson import Poisson, quantile
from restore.stream import Stream
from restore.types import InputError

SEEDS = torch.arange(48)


def constant(value: float, size: int = 40) -> torch.Tensor:
    """[48, 1, size, size] images of one value in [0, 1]."""
    return torch.full((48, 1, size, size), 2 * value - 1)


@pytest.mark.parametrize("rate", [1e-7, 0.01, 0.5, 3.0, 3.99, 4.0, 5.5, 9.3, 29.7, 400.0, 1e4, 1e6])
def test_quantile_against_scipy(rate: float) -> None:
    """Over the whole range of float32 normal numbers, so that the expansion's bound is tried."""
    inner = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    level = np.concatenate([[-5.8, -5.0, -4.0], inner, [4.0, 5.0, 5.8]]).astype(np.float32)
    got = quantile(torch.full((len(level),), rate), torch.from_numpy(level)).double().numpy()
    rate, level = float(np.float32(rate)), level.astype(np.float64)
    # A level within 1e-6 of a step of the distribution function may fall to either side of it.
    low, high = (stats.norm.cdf(level + slip) for slip in (-1e-6, 1e-6))
    assert (stats.poisson.ppf(low, rate) <= got).all()
    assert (got <= stats.poisson.ppf(high, rate)).all()


@pytest.mark.parametrize("rate", [0.2, 2.0, 3.9, 4.1, 7.0, 12.0, 50.0])
def test_chi_square_against_scipy(rate: float) -> None:
    target = torch.full((64, 1, 64, 64), 1.0)
    counts = ((Poisson(rate)(target, torch.arange(64))["input"] + 1) / 2 * rate).round()
    seen = torch.bincount(counts.flatten().long(), minlength=200).double().numpy()
    expected = stats.poisson.pmf(np.arange(len(seen)), rate) * seen.sum()
    rare = expected < 20
    pooled = [np.append(v[~rare], v[rare].sum()) for v in (seen, expected)]
    pooled[1] *= pooled[0].sum() / pooled[1].sum()
    assert stats.chisquare(*pooled).pvalue > 1e-3


@pytest.mark.parametrize("peak", [1.0, 20.0, 1000.0])
@pytest.mark.parametrize("value", [0.02, 0.5, 1.0])
def test_mean_and_variance(value: float, peak: float) -> None:
    noisy = ((Poisson(peak)(constant(value), SEEDS)["input"] + 1) / 2).double()
    variance = value / peak
    # Poisson's fourth central moment is 3 m^2 + m, which gives the error of the measured variance.
    spread = ((2 * variance**2 + variance / peak**2) / noisy.numel()) ** 0.5
    assert abs(noisy.mean() - value) < 5 * (variance / noisy.numel()) ** 0.5
    assert abs(noisy.var() - variance) < 5 * spread


@pytest.mark.parametrize("rate", [0.3, 4.0, 60.0])
def test_distribution(rate: float) -> None:
    counts = ((Poisson(rate)(constant(1.0), SEEDS)["input"] + 1) / 2 * rate).round().flatten()
    share = torch.bincount(counts.long(), minlength=200).double() / len(counts)
    expected = torch.from_numpy(stats.poisson.pmf(np.arange(len(share)), rate))
    assert (share - expected).abs().sum() < 0.04  # twice the total variation


def test_values_are_whole_numbers_of_photons_and_not_clipped() -> None:
    noisy = (Poisson(7.0)(constant(0.9), SEEDS)["input"] + 1) / 2 * 7
    torch.testing.assert_close(noisy, noisy.round(), atol=1e-4, rtol=0)
    assert noisy.min() >= 0 and noisy.max() > 7


def test_black_stays_black_and_no_sigma_is_stated() -> None:
    degraded = Poisson(30.0)(constant(0.0), SEEDS)
    assert (degraded["input"] == -1).all() and set(degraded) == {"target", "input"}


def test_a_range_of_peaks_is_log_uniform() -> None:
    seeds = torch.arange(3000)
    noisy = (Poisson([1.0, 10_000.0])(torch.zeros(3000, 1, 12, 12), seeds)["input"] + 1) / 2
    exponent = (0.5 / noisy.double().flatten(1).var(dim=1).clamp(min=1e-9)).log10()
    assert abs(exponent.mean() - 2) < 0.1 and abs(exponent.std() - 4 / 12**0.5) < 0.1
    assert exponent.min() > -0.6 and exponent.max() < 4.6


def test_a_sample_does_not_depend_on_its_batch() -> None:
    target = torch.linspace(-1, 1, 3 * 20 * 20).view(1, 3, 20, 20).repeat(48, 1, 1, 1)
    together = Poisson([5.0, 500.0])(target, SEEDS)["input"]
    alone = torch.cat([Poisson([5.0, 500.0])(target[:1], seed[None])["input"] for seed in SEEDS])
    assert torch.equal(together, alone)
    assert len(together.flatten(1).unique(dim=0)) == 48


@pytest.mark.parametrize("peak", [0.0, -1.0, 2e6, [5.0], [9.0, 3.0], float("nan"), [0.0, 1.0]])
def test_peaks_are_checked(peak: float | list[float]) -> None:
    with pytest.raises(InputError, match="peak"):
        Poisson(peak)


def test_input_channels() -> None:
    assert Poisson(1.0).input_channels(3) == 3


@pytest.mark.parametrize("drawn", [-5.8, 5.8])
def test_the_outermost_draws_give_photons(drawn: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def normal(stream: Stream, *shape: int) -> torch.Tensor:
        return torch.full((len(stream), *shape), drawn)

    monkeypatch.setattr(Stream, "normal", normal)
    photons = (Poisson(100.0)(constant(0.5, size=2), SEEDS)["input"] + 1) * 50
    # 50 -+ 6 standard deviations, with the skew of the distribution
    assert (photons < 18).all() if drawn < 0 else ((photons > 95) & (photons < 110)).all()


def test_light_that_is_less_than_none_gives_no_photons() -> None:
    """A noise before it, as in a chain, leaves values below black."""
    below = torch.full((48, 1, 4, 4), -1.5)
    assert torch.equal(Poisson(20.0)(below, SEEDS)["input"], torch.full_like(below, -1.0))
