import pytest
import torch

from restore.degradation.noise import Gaussian
from restore.types import InputError

SEEDS = torch.arange(64)
TARGET = torch.linspace(-1, 1, 3 * 40 * 40).view(1, 3, 40, 40).repeat(64, 1, 1, 1)


@pytest.mark.parametrize("sigma", [15.0, 25.0, 50.0])
def test_standard_deviation_in_grey_levels(sigma: float) -> None:
    degraded = Gaussian(sigma)(TARGET, SEEDS)
    noise = (degraded["input"] - TARGET).double() * 127.5
    assert abs(noise.mean()) < 0.005 * sigma and abs(noise.std() - sigma) < 0.005 * sigma
    torch.testing.assert_close(degraded["sigma"], torch.full((64,), sigma / 127.5))
    psnr = -10 * torch.log10(((degraded["input"] - TARGET) / 2).double().square().mean())
    assert abs(psnr - (20 * torch.log10(torch.tensor(255 / sigma)))) < 0.03


def test_noise_is_neither_clipped_nor_quantised() -> None:
    degraded = Gaussian(50.0)(TARGET, SEEDS)["input"]
    assert degraded.min() < -1.5 and degraded.max() > 1.5
    levels = (degraded + 1) * 127.5
    assert (levels - levels.round()).abs().mean() > 0.2


def test_a_range_of_levels() -> None:
    seeds = torch.arange(4000)
    degraded = Gaussian([10.0, 30.0])(torch.zeros(4000, 1, 12, 12), seeds)
    sigma = degraded["sigma"] * 127.5
    assert sigma.min() >= 10 and sigma.max() <= 30 and abs(sigma.mean() - 20) < 0.5
    measured = degraded["input"].flatten(1).std(dim=1) * 127.5
    assert torch.corrcoef(torch.stack([sigma, measured]))[0, 1] > 0.9
    assert abs((measured / sigma).mean() - 1) < 0.01


def test_levels_share_one_noise() -> None:
    low, high = (Gaussian(sigma)(TARGET, SEEDS)["input"] - TARGET for sigma in (5.0, 50.0))
    torch.testing.assert_close(10 * low, high, atol=1e-5, rtol=1e-4)


def test_no_noise() -> None:
    degraded = Gaussian(0.0)(TARGET, SEEDS)
    assert torch.equal(degraded["input"], TARGET) and (degraded["sigma"] == 0).all()


def test_a_sample_does_not_depend_on_its_batch() -> None:
    together = Gaussian([5.0, 50.0])(TARGET, SEEDS)
    alone = Gaussian([5.0, 50.0])(TARGET[7:8], SEEDS[7:8])
    assert torch.equal(together["input"][7:8], alone["input"])
    assert torch.equal(together["sigma"][7:8], alone["sigma"])
    assert not torch.equal(together["input"][7], together["input"][8])


@pytest.mark.parametrize(
    "sigma", [-1.0, [30.0, 10.0], [1.0], [1.0, 2.0, 3.0], float("nan"), float("inf"), [-5.0, 5.0]]
)
def test_levels_are_checked(sigma: float | list[float]) -> None:
    with pytest.raises(InputError, match="sigma"):
        Gaussian(sigma)


def test_input_channels() -> None:
    assert Gaussian(25.0).input_channels(3) == 3


def test_blind_noise_is_the_same_noise_without_its_level() -> None:
    blind = Gaussian([5.0, 50.0], blind=True)(TARGET, SEEDS)
    assert set(blind) == {"target", "input"}
    assert torch.equal(blind["input"], Gaussian([5.0, 50.0])(TARGET, SEEDS)["input"])
