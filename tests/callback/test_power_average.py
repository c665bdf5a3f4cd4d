from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from restore.callback.power_average import combination, decay, exponent, length


def kept(theta: Tensor, power: float) -> Tensor:
    """The average of theta [T, D] kept from the start, after every update, [T, D]."""
    average, path = torch.zeros_like(theta[0]), []
    for t, now in enumerate(theta, start=1):
        average = torch.lerp(average, now, 1 - decay(power, t))
        path.append(average)
    return torch.stack(path)


def walk(updates: int) -> Tensor:
    """Weights [updates, D] that move far at first and then jitter around where they end."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(updates, 50, generator=generator, dtype=torch.float64)
    time = torch.arange(1, updates + 1, dtype=torch.float64)[:, None]
    return noise[0] * (1 - torch.exp(-3 * time / updates)) + 0.5 * noise


@pytest.mark.parametrize("power", [0.0, 1.0, 6.94])
def test_length_is_the_standard_deviation_of_the_profile(power: float) -> None:
    time = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    weight = time**power / (time**power).sum()
    mean = (weight * time).sum()
    std = (weight * (time - mean) ** 2).sum().sqrt().item()
    assert length(power) == pytest.approx(std, rel=1e-4)


@pytest.mark.parametrize("std", [0.01, 0.05, 0.1, 0.25])
def test_exponent_is_the_inverse_of_length(std: float) -> None:
    assert length(exponent(std)) == pytest.approx(std, rel=1e-9)


def test_exponents_of_the_paper() -> None:
    assert exponent(0.05) == pytest.approx(16.97, abs=0.01)
    assert exponent(0.10) == pytest.approx(6.94, abs=0.01)


@pytest.mark.parametrize("std", [0.0, 0.3])
def test_no_such_length(std: float) -> None:
    with pytest.raises(ValueError, match="at most"):
        exponent(std)


def test_decay_weighs_by_the_power_of_time() -> None:
    updates, power = 30, 2.5
    weight = kept(torch.eye(updates, dtype=torch.float64), power)[-1]
    time = torch.arange(updates + 1, dtype=torch.float64)
    torch.testing.assert_close(weight, (time ** (power + 1)).diff() / updates ** (power + 1))


def test_a_snapshot_rebuilds_itself() -> None:
    snapshots = [(power, t) for power in (6.94, 16.97) for t in (40, 70, 100)]
    for place, snapshot in enumerate(snapshots):
        found = combination(snapshots, snapshot)
        torch.testing.assert_close(found, torch.eye(6).double()[place], atol=1e-6, rtol=0)


@pytest.mark.parametrize("std", [0.01, 0.02, 0.15, 0.2, 0.28])
@pytest.mark.parametrize("times", [(300, 600), (200, 400, 600), range(200, 20001, 200)])
def test_weights_that_never_change_are_their_own_average(times: Sequence[int], std: float) -> None:
    """The few snapshots of a short training span no profile exactly, and no parameter shrinks."""
    snapshots = [(exponent(own), t) for own in (0.05, 0.1) for t in times]
    assert combination(snapshots, (exponent(std), times[-1])).sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("std", [0.04, 0.07, 0.12, 0.2])
def test_few_snapshots_come_near_a_length_between_them_and_beyond(std: float) -> None:
    """Of 600 updates, by the profiles themselves."""
    time = torch.arange(601, dtype=torch.float64)
    snapshots = [(exponent(own), t) for own in (0.05, 0.1) for t in (200, 400, 600)]
    profiles = torch.stack([((time.clamp(max=t) / t) ** (g + 1)).diff() for g, t in snapshots])
    wanted = ((time / 600) ** (exponent(std) + 1)).diff()
    made = combination(snapshots, (exponent(std), 600)) @ profiles
    assert (made - wanted).norm() < 0.4 * (profiles - wanted).norm(dim=1).min()


@pytest.mark.parametrize("std", [0.02, 0.2])
def test_rounding_of_many_snapshots_is_not_blown_up(std: float) -> None:
    times = range(200, 20001, 200)
    snapshots = [(exponent(own), t) for own in (0.05, 0.1) for t in times]
    assert combination(snapshots, (exponent(std), 20000)).norm() < 10


@pytest.mark.parametrize("std", [0.04, 0.07, 0.12, 0.2])
def test_a_rebuilt_average_is_the_one_kept_from_the_start(std: float) -> None:
    updates, every = 1000, 50
    theta, own = walk(updates), (exponent(0.05), exponent(0.10))
    snapshots = [(power, t) for power in own for t in range(every, updates + 1, every)]
    averages = torch.cat([kept(theta, power)[every - 1 :: every] for power in own])
    weights = combination(snapshots, (exponent(std), updates))
    direct = kept(theta, exponent(std))[-1]
    rebuilt = (weights[:, None] * averages).sum(0)
    nearest = (averages - direct).norm(dim=1).min()
    assert weights.sum() == pytest.approx(1, abs=1e-9)
    assert (rebuilt - direct).norm() < 0.2 * nearest
