import math

import numpy as np
import pytest
import torch

from restore.diffusion.schedule import (
    EDM,
    Cosine,
    Discrete,
    LinearBeta,
    Rectified,
    Schedule,
    ZeroTerminalSNR,
)
from restore.loss.diffusion import min_snr_weight
from restore.types import InputError

T = 1000
SCHEDULES = {
    "linear": LinearBeta(),
    "cosine": Cosine(),
    "zero_terminal_snr": ZeroTerminalSNR(LinearBeta()),
    "edm": EDM(),
    "rectified": Rectified(),
}
DISCRETE = ["linear", "cosine", "zero_terminal_snr"]


def reference_betas(name: str) -> np.ndarray:
    """Straight from the papers, in NumPy float64."""
    linear = np.linspace(1e-4, 0.02, T)
    if name == "linear":
        return linear
    if name == "cosine":

        def f(k: int) -> float:
            return math.cos((k / T + 0.008) / 1.008 * math.pi / 2) ** 2

        return np.array([min(1 - f(k) / f(k - 1), 0.999) for k in range(1, T + 1)])
    root = np.sqrt(np.cumprod(1 - linear))  # Lin et al. 2023, algorithm 1, line by line
    first, last = root[0], root[-1]
    root = (root - last) * first / (first - last)
    bar = root**2
    return 1 - np.concatenate([bar[:1], bar[1:] / bar[:-1]])


@pytest.fixture(params=DISCRETE)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(SCHEDULES))
def schedule(request: pytest.FixtureRequest) -> Schedule:
    return SCHEDULES[request.param]


def grid() -> torch.Tensor:
    return torch.arange(T + 1, dtype=torch.float64) / T


def discrete(name: str) -> Discrete:
    schedule = SCHEDULES[name]
    assert isinstance(schedule, Discrete)
    return schedule


