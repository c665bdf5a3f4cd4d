"""Gradients against closed forms, in float64."""

from itertools import pairwise

import pytest
import torch
from gaussian import SIDE, White, seen
from observing import observed

from restore.degradation.blur import Blur
from restore.degradation.gray import Lightness
from restore.degradation.operator import Downsample, LinearOperator, Luminance
from restore.diffusion.likelihood import DPS, PiGDM
from restore.diffusion.null_space import NullSpace
from restore.diffusion.parameterization import Prediction
from restore.diffusion.sampler import ddim
from restore.diffusion.schedule import Cosine, Rectified
from restore.stream import Stream
from restore.types import InputError, Observation

OPERATORS = [Luminance(), Downsample(2), Blur(torch.tensor([[1.0, 2.0, 1.0]]) / 4)]
operators = pytest.mark.parametrize("operator", OPERATORS, ids=lambda one: type(one).__name__)
T = torch.tensor([0.35, 0.35], dtype=torch.float64)


def noise() -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)


@operators
@pytest.mark.parametrize("level", [0.01, 0.5])
def test_pigdm_is_the_exact_posterior_mean_of_white_data(
    operator: LinearOperator, level: float
) -> None:
    prior, known, x = White(0.5), seen(operator, level), noise()
    guided = PiGDM().guide(prior, known.observation)(x, T).x0
    exact = prior.posterior(operator, known.y, level, x, T[0])
    torch.testing.assert_close(guided, exact, rtol=1e-4, atol=1e-5)


@operators
def test_pigdm_without_noise_fits_exactly(operator: LinearOperator) -> None:
    prior, known = White(0.5), seen(operator, 0.0)
    guided = PiGDM().guide(prior, known.observation)(noise(), T).x0
    torch.testing.assert_close(operator.forward(guided), known.y)


@operators
def test_dps_moves_down_the_slope_of_the_distance(operator: LinearOperator) -> None:
    """x0 = k x, so that the gradient of |y - k A x| by x is -k A^T r / |r|."""
    prior, known, x = White(0.5), seen(operator, 0.1), noise()
    predicted = DPS(scale=0.7).guide(prior, known.observation)(x, T)
    x0 = prior(x, T).x0
    assert torch.equal(predicted.x0, x0)
    residual = known.y - operator.forward(x0)
    k = (x0 / x).mean()
    length = residual.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    expected = 0.7 * k * operator.adjoint(residual, SIDE, SIDE) / length
    assert predicted.shift is not None
    torch.testing.assert_close(predicted.shift, expected)


@operators
def test_pigdm_is_the_prior_where_x_says_nothing(operator: LinearOperator) -> None:
    """At alpha = 0 the slope is 0, and the score is not divided by alpha: 0 / 0 is no image."""
    prior, known, x = White(0.5, Rectified()), seen(operator, 0.1), noise()
    t = torch.ones(2, dtype=torch.float64)
    assert torch.equal(PiGDM().guide(prior, known.observation)(x, t).x0, prior(x, t).x0)


@pytest.mark.parametrize("guidance", [DPS(), PiGDM()], ids=lambda one: one.name)
def test_a_learned_variance_passes_through(guidance: DPS | PiGDM) -> None:
    fraction, prior = torch.rand(2, 3, SIDE, SIDE), White(0.5)

    class Unsure(White):
        def __call__(self, x: torch.Tensor, t: torch.Tensor) -> Prediction:
            return prior(x, t)._replace(fraction=fraction)

    said = guidance.guide(Unsure(0.5), seen(Luminance(), 0.1).observation)(noise(), T).fraction
    assert said is not None and torch.equal(said, fraction)


