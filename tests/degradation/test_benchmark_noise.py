"""The corruptions of the published tables, against their definitions."""

import numpy as np
import pytest
import torch
from scipy import stats

from restore.degradation.contract import Degradation
from restore.degradation.impulse import SaltPepper
from restore.degradation.noise import KAIRNoise, Speckle
from restore.image import from_uint8, to_uint8
from restore.types import InputError

LEVELS = torch.randint(0, 256, (4, 3, 40, 30), generator=torch.Generator().manual_seed(0))
TARGET = from_uint8(LEVELS.to(torch.uint8))
SEEDS = torch.arange(4)


@pytest.mark.parametrize("sigma", [15.0, 25.0, 50.0])
def test_kair_noise_is_that_of_numpy_with_seed_0(sigma: float) -> None:
    degraded = KAIRNoise(sigma)(TARGET, SEEDS)
    for k in range(4):
        image = LEVELS[k].numpy().transpose(1, 2, 0) / 255
        np.random.seed(0)
        noisy = image + np.random.normal(0, sigma / 255, image.shape)
        expected = (noisy * 2 - 1).transpose(2, 0, 1)
        np.testing.assert_allclose(degraded["input"][k].numpy(), expected, rtol=0, atol=3e-7)
    torch.testing.assert_close(degraded["sigma"], torch.full((4,), sigma / 127.5))
    assert degraded["input"].dtype == torch.float32


def test_kair_noise_does_not_depend_on_the_seed_and_is_not_clipped() -> None:
    degraded = KAIRNoise(50.0)(TARGET[:1].expand(4, -1, -1, -1), SEEDS)["input"]
    assert (degraded == degraded[:1]).all() and degraded.abs().max() > 1


def test_kair_noise_leaves_the_global_generator_alone() -> None:
    np.random.seed(7)
    expected = np.random.rand()
    np.random.seed(7)
    KAIRNoise(25.0)(TARGET, SEEDS)
    assert np.random.rand() == expected


def test_salt_and_pepper_share_the_density() -> None:
    gray = torch.zeros(4, 3, 200, 200)
    degraded = SaltPepper(0.1)(gray, SEEDS)["input"]
    assert (degraded == degraded[:, :1]).all()
    shares = [(degraded == value).double().mean().item() for value in (-1.0, 0.0, 1.0)]
    assert shares == pytest.approx([0.05, 0.9, 0.05], abs=3e-3)


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_salt_and_pepper_at_the_ends(density: float) -> None:
    degraded = SaltPepper(density)(TARGET * 0.5, SEEDS)["input"]
    assert ((degraded.abs() == 1).all(), torch.equal(degraded, TARGET * 0.5)) == (
        density == 1,
        density == 0,
    )


def test_speckle_is_proportional_to_the_value_and_in_8_bits() -> None:
    target = torch.tensor([-0.6, -0.2]).view(2, 1, 1, 1).expand(2, 1, 300, 300)
    degraded = Speckle(0.1)(target, SEEDS[:2])["input"]
    assert torch.equal(degraded, from_uint8(to_uint8(degraded)))
    spread = ((degraded + 1) / 2).flatten(1).std(dim=1)
    assert spread.tolist() == pytest.approx([0.02, 0.04], rel=0.02)
    assert Speckle(9.0)(TARGET, SEEDS)["input"].abs().max() == 1


@pytest.mark.parametrize("degradation", [SaltPepper(0.3), Speckle(0.3), KAIRNoise(25.0)])
def test_a_sample_does_not_depend_on_its_batch(degradation: Degradation) -> None:
    together = degradation(TARGET, SEEDS)["input"]
    assert torch.equal(together[2:3], degradation(TARGET[2:3], SEEDS[2:3])["input"])
    assert degradation.input_channels(3) == 3


@pytest.mark.parametrize("degradation", [SaltPepper(0.3), Speckle(0.3)])
def test_seeds_give_different_noise(degradation: Degradation) -> None:
    same = TARGET[:1].expand(2, -1, -1, -1)
    degraded = degradation(same, SEEDS[:2])["input"]
    assert not torch.equal(degraded[0], degraded[1])


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", [SaltPepper, Speckle, KAIRNoise])
def test_levels_are_checked(kind: type, value: float) -> None:
    with pytest.raises(InputError, match="must be"):
        kind(value)


@pytest.mark.parametrize("value", [[0.3, 0.1], [0.1], [0.1, 0.2, 0.3], [[0.1], 0.2]])
@pytest.mark.parametrize("kind", [SaltPepper, Speckle])
def test_ranges_are_checked(kind: type, value: list[float]) -> None:
    with pytest.raises(InputError, match="in order"):
        kind(value)


@pytest.mark.parametrize("kind", [SaltPepper, Speckle])
def test_a_range_of_one_number_is_that_number(kind: type) -> None:
    """What benchmarks have frozen does not move."""
    assert torch.equal(kind([0.1, 0.1])(TARGET, SEEDS)["input"], kind(0.1)(TARGET, SEEDS)["input"])


def test_densities_of_a_range_are_uniform() -> None:
    seeds = torch.arange(3000)
    degraded = SaltPepper([0.1, 0.5])(torch.zeros(3000, 1, 40, 40), seeds)["input"]
    density = degraded.abs().flatten(1).mean(dim=1).numpy()
    assert stats.kstest(density, stats.uniform(0.1, 0.4).cdf).statistic < 0.03
    alone = SaltPepper([0.1, 0.5])(torch.zeros(1, 1, 40, 40), seeds[7:8])["input"]
    assert torch.equal(alone, degraded[7:8])


def test_deviations_of_a_range_are_uniform() -> None:
    seeds = torch.arange(3000)
    target = torch.zeros(3000, 1, 40, 40)
    degraded = Speckle([0.1, 0.3])(target, seeds)["input"]
    std = degraded.flatten(1).std(dim=1).numpy()  # values are 0.5, half a range of 2
    assert stats.kstest(std, stats.uniform(0.1, 0.2).cdf).statistic < 0.04
    assert torch.equal(Speckle([0.1, 0.3])(target[:1], seeds[7:8])["input"], degraded[7:8])
