"""Projection against closed forms, in float64."""

from functools import partial
from pathlib import Path

import pytest
import torch
from gaussian import SIDE, White, seen
from hydra.utils import instantiate
from observing import observed
from omegaconf import OmegaConf
from torch import Tensor

from restore.degradation.blur import Blur
from restore.degradation.gray import Gray
from restore.degradation.noise import Gaussian, Speckle
from restore.degradation.operator import Downsample, Known, LinearOperator, Luminance
from restore.degradation.product import Product
from restore.diffusion.guidance import Replacement
from restore.diffusion.measurement import measurement
from restore.diffusion.null_space import NullSpace
from restore.diffusion.parameterization import Prediction
from restore.diffusion.sampler import ddim, ddpm, dpm_solver_pp_2m
from restore.diffusion.schedule import EDM, Cosine, Rectified, Schedule
from restore.diffusion.walk import initial_noise
from restore.stream import Stream
from restore.types import InputError, Observation

HOLE = torch.zeros(1, 1, SIDE, SIDE)
HOLE[..., 1:3] = 1
OPERATORS: list[LinearOperator] = [
    Known(HOLE),
    Luminance(),
    Downsample(2),
    Downsample(4, "box"),
    Blur(torch.tensor([[1.0, 2.0, 1.0]]) / 4),
    Product([Downsample(2), Luminance()]),
]
operators = pytest.mark.parametrize("operator", OPERATORS, ids=lambda one: type(one).__name__)
T = torch.tensor([0.35, 0.35], dtype=torch.float64)


@operators
@pytest.mark.parametrize("noise", [1e-4, 0.1, 1.0])
def test_confidence_1_is_the_exact_posterior_mean_of_white_data(
    operator: LinearOperator, noise: float
) -> None:
    prior, known = White(0.5), seen(operator, noise)
    x = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    guided = NullSpace(confidence=1.0).guide(prior, known.observation)(x, T).x0
    exact = prior.posterior(operator, known.y, noise, x, T[0])
    torch.testing.assert_close(guided, exact, rtol=1e-4, atol=1e-5)


def test_confidence_multiplies_the_precision_of_x_t() -> None:
    """Of known pixels alone: they move to y by the share of y's precision in the sum of all."""
    prior, known = White(0.5), seen(Known(torch.zeros(1, 1, SIDE, SIDE)), 0.1)
    x = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    guided = NullSpace(confidence=7.0).guide(prior, known.observation)(x, T).x0
    alpha, sigma = (float(level) for level in prior.schedule(T[0]))
    share = 0.1**-2 / (0.1**-2 + 0.5**-2 + 7 * (alpha / sigma) ** 2)
    predicted = prior(x, T).x0
    torch.testing.assert_close(guided, predicted + share * (known.y - predicted))


@operators
def test_what_is_known_without_noise_is_kept_and_the_rest_is_the_priors(
    operator: LinearOperator,
) -> None:
    prior, known = White(0.5), seen(operator, 0.0)
    x = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    guided = NullSpace().guide(prior, known.observation)(x, T).x0
    torch.testing.assert_close(operator.forward(guided), known.y)
    moved = guided - prior(x, T).x0  # nothing of it lies in the null space of A
    within = operator.inverse(operator.forward(moved), SIDE, SIDE)
    torch.testing.assert_close(moved, within, rtol=1e-6, atol=1e-6)


@operators
@pytest.mark.parametrize("method", [partial(ddim), partial(ddpm)], ids=["ddim", "ddpm"])
def test_samples_are_consistent(operator: LinearOperator, method: partial) -> None:  # type: ignore[type-arg]
    prior, known = White(0.5), seen(operator, 0.0)
    stream = Stream(torch.arange(2))
    denoise = NullSpace().guide(prior, known.observation)
    x = initial_noise(prior.schedule, torch.ones(()), (3, SIDE, SIDE), stream).double()
    x = method(denoise, x, prior.schedule, prior.schedule.times(10), stream)
    torch.testing.assert_close(operator.forward(x), known.y)


def test_samples_have_the_posteriors_mean_and_variance() -> None:
    """y says the mean of all pixels, with noise; the rest is white."""
    prior, operator, noise, count = White(0.5), Downsample(4, "box"), 0.1, 4000
    observation = seen(operator, noise, count).observation
    observation["input"] = torch.full_like(observation["input"], 0.2)
    stream = Stream(torch.arange(count))
    denoise = NullSpace(confidence=1.0).guide(prior, observation)
    x = initial_noise(prior.schedule, torch.ones(()), (3, SIDE, SIDE), stream).double()
    x = dpm_solver_pp_2m(denoise, x, prior.schedule, prior.schedule.times(100), stream)
    mean = operator.forward(x)
    prior_variance = 0.25 / 16  # of a mean of 16 pixels
    gain = prior_variance / (prior_variance + noise**2)
    assert mean.mean().item() == pytest.approx(gain * 0.2, abs=4e-3)
    assert mean.var().item() == pytest.approx(gain * noise**2, rel=0.1)
    rest = x - mean.repeat_interleave(SIDE, -1).repeat_interleave(SIDE, -2)
    assert rest.var().item() == pytest.approx(0.25 * 15 / 16, rel=0.05)


