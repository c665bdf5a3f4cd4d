"""The walk of a blind denoiser against what the paper derives for it."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from restore.diffusion.implicit import ImplicitPrior
from restore.stream import Stream
from restore.types import InputError

Map = Callable[[Tensor], Tensor]


def stream(*seeds: int) -> Stream:
    return Stream(torch.tensor(seeds))


def to(value: float) -> Map:
    """The best denoiser of a single image."""
    return lambda y: torch.full_like(y, value)


def test_levels_fall_by_the_share_that_the_paper_gives() -> None:
    """Of a single image, step k leaves 1 - beta h_k of the noise's level: section 2.3."""
    prior = ImplicitPrior(step=0.05, beta=0.3, sigma_first=1.0, sigma_last=0.02)
    x, calls = prior(to(0.7), lambda x: x, torch.zeros(1, 3, 64, 64), stream(0))
    level, number = math.hypot(1.0, 0.2), 1  # it begins at 0.5, and the noise is around that
    while True:
        seen, share = level, prior.step * number / (1 + prior.step * (number - 1))
        level *= 1 - prior.beta * share
        number += 1
        if seen <= prior.sigma_last:
            break
    assert abs(int(calls[0]) - number) <= 1
    torch.testing.assert_close(x, torch.full_like(x, 0.7))


def test_without_noise_it_is_a_descent() -> None:
    assert ImplicitPrior(beta=1.0).shares(7)[1] == pytest.approx(0.0, abs=1e-8)
    share, added = ImplicitPrior(step=1.0, beta=0.5).shares(1)
    assert share == 1 and added == 0.5  # a whole step, and half of the level is put back


def test_it_begins_in_the_middle_of_the_range() -> None:
    """Algorithm 2: around 0.5 where nothing is measured, with noise of sigma_0."""
    seen: list[Tensor] = []

    def denoise(y: Tensor) -> Tensor:
        seen.append(y)
        return y

    hole = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    prior = ImplicitPrior(sigma_first=0.25, sigma_last=0.1)
    prior(denoise, lambda x: torch.where(hole > 0, x, 0.75), hole, stream(3))
    noise = 0.25 * stream(3).normal(1, 1, 2)
    torch.testing.assert_close(seen[0], torch.tensor([0.5, 0.75]).view(1, 1, 1, 2) + noise)


def test_what_was_measured_stays() -> None:
    image = torch.linspace(0, 1, 2 * 48).view(2, 3, 4, 4)
    hole = torch.zeros(2, 1, 4, 4)
    hole[..., 2:] = 1
    prior = ImplicitPrior(step=0.2, beta=0.2)
    x, _ = prior(to(0.4), lambda x: torch.where(hole > 0, x, image), image, stream(1, 2))
    assert torch.equal(x[..., :2], image[..., :2])
    torch.testing.assert_close(x[..., 2:], torch.full_like(x[..., 2:], 0.4))


def test_a_gaussian_prior_is_sampled() -> None:
    """x ~ N(0.3, 0.2^2) for every pixel alike, by its posterior mean at the level that is seen."""

    def denoise(y: Tensor) -> Tensor:
        seen = (y - 0.3).square().mean(dim=(1, 2, 3), keepdim=True)
        return 0.3 + (y - 0.3) * 0.04 / seen.clamp(min=0.04)

    prior = ImplicitPrior(step=0.02, beta=0.05, sigma_last=0.01)
    x, calls = prior(denoise, lambda x: x, torch.zeros(4, 1, 48, 48), stream(0, 1, 2, 3))
    assert (calls < prior.max_calls).all()
    assert x.mean().item() == pytest.approx(0.3, abs=0.02)
    assert x.std().item() == pytest.approx(0.2, abs=0.01)


def test_an_image_does_not_depend_on_the_others_of_its_batch() -> None:
    """The first of the two arrives later, and the second waits for it."""

    def denoise(y: Tensor) -> Tensor:
        return y * torch.tensor([0.0, 0.6])[-len(y) :].view(-1, 1, 1, 1)

    prior = ImplicitPrior(step=0.3, beta=0.3, sigma_last=0.05)
    both, calls = prior(denoise, lambda x: x, torch.zeros(2, 1, 8, 8), stream(5, 6))
    alone, own = prior(denoise, lambda x: x, torch.zeros(1, 1, 8, 8), stream(6))
    assert calls[0] > calls[1] == own[0]
    assert torch.equal(both[1:], alone)
    first = prior(lambda y: y * 0, lambda x: x, torch.zeros(1, 1, 8, 8), stream(5))
    assert torch.equal(both[:1], first[0]) and first[1][0] == calls[0]


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_calls_are_capped_and_counted(limit: int) -> None:
    made: list[int] = []

    def denoise(y: Tensor) -> Tensor:
        made.append(len(y))
        return y * 0.5

    prior = ImplicitPrior(step=0.01, beta=0.01, max_calls=limit)
    _, calls = prior(denoise, lambda x: x, torch.zeros(2, 1, 4, 4), stream(0, 1))
    assert len(made) == limit and calls.tolist() == [limit, limit]


@pytest.mark.parametrize(
    "bad", [{"step": 0.0}, {"beta": 1.5}, {"sigma_last": 2.0}, {"sigma_last": 0.0},
            {"max_calls": 0}],
)  # fmt: skip
def test_bad_settings(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(bad))}"):
        ImplicitPrior(**bad)