def test_a_sampler_adds_the_shift_to_all_but_the_last_x() -> None:
    prior, stream = White(0.5), Stream(torch.arange(2))
    x, times = noise(), prior.schedule.times(3)
    shift = torch.ones_like(x)
    moved = ddim(lambda x, t: prior(x, t)._replace(shift=shift), x, prior.schedule, times, stream)
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = prior.schedule(t), prior.schedule(s)
        x0 = prior(x, t.float().expand(2)).x0
        x = x0 if s == 0 else alpha_s * x0 + sigma_s / sigma_t * (x - alpha_t * x0) + shift
    torch.testing.assert_close(moved, x)


@pytest.mark.parametrize("guidance", [DPS(), PiGDM()])
def test_gradients_pass_in_inference_mode(guidance: DPS | PiGDM) -> None:
    network = torch.nn.Conv2d(3, 3, 3, padding=1).double().requires_grad_(False)
    prior = White(0.5)

    class Learned(White):
        def __call__(self, x: torch.Tensor, t: torch.Tensor) -> Prediction:
            return Prediction(network(x))

    with torch.inference_mode():
        fresh = Downsample(2)  # whose decomposition is made in inference mode
        known = seen(fresh, 0.1)
        stream = Stream(torch.arange(2))
        denoise = guidance.guide(Learned(0.5), known.observation)
        result = ddim(denoise, noise(), prior.schedule, prior.schedule.times(3), stream)
    assert result.isfinite().all() and not result.requires_grad


def test_a_lightness_has_no_pseudo_inverse_but_a_gradient() -> None:
    observation = Observation(
        input=torch.zeros(2, 1, SIDE, SIDE),
        operator=Lightness(),
        index=torch.arange(2),
        name=[],
    )
    with pytest.raises(InputError, match="Lightness"):
        PiGDM().check(observation)
    x = torch.rand(2, 3, SIDE, SIDE)
    predicted = DPS().guide(White(0.5), observation)(x, torch.full((2,), 0.5))
    assert predicted.shift is not None and predicted.shift.abs().sum() > 0


@pytest.mark.parametrize("guidance", [NullSpace(), DPS(), PiGDM()], ids=lambda one: one.name)
@pytest.mark.parametrize("level", [0.0, 0.1])
def test_what_was_measured_is_not_rounded_where_a_network_is(
    guidance: NullSpace | DPS | PiGDM, level: float
) -> None:
    """Networks compute in bf16 by autocast, which would take the products of an operator, too."""
    known, x = seen(Downsample(2), level).observation, noise().float()
    known["input"], known["sigma"] = known["input"].float(), known["sigma"].float()
    denoise = guidance.guide(White(0.5), known)
    exact = denoise(x, T.float())
    with torch.autocast("cpu", torch.bfloat16):
        half = guidance.guide(White(0.5), known)(x, T.float())
    torch.testing.assert_close(half.x0, exact.x0, rtol=0, atol=1e-6)
    if exact.shift is not None and half.shift is not None:
        torch.testing.assert_close(half.shift, exact.shift, rtol=0, atol=1e-6)


def test_settings_are_checked() -> None:
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="scale"):
            DPS(scale)
    with pytest.raises(InputError, match="sigma_data"):
        PiGDM(0.0)


class Pair:
    """The exact denoiser of two pixels N(0, 1/4) of correlation 0.9."""

    schedule = Cosine()
    covariance = 0.25 * torch.tensor([[1, 0.9], [0.9, 1]]).double()

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> Prediction:
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in self.schedule(t.double()))
        noisy = alpha**2 * self.covariance + sigma**2 * torch.eye(2, dtype=torch.float64)
        x0 = x.double() @ (alpha * torch.linalg.solve(noisy, self.covariance))
        return Prediction(x0.to(x.dtype))