def test_of_a_hole_it_is_replacement() -> None:
    image, hole = torch.rand(2, 3, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    x, t, prior = torch.randn(2, 3, 4, 4), torch.rand(2), White(0.5)
    guided = NullSpace().guide(prior, observed(image * (1 - hole), hole))(x, t).x0
    replaced = Replacement().guide(prior, observed(image, hole))(x, t).x0
    assert torch.equal(guided.masked_fill(hole == 1, 0), (image * (1 - hole)))
    torch.testing.assert_close(guided, replaced.to(guided.dtype))


def test_gray_keeps_lightness_and_takes_colour_from_the_prior() -> None:
    target = torch.rand(1, 3, 8, 8) * 0.6 - 0.3
    made = Gray()(target, torch.zeros(1))
    observation = Observation(
        input=made["input"], operator=made["operator"], index=torch.zeros(1), name=[]
    )
    predicted = Prediction(target.flip(-1))
    x0 = NullSpace().guide(lambda x, t: predicted, observation)(target, torch.ones(1)).x0
    lightness = made["operator"].forward(x0)
    assert (lightness - made["input"]).abs().median() < 1e-4
    assert x0.std(dim=1).mean() > 0.05  # not grey


def test_a_named_operator_counts_before_a_hole() -> None:
    """The hole says where a network fills; what was measured, the operator alone knows."""
    known = seen(Luminance(), 0.0)
    observation: Observation = {**known.observation, "hole": torch.ones(2, 1, SIDE, SIDE)}
    assert measurement(observation, "null_space").operator is known.operator


def test_a_sampler_starts_from_the_image_nearest_to_grey() -> None:
    """Of all with this lightness the one nearest to 0 is A+ y: A^T y over the sum of squares."""
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(1, 3, 1, 1)
    known = seen(Luminance(), 0.0)
    image = NullSpace().image(known.observation, 3)
    torch.testing.assert_close(image, known.y * weights / weights.square().sum())


def test_noise_alone_has_the_identity() -> None:
    target = torch.zeros(1, 3, 4, 4)
    noisy = Gaussian(50.0)(target, torch.zeros(1, dtype=torch.int64))
    observation = Observation(
        input=noisy["input"], sigma=noisy["sigma"], index=torch.zeros(1), name=[]
    )
    prior, t = White(0.5), torch.full((1,), 0.5)
    x0 = NullSpace(confidence=1.0).guide(prior, observation)(target, t).x0
    (alpha, sigma), noise = prior.schedule(t.double()), 50 / 127.5
    variance = 0.25 * sigma**2 / (0.25 * alpha**2 + sigma**2)
    expected = variance / (variance + noise**2) * noisy["input"]
    torch.testing.assert_close(x0, expected.to(x0.dtype), rtol=1e-5, atol=1e-6)


class Coins:
    """The exact denoiser of pixels that are 0.5 or -0.5, each as often."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def __call__(self, x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in self.schedule(t.double()))
        return Prediction(0.5 * torch.tanh(0.5 * alpha * x / sigma**2))


@pytest.mark.parametrize("schedule", [Cosine(), EDM(), Rectified()], ids=["cosine", "edm", "flow"])
@pytest.mark.parametrize("t", [1.0, 0.6, 0.05])
def test_of_noise_alone_it_is_the_posterior_mean_of_any_data(schedule: Schedule, t: float) -> None:
    """Bayes' rule for two values: logits of what x_t and y say of a pixel are added."""
    noise = torch.tensor([0.1, 0.8], dtype=torch.float64)
    y, x = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64)
    times = torch.full((2,), t, dtype=torch.float64)
    observation = Observation(input=y, sigma=noise, index=torch.arange(2), name=[])
    guided = NullSpace().guide(Coins(schedule), observation)(x, times).x0
    alpha, sigma = (float(level) for level in schedule(times[0]))
    logit = 0.5 * (alpha * x / sigma**2 + y / noise.view(-1, 1, 1, 1) ** 2)
    torch.testing.assert_close(guided, 0.5 * torch.tanh(logit), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("noise", [1e-5, 1e-3])
def test_noise_of_a_fraction_of_a_level_counts_as_what_it_is(noise: float) -> None:
    prior, known = White(0.5), seen(Blur(torch.ones(1, 1)), noise)
    del known.observation["operator"]
    x = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    guided = NullSpace().guide(prior, known.observation)(x, T).x0
    exact = prior.posterior(known.operator, known.y, noise, x, T[0])
    torch.testing.assert_close(guided, exact, rtol=0, atol=1e-3 * noise)


def test_an_image_without_noise_among_noisy_ones_is_kept() -> None:
    y, x = torch.randn(2, 2, 3, 4, 4)
    sigma = torch.tensor([0.0, 0.3])
    observation = Observation(input=y, sigma=sigma, index=torch.arange(2), name=[])
    x0 = NullSpace().guide(White(0.5), observation)(x, torch.full((2,), 0.5)).x0
    assert torch.equal(x0[0], y[0]) and torch.isfinite(x0).all()
    assert not torch.equal(x0[1], y[1])


def test_what_nobody_can_invert_is_refused() -> None:
    target = torch.zeros(1, 3, 4, 4)
    speckled = Speckle(0.1)(target, torch.zeros(1, dtype=torch.int64))
    observation = Observation(input=speckled["input"], index=torch.zeros(1), name=[])
    with pytest.raises(InputError, match="guidance=null_space must know"):
        NullSpace().check(observation)
    for setting in ({"confidence": 0.0}, {"sigma_data": -1.0}, {"sigma_data": float("inf")}):
        with pytest.raises(InputError, match="must be above 0"):
            NullSpace(**setting)


@pytest.mark.parametrize("name", ["null_space", "dps", "pigdm"])
def test_leaves_are_classes_with_their_defaults(name: str) -> None:
    leaf = Path(__file__).parents[2] / "conf" / "guidance" / f"{name}.yaml"
    made = instantiate(OmegaConf.load(leaf))
    assert made == type(made)()
