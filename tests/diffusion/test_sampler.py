import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from observing import observed
from torch import Tensor

from restore.diffusion.guidance import Replacement
from restore.diffusion.parameterization import Denoise, Prediction, Predictor
from restore.diffusion.sampler import ddim, ddpm, dpm_solver_pp_2m, heun, renoise
from restore.diffusion.schedule import EDM, Cosine, LinearBeta, Rectified, Schedule, ZeroTerminalSNR
from restore.diffusion.walk import Step, initial_noise
from restore.stream import Stream

SCHEDULES = [LinearBeta(), Cosine(), ZeroTerminalSNR(LinearBeta()), EDM(), Rectified()]
METHODS: dict[str, Callable[..., Tensor]] = {
    "ddpm_small": ddpm,
    "ddpm_large": partial(ddpm, variance="large"),
    "ddpm_learned": partial(ddpm, variance="learned"),
    "ddim": ddim,
    "ddim_eta": partial(ddim, eta=0.7),
    "dpm_solver": dpm_solver_pp_2m,
    "heun": heun,
    "renoise": renoise,
}
DETERMINISTIC = {"ddim": 1, "dpm_solver": 2, "heun": 2}  # and their orders
MEAN, DEVIATION = 0.3, 0.5


def stream(num: int, seed: int = 0) -> Stream:
    return Stream(torch.arange(num) + 1000 * seed)


def gaussian(schedule: Schedule, deviation: float = DEVIATION) -> Denoise:
    """E[x0 | x_t] for data ~ N(MEAN, deviation^2), exact."""

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = (v.view(-1, 1, 1, 1) for v in schedule(t.double()))
        gain = alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2)
        return Prediction((MEAN + gain * (x - alpha * MEAN)).to(x.dtype))

    return denoise


def elementwise(schedule: Schedule) -> Predictor:
    def network(y: Tensor, t: Tensor) -> Tensor:
        return torch.cat([(y * 1.3 + t.view(-1, 1, 1, 1)).clamp(-1, 1), 0.4 * y], dim=1)

    return Predictor(network, "v", schedule)