@pytest.mark.parametrize(("guidance", "is_close"), [(PiGDM(), True), (NullSpace(), False)])
def test_a_gradient_carries_what_is_known_into_a_correlated_hole(
    guidance: PiGDM | NullSpace, is_close: bool
) -> None:
    """One pixel is 0.5, so that the other is N(0.45, 0.0475). The prior of pigdm is white, and
    wrong; 50 calls of it are as close as RePaint's 910, and projection never gets there."""
    prior, count = Pair(), 2000
    hole = torch.tensor([0.0, 1.0]).expand(count, 1, 1, 2)
    known = observed(torch.tensor([0.5, 0.0]).expand(count, 1, 1, 2), hole)
    stream = Stream(torch.arange(count))
    x = ddim(
        guidance.guide(prior, known),
        stream.normal(1, 1, 2), prior.schedule, prior.schedule.times(50), stream,
    )[..., 1].double()  # fmt: skip
    mean, variance = x.mean().item(), x.var().item()
    assert (abs(mean - 0.45) < 0.06 and abs(variance / 0.0475 - 1) < 0.25) == is_close
    assert (mean < 0.3 and variance > 2 * 0.0475) != is_close


@pytest.mark.parametrize("guidance", [DPS(), PiGDM()], ids=lambda one: one.name)
def test_known_pixels_without_noise_are_kept_bit_for_bit(guidance: DPS | PiGDM) -> None:
    hole = (torch.rand(2, 1, SIDE, SIDE) > 0.5).double()
    observation = observed(noise() * (1 - hole), hole)
    x0 = guidance.guide(White(0.5), observation)(noise(), T).x0
    assert torch.equal(x0 * (1 - hole), observation["input"])
    assert (x0 * hole).abs().sum() > 0
    observation["sigma"] = torch.full((2,), 0.1, dtype=torch.float64)
    x0 = guidance.guide(White(0.5), observation)(noise(), T).x0
    assert not torch.equal(x0 * (1 - hole), observation["input"])  # they have noise


@pytest.mark.parametrize("guidance", [NullSpace(), DPS(), PiGDM()], ids=lambda one: one.name)
def test_an_image_without_noise_is_kept_among_noisy_ones(guidance: NullSpace | DPS | PiGDM) -> None:
    hole = (torch.rand(2, 1, SIDE, SIDE) > 0.5).double()
    observation, x = observed(noise() * (1 - hole), hole), noise()
    observation["sigma"] = torch.tensor([0.0, 0.1], dtype=torch.float64)
    x0 = guidance.guide(White(0.5), observation)(x, T).x0
    kept = x0 * (1 - hole)
    assert torch.equal(kept[0], observation["input"][0])
    assert not torch.equal(kept[1], observation["input"][1])
    for i in range(2):  # what one image becomes does not depend on its fellows
        alone: Observation = {**observed(observation["input"][[i]], hole[[i]])}
        alone["sigma"] = observation["sigma"][[i]]
        by_itself = guidance.guide(White(0.5), alone)(x[[i]], T[[i]]).x0
        torch.testing.assert_close(by_itself, x0[[i]], rtol=0, atol=0)


class Flat:
    """The exact denoiser of images of one value, drawn from N(0, 0.25), kept in [-1, 1]."""

    schedule = Cosine()

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> Prediction:
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in self.schedule(t.double()))
        count = x[0].numel()
        value = alpha * x.sum((1, 2, 3), keepdim=True) / (count * alpha**2 + sigma**2 / 0.25)
        return Prediction(self.bounded(value.expand_as(x)))

    def bounded(self, x0: torch.Tensor) -> torch.Tensor:
        return x0.clamp(-1, 1)


def test_pigdm_stays_in_bounds_where_pixels_vary_together() -> None:
    """They do so in photos; a white prior's moves are then too long by the number of pixels."""
    y = torch.full((2, 3, SIDE, SIDE), 0.3, dtype=torch.float64)
    observation = observed(y, torch.zeros(2, 1, SIDE, SIDE, dtype=torch.float64))
    schedule, stream = Flat.schedule, Stream(torch.arange(2))
    denoise = PiGDM().guide(Flat(), observation)
    at_first = denoise(noise(), torch.ones(2, dtype=torch.float64)).x0
    assert at_first.abs().max() <= 1
    made = ddim(denoise, noise(), schedule, schedule.times(20), stream)
    torch.testing.assert_close(made, y, rtol=0, atol=0.02)