def test_every_beta_and_alpha_bar_is_the_papers(name: str) -> None:
    schedule, betas = discrete(name), reference_betas(name)
    np.testing.assert_allclose(schedule.betas, betas, rtol=1e-10, atol=1e-13)
    alpha_bar = np.concatenate([[1], np.cumprod(1 - betas)])
    np.testing.assert_allclose(schedule.alpha_bar, alpha_bar, rtol=1e-9, atol=1e-30)
    alpha, sigma = schedule(grid())
    np.testing.assert_allclose(alpha, np.sqrt(alpha_bar), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(sigma, np.sqrt(1 - alpha_bar), rtol=1e-9)


def test_posterior_of_every_level_is_that_of_ho_et_al(name: str) -> None:
    schedule, betas = discrete(name), reference_betas(name)
    bar = np.cumprod(1 - betas)
    before = np.concatenate([[1], bar[:-1]])
    t, s = grid()[1:], grid()[:-1]
    ones, zeros = torch.ones(T, 1, 1, 1).double(), torch.zeros(T, 1, 1, 1).double()
    of_x0, small, large = schedule.posterior(zeros, ones, t, s)
    of_x = schedule.posterior(ones, zeros, t, s).mean
    close = {"rtol": 1e-8, "atol": 1e-14}
    np.testing.assert_allclose(of_x0.flatten(), np.sqrt(before) * betas / (1 - bar), **close)
    expected = np.sqrt(1 - betas) * (1 - before) / (1 - bar)
    np.testing.assert_allclose(of_x.flatten(), expected, **close)
    np.testing.assert_allclose(small.flatten(), (1 - before) / (1 - bar) * betas, **close)
    np.testing.assert_allclose(large.flatten(), betas, **close)


def test_the_clipped_log_variance_is_that_of_nichol_and_dhariwal(name: str) -> None:
    schedule, betas = discrete(name), reference_betas(name)
    bar = np.cumprod(1 - betas)
    variance = betas[1:] * (1 - bar[:-1]) / (1 - bar[1:])
    log_small, log_large = schedule.log_variances(grid()[1:], grid()[:-1])
    expected = np.log(np.append(variance[0], variance))
    np.testing.assert_allclose(log_small, expected, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(log_large, np.log(betas), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_betas_equal_those_of_diffusers(name: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    kind = {"linear": "linear", "cosine": "squaredcos_cap_v2"}[name]
    theirs = diffusers.DDPMScheduler(beta_schedule=kind).betas
    torch.testing.assert_close(discrete(name).betas.float(), theirs, rtol=1e-6, atol=1e-9)


def test_ends_and_monotony(schedule: Schedule) -> None:
    alpha, sigma = schedule(torch.linspace(0, 1, 20_001, dtype=torch.float64))
    assert alpha[0] == 1 and sigma[0] == 0
    assert (alpha.diff() <= 0).all() and (sigma.diff() >= 0).all()
    assert ((sigma / alpha).diff() > 0).all()


def test_levels_are_continuous(schedule: Schedule) -> None:
    t = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    for values in schedule(t):
        steps = (values.diff() / values.max()).abs()
        assert steps.max() < 1e-2  # the square root of sigma at 0 is the steepest


def test_variance_is_preserved_between_levels_too(name: str) -> None:
    alpha, sigma = discrete(name)(torch.linspace(0, 1, 7_919, dtype=torch.float64))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=1e-14, atol=0)


def test_sigma_near_zero_does_not_cancel() -> None:
    """1 - alpha is linear up to the first level, so that sigma^2 = d (2 - d) with d = t T d_1."""
    t = torch.tensor([1e-15, 1e-12, 1e-9, 1e-6], dtype=torch.float64)
    d = t * T * -math.expm1(math.log1p(-1e-4) / 2)
    torch.testing.assert_close(LinearBeta()(t)[1], (d * (2 - d)).sqrt(), rtol=1e-12, atol=0)


def test_zero_terminal_snr_is_exactly_zero() -> None:
    schedule = SCHEDULES["zero_terminal_snr"]
    for dtype in (torch.float32, torch.float64):
        t = torch.ones(3, dtype=dtype)
        alpha, sigma = schedule(t)
        assert (alpha == 0).all() and (sigma == 1).all()
        assert (schedule.snr(t) == 0).all()
        assert (schedule.log_snr(t) == -math.inf).all()
    # The first level keeps its noise.
    first = torch.tensor(1 / T, dtype=torch.float64)
    torch.testing.assert_close(schedule(first), LinearBeta()(first), rtol=1e-9, atol=0)


def test_edm_times_are_the_steps_of_karras() -> None:
    n, schedule = 18, EDM()
    i = np.arange(n)
    sigma = (80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    times = schedule.times(n)
    assert times[0] == 1 and times[-1] == 0 and len(times) == n + 1
    np.testing.assert_allclose(schedule(times)[1], np.append(sigma, 0), rtol=1e-12)


def test_edm_trains_on_log_normal_sigma() -> None:
    """Quantiles of ln(sigma) ~ N(-1.2, 1.2^2), by the error function; sigma_min is nearly never
    drawn below, where uniform t are in 22 of 100 cases."""
    schedule, n = EDM(), 100_001
    uniform = torch.arange(1, n + 1, dtype=torch.float64) / (n + 1)
    t = schedule.training_times(uniform)
    log_sigma = schedule(t)[1].log()
    cdf = (1 + torch.erf((log_sigma + 1.2) / (1.2 * math.sqrt(2)))) / 2
    torch.testing.assert_close(cdf, uniform, rtol=0, atol=1e-9)
    below = 0.5 * math.erfc(-(math.log(0.002) + 1.2) / 1.2 / math.sqrt(2))
    assert below < 2e-5
    assert (log_sigma < math.log(0.002)).double().mean().item() == pytest.approx(below, abs=1e-5)
    assert (schedule(uniform)[1] < 0.002).double().mean().item() == pytest.approx(0.22, abs=0.01)


def test_rectified_flow_is_a_straight_line() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    alpha, sigma = Rectified()(t)
    torch.testing.assert_close(alpha, 1 - t)
    torch.testing.assert_close(sigma, t)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-0.5, 0.6)])
def test_rectified_flow_trains_on_logit_normal_times(mean: float, std: float) -> None:
    """Esser et al. 2024, eq. 19: the density of t, integrated by hand, against its quantiles."""
    grid = torch.linspace(0, 1, 200_001, dtype=torch.float64)[1:-1]
    logit = (grid / (1 - grid)).log()
    bell = torch.exp(-((logit - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))
    density = bell / (grid * (1 - grid))
    share = (density * 5e-6).cumsum(0)
    assert share[-1].item() == pytest.approx(1, abs=1e-4)
    uniform = torch.tensor([0.05, 0.3, 0.5, 0.8, 0.99], dtype=torch.float64)
    t = Rectified(mean, std).training_times(uniform)
    found = share[torch.searchsorted(grid, t)]
    torch.testing.assert_close(found, uniform, rtol=0, atol=1e-3)
    with pytest.raises(InputError, match="logit_std must be above 0, got 0"):
        Rectified(logit_std=0.0)


def test_training_times_are_times(schedule: Schedule) -> None:
    uniform = torch.tensor([2.0**-24, 0.3, 1.0])
    t = schedule.training_times(uniform)
    assert t.dtype == torch.float32 and t.shape == (3,)
    assert (t > 0).all() and (t.diff() > 0).all() and t[-1] == 1


def test_discrete_schedules_train_on_uniform_times(name: str) -> None:
    uniform = torch.tensor([0.001, 0.3, 1.0])
    assert torch.equal(discrete(name).training_times(uniform), uniform)


def test_the_v_loss_of_edm_weighs_what_it_draws() -> None:
    """Of uniform times 60 % would weigh below 0.01 of the weight of min-SNR, gamma = 5."""
    uniform = torch.arange(1, 10_000, dtype=torch.float64) / 10_000
    schedule = EDM()
    shares = [
        (min_snr_weight(schedule.snr(t), 5.0, "v") < 0.01).double().mean().item()
        for t in (schedule.training_times(uniform), uniform)
    ]
    assert shares[0] < 0.08 and shares[1] > 0.5, shares


def test_discrete_times_are_trailing_levels(name: str) -> None:
    times = discrete(name).times(50)
    np.testing.assert_allclose(times, np.arange(50, -1, -1) / 50, atol=1e-15)


def test_shape_and_dtype(schedule: Schedule) -> None:
    for t in (
        torch.tensor(0.3),
        torch.rand(4),
        torch.rand(2, 3).double(),
        torch.rand(5).bfloat16(),
    ):
        expected = torch.promote_types(t.dtype, torch.float32)
        values = [*schedule(t), schedule.snr(t), schedule.log_snr(t)]
        values += [*schedule.transition(t, t / 2), *schedule.log_variances(t, t / 2)]
        assert all(v.shape == t.shape and v.dtype == expected for v in values)


def test_snr_and_its_logarithm(schedule: Schedule) -> None:
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    alpha, sigma = schedule(t)
    torch.testing.assert_close(schedule.snr(t), alpha**2 / sigma**2)
    torch.testing.assert_close(schedule.log_snr(t), schedule.snr(t).log())
    assert schedule.snr(torch.zeros(1)) == math.inf


def test_transitions_compose(schedule: Schedule) -> None:
    t, s, r = (torch.tensor(v, dtype=torch.float64) for v in (0.9, 0.55, 0.2))
    (a_ts, v_ts), (a_sr, v_sr) = schedule.transition(t, s), schedule.transition(s, r)
    a_tr, v_tr = schedule.transition(t, r)
    torch.testing.assert_close(a_ts * a_sr, a_tr)
    torch.testing.assert_close(v_ts + a_ts**2 * v_sr, v_tr)
    from_zero = schedule.transition(t, torch.zeros_like(t))
    alpha, sigma = schedule(t)
    torch.testing.assert_close(from_zero, (alpha, sigma**2))


def test_posterior_is_bayes_rule(schedule: Schedule) -> None:
    """Precisions add: prior N(alpha_s x0, sigma_s^2), likelihood N(alpha_ts x_s, sigma2_ts)."""
    t, s = torch.tensor([0.9, 0.6]).double(), torch.tensor([0.7, 0.01]).double()
    x, x0 = torch.randn(2, 2, 1, 3, 3, dtype=torch.float64)
    alpha_s, sigma_s = schedule(s)
    alpha_ts, sigma2_ts = schedule.transition(t, s)
    variance = 1 / (1 / sigma_s**2 + alpha_ts**2 / sigma2_ts)
    slopes = variance * alpha_s / sigma_s**2, variance * alpha_ts / sigma2_ts
    mean = slopes[0].view(2, 1, 1, 1) * x0 + slopes[1].view(2, 1, 1, 1) * x
    posterior = schedule.posterior(x, x0, t, s)
    torch.testing.assert_close(posterior.mean, mean)
    torch.testing.assert_close(posterior.small.flatten(), variance)
    torch.testing.assert_close(posterior.large.flatten(), sigma2_ts)


def test_posterior_at_the_ends(schedule: Schedule) -> None:
    x, x0 = torch.randn(2, 1, 1, 4, 4)
    last = schedule.posterior(x, x0, torch.tensor([0.02]), torch.zeros(1))
    assert torch.equal(last.mean, x0) and last.small == 0
    scalar = schedule.posterior(x, x0, torch.tensor(0.02).double(), torch.tensor(0.0).double())
    assert torch.equal(scalar.mean, x0) and scalar.mean.dtype == torch.float32


def test_posterior_from_pure_noise() -> None:
    schedule, x, x0 = SCHEDULES["zero_terminal_snr"], *torch.randn(2, 1, 1, 4, 4)
    t, s = torch.ones(1), torch.full((1,), 0.98)
    alpha_s, sigma_s = schedule(s)
    posterior = schedule.posterior(x, x0, t, s)
    torch.testing.assert_close(posterior.mean, alpha_s * x0)  # x tells nothing
    torch.testing.assert_close(posterior.small.flatten(), sigma_s**2)


def test_neighbours_in_float32_do_not_cancel(name: str) -> None:
    """sigma2_ts is 2 alpha_ts-weighted steps of 1 - alpha: proportional to t - s inside a level."""
    schedule = discrete(name)
    t = torch.tensor([0.0105, 0.4505, 0.9905])
    s = torch.nextafter(t, torch.zeros(3))
    near = schedule.transition(t, s)[1].double() / (t.double() - s.double())
    wide = t.double() - 1e-5
    slope = schedule.transition(t.double(), wide)[1] / (t.double() - wide)
    torch.testing.assert_close(near, slope, rtol=0.1, atol=0)
    assert schedule.transition(t, s)[1].dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: LinearBeta(num_steps=1), "num_steps"),
        (lambda: LinearBeta(beta_start=0.0), "beta_start"),
        (lambda: LinearBeta(beta_end=1.5), "1.5"),
        (lambda: Cosine(max_beta=1.0), "max_beta"),
        (lambda: Cosine(offset=-1.0), "offset"),
        (lambda: EDM(sigma_min=0.0), "sigma_min"),
        (lambda: EDM(sigma_max=0.001), "sigma_max"),
        (lambda: EDM(rho=0.0), "rho"),
        (lambda: EDM(log_sigma_std=0.0), "log_sigma_std"),
    ],
)
def test_bad_arguments_are_named(make: object, named: str) -> None:
    with pytest.raises(InputError, match=named):
        make()  # type: ignore[operator]


def test_max_beta_bounds_every_beta_of_cosine() -> None:
    betas, wide = Cosine(max_beta=0.5).betas, Cosine().betas
    assert betas.max() == 0.5 and (wide > 0.5).sum() > 1
    assert torch.equal(betas, wide.clamp(max=0.5))


def test_time_at_is_where_the_snr_is_that_of_the_time(schedule: Schedule) -> None:
    t = torch.tensor([0.9, 0.5, 0.031, 0.0102], dtype=torch.float64)
    torch.testing.assert_close(schedule.time_at(schedule.snr(t)), t, rtol=1e-9, atol=1e-12)
    below = schedule.snr(torch.ones(1, dtype=torch.float64)) / 2
    assert schedule.time_at(below - 1e-9).item() == 1