def flow(schedule: Schedule, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The probability flow of the Gaussian from t to s: quantiles stay quantiles."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    width_t = torch.hypot(alpha_t * DEVIATION, sigma_t)
    width_s = torch.hypot(alpha_s * DEVIATION, sigma_s)
    return alpha_s * MEAN + width_s / width_t * (x - alpha_t * MEAN)


def flow_error(method: Callable[..., Tensor], schedule: Schedule, num_steps: int) -> float:
    """At the last level above 0: the step from there predicts a mean, whatever the method."""
    times, steps = schedule.times(num_steps), list[Step]()
    x = torch.linspace(-3, 3, 7, dtype=torch.float64).view(-1, 1, 1, 1)
    x = torch.hypot(*schedule(times[0])) * x
    method(gaussian(schedule), x, schedule, times, stream(7), steps.append)
    return float((steps[-1].x - flow(schedule, x, times[0], times[-2])).abs().max())


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_of_convergence_to_the_probability_flow(name: str) -> None:
    schedule = EDM(sigma_max=20.0, sigma_min=0.01)
    errors = [flow_error(METHODS[name], schedule, n) for n in (40, 80, 160)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders == pytest.approx([DETERMINISTIC[name]] * 2, abs=0.2), (errors, orders)


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_deterministic_samplers_follow_the_flow_on_every_schedule(
    name: str, schedule: Schedule
) -> None:
    errors = [flow_error(METHODS[name], schedule, n) for n in (25, 100, 400)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < (2e-2 if name == "ddim" else 2e-3), errors


@pytest.mark.parametrize("num_steps", [5, 10, 18, 50])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_few_steps_keep_the_spread_of_the_data(schedule: Schedule, num_steps: int) -> None:
    """x0 is affine in x, and the flow from a deviation of 1 shows the deviation of the result.

    The last prediction is a mean, so that no method reaches all of it; the second order may not be
    further away than the first.
    """
    times, start = schedule.times(num_steps), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    alpha, sigma = schedule(times[0])
    spread = {}
    for name in DETERMINISTIC:
        ends = [
            METHODS[name](gaussian(schedule), alpha * MEAN + x, schedule, times, stream(1))
            for x in (torch.hypot(alpha * DEVIATION, sigma) * start, 0 * start)
        ]
        spread[name] = float(ends[0] - ends[1])
    nearest = {5: 0.3, 10: 0.15, 18: 0.08, 50: 0.03}[num_steps]
    errors = {name: abs(value - DEVIATION) for name, value in spread.items()}
    assert errors["heun"] < nearest and errors["dpm_solver"] < nearest, spread
    assert max(errors["heun"], errors["dpm_solver"]) <= errors["ddim"] + 1e-12, spread


def marginals(method: Callable[..., Tensor], schedule: Schedule, num_steps: int) -> list[Step]:
    """20 000 independent values, 100 per sample, for data that is the constant MEAN."""
    steps: list[Step] = []
    draws = stream(200)
    times = schedule.times(num_steps)
    alpha, sigma = schedule(times[0])
    x = alpha * MEAN + sigma * draws.normal(1, 10, 10)

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        return Prediction(torch.full_like(x, MEAN))

    method(denoise, x, schedule, times, draws, steps.append)
    return steps


@pytest.mark.parametrize("name", ["ddpm_small", "ddim", "ddim_eta", "renoise"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_marginals_of_a_known_image_are_exact_at_every_level(name: str, schedule: Schedule) -> None:
    """For one x0 the reverse steps are the true posteriors: mean alpha x0, deviation sigma."""
    for step in marginals(METHODS[name], schedule, 12):
        alpha, sigma = (float(v) for v in schedule(torch.tensor(step.t).double()))
        z = (step.x - alpha * MEAN) / sigma
        assert abs(z.mean()) < 5 / math.sqrt(20_000), step.number
        assert abs(z.std() - 1) < 5 / math.sqrt(40_000), step.number


@pytest.mark.parametrize("name", ["ddpm_small", "ddpm_large", "ddim_eta"])
def test_stochastic_samplers_give_the_data_distribution(name: str) -> None:
    schedule, draws = LinearBeta(), stream(200)
    times = schedule.times(400)
    x = initial_noise(schedule, times[0], [1, 10, 10], draws)
    x = METHODS[name](gaussian(schedule), x, schedule, times, draws)
    assert float(x.mean()) == pytest.approx(MEAN, abs=5 * DEVIATION / math.sqrt(20_000))
    assert float(x.std()) == pytest.approx(DEVIATION, rel=0.03)


def test_renoise_spreads_as_its_recursion_says() -> None:
    """x0 is affine in x and the noise is fresh, so the variance is a recursion."""
    schedule, draws, n = EDM(), stream(200), 30
    times = schedule.times(n)
    variance = float(schedule(times[0])[1]) ** 2 + 1
    for t, s in pairwise(times):
        gain = DEVIATION**2 / (DEVIATION**2 + float(schedule(t)[1]) ** 2)
        variance = gain**2 * variance + float(schedule(s)[1]) ** 2
    x = initial_noise(schedule, times[0], [1, 10, 10], draws)
    x = renoise(gaussian(schedule), x, schedule, times, draws)
    assert float(x.std()) == pytest.approx(math.sqrt(variance), rel=5 / math.sqrt(40_000))


@pytest.mark.parametrize(("fraction", "variance"), [(0.0, "small"), (1.0, "large")])
def test_learned_variance_has_the_fixed_ones_as_ends(fraction: float, variance: str) -> None:
    schedule = LinearBeta()

    def network(y: Tensor, _: Tensor) -> Tensor:
        return torch.cat([0.2 * y, torch.full_like(y, 2 * fraction - 1)], dim=1)

    predictor, times = Predictor(network, "v", schedule), schedule.times(9)
    x = initial_noise(schedule, times[0], [3, 4, 4], stream(2))
    learned = ddpm(predictor, x, schedule, times, stream(2, 1), variance="learned")
    fixed = ddpm(predictor, x, schedule, times, stream(2, 1), variance=variance)  # type: ignore[arg-type]
    torch.testing.assert_close(learned, fixed)


def test_eta_one_is_small_variance_ddpm() -> None:
    for schedule in SCHEDULES:
        predictor, times = elementwise(schedule), schedule.times(11)
        x = initial_noise(schedule, times[0], [1, 4, 4], stream(3))
        a = ddim(predictor, x, schedule, times, stream(3, 1), eta=1.0)
        b = ddpm(predictor, x, schedule, times, stream(3, 1))
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_a_sample_depends_on_its_own_seed_only(name: str, schedule: Schedule) -> None:
    method, predictor, times = METHODS[name], elementwise(schedule), schedule.times(6)

    def sample(seeds: list[int]) -> Tensor:
        draws = Stream(torch.tensor(seeds))
        x = initial_noise(schedule, times[0], [3, 5, 5], draws)
        return method(predictor, x, schedule, times, draws)

    batch = sample([5, 9, 5])
    assert batch.isfinite().all() and batch.dtype == torch.float32
    assert torch.equal(batch, sample([5, 9, 5]))
    assert torch.equal(batch[0], batch[2]) and not torch.equal(batch[0], batch[1])
    assert torch.equal(batch[1:2], sample([9]))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_result_is_the_last_prediction_bit_for_bit(name: str, schedule: Schedule) -> None:
    steps: list[Step] = []
    predictor, times = elementwise(schedule), schedule.times(5)
    x = initial_noise(schedule, times[0], [3, 4, 4], stream(2))
    result = METHODS[name](predictor, x, schedule, times, stream(2, 1), steps.append)
    assert torch.equal(result, steps[-1].x0)
    assert [s.number for s in steps] == [1, 2, 3, 4, 5] and {s.total for s in steps} == {5}
    assert [s.t for s in steps] == times[:-1].tolist()
    assert torch.equal(steps[0].x, x)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "dpm_solver"])
def test_what_a_callback_is_shown_goes_on_as_if_nobody_had_stopped(name: str) -> None:
    """From x at t, with the draws that were left; dpm_solver remembers a step more than x."""
    steps, schedule = list[Step](), Cosine()
    predictor, times = elementwise(schedule), schedule.times(5)
    x = initial_noise(schedule, times[0], [3, 4, 4], stream(2))
    whole = METHODS[name](predictor, x, schedule, times, stream(2, 1), steps.append)
    for number, step in enumerate(steps):
        left = stream(2, 1)
        for _ in range(0 if name in DETERMINISTIC else number):
            left.normal(3, 4, 4)
        rest = METHODS[name](predictor, step.x, schedule, times[number:], left)
        assert torch.equal(rest, whole)


@pytest.mark.parametrize("name", METHODS)
def test_replacement_keeps_known_pixels_bit_for_bit(name: str) -> None:
    schedule = LinearBeta()
    image, hole = torch.rand(2, 3, 4, 4) * 2 - 1, (torch.rand(2, 1, 4, 4) > 0.5).float()
    predictor, times = elementwise(schedule), schedule.times(5)
    guided = Replacement().guide(predictor, observed(image, hole))
    x = initial_noise(schedule, times[0], [3, 4, 4], stream(2))
    result = METHODS[name](guided, x, schedule, times, stream(2, 1))
    known = hole.expand_as(image) == 0
    assert torch.equal(result[known], image[known])
    assert not torch.isclose(result[~known], image[~known]).any()


def test_initial_noise_has_the_variance_of_the_level() -> None:
    for schedule, deviation in [(LinearBeta(), 1.0), (EDM(sigma_max=1.0), math.sqrt(2))]:
        noise = initial_noise(schedule, torch.tensor(1.0), [1, 20, 20], stream(50))
        assert noise.shape == (50, 1, 20, 20) and noise.dtype == torch.float32
        assert float(noise.std()) == pytest.approx(deviation, rel=5 / math.sqrt(40_000))
