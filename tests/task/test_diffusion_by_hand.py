"""The loss of diffusion from what the network was shown, by the formulas of the papers.

x_t and t are those that reach the network. The noise is derived from them and never asked for, so
that another noise in x_t than in the target shows.
"""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from restore.diffusion.condition import Condition
from restore.diffusion.guidance import Guidance
from restore.diffusion.sampler import Sampling, ddim
from restore.diffusion.schedule import EDM, Cosine, LinearBeta, Schedule
from restore.stream import Stream, fold
from restore.task.diffusion import Diffusion
from restore.task.key import Key
from restore.types import Batch, Facts

KINDS = ["eps", "x0", "v"]
NUM_CLASSES = 3


class Recorder(nn.Module):
    """Returns `answer(x, t)`, and keeps what it was shown."""

    def __init__(self, in_channels: int, out_channels: int, num_classes: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.out_channels = out_channels
        self.label: Tensor | None = None
        self.answer: Any = lambda x, t: 0.3 * x.repeat(1, out_channels // x.shape[1], 1, 1) - 0.1

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        self.x, self.t, self.label = x.double(), t.double(), label
        self.output: Tensor = self.answer(x, t) + 0 * self.weight
        return self.output


def build(**settings: Any) -> Diffusion:
    facts = Facts(image_channels=2, input_channels=2, image_size=8, num_classes=NUM_CLASSES)
    optimizer = partial(torch.optim.SGD, lr=0.1)
    settings = {"schedule": LinearBeta(), "min_snr_gamma": None, **settings}
    return Diffusion(facts, Recorder, sampler=Sampling(ddim, 4), optimizer=optimizer, **settings)


def batch(count: int = 16) -> Batch:
    target = torch.rand(count, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    index = torch.arange(count)
    names = [str(i) for i in range(count)]
    return Batch(target=target, input=target, index=index, label=index % NUM_CLASSES, name=names)


def levels(task: Diffusion) -> tuple[Tensor, Tensor, Tensor]:
    """alpha, sigma [B, 1, 1, 1] and x_t, of what the network was shown."""
    shown: Any = task.network
    alpha, sigma = (level.view(-1, 1, 1, 1) for level in task.schedule(shown.t))
    return alpha, sigma, shown.x * torch.hypot(alpha, sigma)


@pytest.mark.parametrize("epoch", [0, None])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gamma", [None, 5.0, 0.5])
def test_loss_by_hand(kind: Any, gamma: float | None, epoch: int | None) -> None:
    task, data = build(parameterization=kind, min_snr_gamma=gamma), batch()
    (loss,) = task.losses(data, epoch).values()
    alpha, sigma, x_t = levels(task)
    x_0, output = data["target"].double(), task.network.output.double()  # type: ignore[union-attr]
    eps = (x_t - alpha * x_0) / sigma
    wanted = {"eps": eps, "x0": x_0, "v": alpha * eps - sigma * x_0}[kind]
    error = (output - wanted).square().mean(dim=(1, 2, 3))
    snr = (alpha / sigma).square().flatten()
    if gamma is not None:
        capped = snr.clamp(max=gamma)
        error = error * {"eps": capped / snr, "x0": capped, "v": capped / (snr + 1)}[kind]
    torch.testing.assert_close(loss.double(), error.mean(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "schedule", [LinearBeta(), Cosine(), EDM()], ids=lambda s: type(s).__name__
)
def test_the_noise_is_standard_normal_and_its_own_in_every_pixel(schedule: Schedule) -> None:
    task, data = build(schedule=schedule, parameterization="v"), batch(200)
    task.losses(data, 0)
    alpha, sigma, x_t = levels(task)
    eps = (x_t - alpha * data["target"]) / sigma
    n = eps.numel()
    assert abs(eps.mean().item()) < 5 / math.sqrt(n)
    assert eps.std().item() == pytest.approx(1, abs=5 / math.sqrt(2 * n))
    flat = eps.flatten(1)
    assert (torch.corrcoef(flat) - torch.eye(200)).abs().max() < 0.6


@pytest.mark.parametrize(
    "schedule", [LinearBeta(), Cosine(), EDM()], ids=lambda s: type(s).__name__
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_network_has_no_loss(kind: Any, schedule: Schedule) -> None:
    """It knows the image, and reads the noise off x_t."""
    task, data = build(parameterization=kind, schedule=schedule, min_snr_gamma=5.0), batch()
    x_0 = data["target"]

    def answer(y: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in schedule(t.double()))
        r = torch.hypot(alpha, sigma)
        eps = (y.double() * r - alpha * x_0) / sigma
        known = {"eps": eps, "x0": x_0, "v": (alpha * eps - sigma * x_0) / r}
        return known[kind].float()

    task.network.answer = answer  # type: ignore[assignment]
    (loss,) = task.losses(data, 0).values()
    assert 0 <= loss.item() < 1e-7
    task.network.answer = lambda y, t: answer(y, t) + 0.1  # type: ignore[assignment]
    assert task.losses(data, 0)["denoising"].item() > 1e-4


def test_edm_is_preconditioned_for_the_deviation_that_the_task_names() -> None:
    """Karras et al. 2022, table 1: F of D = c_skip x + c_out F, and x c_in, for sigma_data 0.2."""
    task = build(parameterization="edm", schedule=EDM(), sigma_data=0.2)
    data = batch()
    loss = task.losses(data, 0)["denoising"]
    shown: Any = task.network
    sigma = task.schedule(shown.t)[1].view(-1, 1, 1, 1)
    width = torch.hypot(sigma, torch.tensor(0.2).double())
    x_t, x_0 = shown.x * width, data["target"].double()
    wanted = (x_0 - 0.2**2 / width**2 * x_t) / (sigma * 0.2 / width)
    error = (shown.output.double() - wanted).square().mean()
    assert loss.item() == pytest.approx(error.item(), rel=1e-3)
    noise = (x_t - x_0) / sigma
    assert noise.std().item() == pytest.approx(1, abs=0.05)


def test_training_times_are_those_of_the_schedule() -> None:
    """By the median: half of all sigma below exp(-1.2), where uniform t have it at 0.625."""
    task = build(schedule=EDM(), parameterization="v")
    task.losses(batch(2000), 0)
    sigma = task.schedule(task.network.t)[1]  # type: ignore[arg-type]
    assert sigma.log().median().item() == pytest.approx(-1.2, abs=5 * 1.25 * 1.2 / 2000**0.5)
    assert sigma.log().std().item() == pytest.approx(1.2, rel=5 / 4000**0.5)


def test_samples_begin_as_noise_of_the_largest_level() -> None:
    """sigma is 80 there, not 1: the network, which sees it at variance 1, is told which noise."""
    task, data = build(schedule=EDM(), parameterization="v", guidance=Keep(), seed=5), batch()
    task.sampler, index = Sampling(ddim, 1), data["index"]
    for draw, make in ((0, lambda: task.restore(data)), (-1, lambda: task.generate(index, (8, 8)))):
        make()
        noise = Stream(fold(index, 5, Key.SAMPLING, torch.tensor(draw))).normal(2, 8, 8)
        torch.testing.assert_close(task.network.x, noise.double(), rtol=1e-5, atol=1e-5)


def test_labels_are_taught_and_a_share_of_them_is_no_class() -> None:
    task, data = build(class_conditional=True, label_dropout=0.25), batch(2000)
    task.losses(data, 0)
    label = task.network.label
    assert isinstance(label, Tensor)
    dropped = label == NUM_CLASSES
    assert torch.equal(label[~dropped], data["label"][~dropped])
    assert dropped.double().mean().item() == pytest.approx(
        0.25, abs=5 * (0.25 * 0.75 / 2000) ** 0.5
    )
    task.losses(data, 1)
    assert not torch.equal(task.network.label == NUM_CLASSES, dropped)  # type: ignore[arg-type]
    task.losses(data, None)
    assert torch.equal(task.network.label, data["label"])  # type: ignore[arg-type]
    blind = build()
    blind.losses(data, 0)
    assert blind.network.label is None


def test_restoring_says_no_class_unless_the_label_is_given() -> None:
    """The network says which label it was given: the label times a tenth, -0.5 for no class."""

    def restored(given_label: bool) -> Tensor:
        task = build(class_conditional=True, given_label=given_label, parameterization="x0")
        shown: Any = task.network

        def answer(x: Tensor, t: Tensor) -> Tensor:
            said = torch.full((len(x),), -5) if shown.label is None else shown.label
            return (said / 10).view(-1, 1, 1, 1).expand_as(x)

        shown.answer = answer
        task.sampler, task.guidance = Sampling(ddim, 4), Keep()  # type: ignore[assignment]
        hole = torch.ones(16, 1, 8, 8)
        return task.restore({**batch(), "hole": hole}, num_samples=2)

    label = (batch()["label"] / 10).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(restored(True), label.expand(-1, 2, 2, 8, 8))
    assert torch.equal(restored(False), torch.full((16, 2, 2, 8, 8), -0.5))


class Keep(Guidance):
    """A guidance that does nothing."""

    def check(self, observation: Any) -> None:
        """Every observation will do."""

    def guide(self, denoise: Any, observation: Any) -> Any:
        return denoise


@pytest.mark.parametrize("clip", [True, False])
def test_clip_reaches_the_prediction(clip: bool) -> None:
    task = build(parameterization="x0", clip=clip)
    task.network.answer = lambda x, t: torch.full_like(x, 3.0)  # type: ignore[assignment]
    predicted = task.predictor()(torch.zeros(1, 2, 8, 8), torch.full((1,), 0.5))
    assert predicted.x0.unique().tolist() == [1.0 if clip else 3.0]


@pytest.mark.parametrize("schedule", [Cosine(), EDM()], ids=["cosine", "edm"])
def test_no_sample_is_without_noise(schedule: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    """A uniform number may be 0, once in 2^24, at which the signal-to-noise ratio is infinite."""
    zeros = lambda self, *shape, **bounds: torch.zeros(len(self), *shape)  # noqa: E731
    monkeypatch.setattr(Stream, "uniform", zeros)
    task = build(schedule=schedule, parameterization="v", learned_variance=True)
    assert all(term.isfinite() for term in task.losses(batch(), 0).values())
    assert (task.network.t == 1).all()


def test_bound_is_the_divergence_of_two_gaussians_by_hand() -> None:
    """1000 levels, weight 0.001, nats to bits; the variance from the last two channels."""
    task, data = build(parameterization="x0", schedule=Cosine(), learned_variance=True), batch()
    task.network.answer = lambda x, t: torch.cat([30 * x, 0.6 + 0.1 * x], 1)  # type: ignore[assignment]
    bound = task.losses(data, 0)["bound"]
    alpha, sigma, x_t = levels(task)
    t: Any = task.network.t
    assert (t > 0.001).all()
    alpha_s, sigma_s = (level.view(-1, 1, 1, 1) for level in task.schedule(t - 0.001))
    large = sigma**2 - (alpha / alpha_s) ** 2 * sigma_s**2
    small = large * sigma_s**2 / sigma**2

    def mean(x_0: Tensor) -> Tensor:
        return (alpha / alpha_s * sigma_s**2 * x_t + alpha_s * large * x_0) / sigma**2

    v = (0.6 + 0.1 * x_t + 1) / 2
    truth = Normal(mean(data["target"].double()), small.sqrt().expand_as(x_t))
    guess = Normal(mean((30 * x_t).clamp(-1, 1)), (large**v * small ** (1 - v)).sqrt())
    bits = kl_divergence(truth, guess).mean() / math.log(2)
    assert bound.item() == pytest.approx(bits.item(), rel=2e-3)


class Second(Cosine):
    """Every time is that of the second level, where the variance of q is half of its bound."""

    def training_times(self, uniform: Tensor) -> Tensor:
        return torch.full_like(uniform, 0.002)


def test_bound_at_little_noise_counts_in_the_hole_alone() -> None:
    """There an x0 that is 0.01 off costs as much as a wrong variance; known pixels are far off."""
    settings: Any = {"parameterization": "x0", "learned_variance": True, "schedule": Second()}
    task, data = build(condition=Condition(dropout=0), **settings), batch()
    hole = torch.zeros(16, 1, 8, 8)
    hole[..., 2:5] = 1
    guess = (data["target"] * 0.9 + 0.01).where(hole > 0, torch.tensor(0.9))
    task.network.answer = lambda x, t: torch.cat([guess, torch.full_like(guess, 0.4)], 1)  # type: ignore[assignment]
    bound = task.losses({**data, "hole": hole}, None)["bound"]
    (a_s, a_t), (sigma_s, sigma_t) = task.schedule(torch.tensor([0.001, 0.002]).double())
    large, v = sigma_t**2 - (a_t / a_s) ** 2 * sigma_s**2, 0.7
    small = large * sigma_s**2 / sigma_t**2
    assert small < 0.6 * large
    off = (a_s * large / sigma_t**2 * (data["target"] - guess)).double()
    truth = Normal(off, small.sqrt())
    bits = kl_divergence(truth, Normal(0 * off, (large**v * small ** (1 - v)).sqrt())) / math.log(2)
    expected = bits[hole.expand_as(bits) > 0].mean()
    assert bound.item() == pytest.approx(expected.item(), rel=2e-3)


class First(Cosine):
    """Every time lies in the first level, whose term is the likelihood of the image."""

    def training_times(self, uniform: Tensor) -> Tensor:
        return torch.full_like(uniform, 0.0008)


def test_bound_of_the_first_level_is_the_likelihood_of_8_bit_images() -> None:
    task, data = build(parameterization="x0", schedule=First(), learned_variance=True), batch()
    grid = (data["target"] * 127.5).round() / 127.5
    guess = grid.clamp(-0.99, 0.99) + 0.004
    task.network.answer = lambda x, t: torch.cat([guess, torch.full_like(x, 0.4)], 1)  # type: ignore[assignment]
    bound = task.losses({**data, "target": grid}, 0)["bound"]
    t = torch.tensor([0.0008, 0.0016]).double()
    (a_1, a_2), (s_1, s_2) = task.schedule(t)
    large, v = s_1**2, 0.7
    small = (s_2**2 - (a_2 / a_1) ** 2 * s_1**2) * s_1**2 / s_2**2
    bell = Normal(guess.double(), (large**v * small ** (1 - v)).sqrt())
    x_0 = grid.double()
    high = torch.where(x_0 > 0.999, 1.0, bell.cdf(x_0 + 1 / 255))
    low = torch.where(x_0 < -0.999, 0.0, bell.cdf(x_0 - 1 / 255))
    bits = -(high - low).log2().mean()
    assert bound.item() == pytest.approx(bits.item(), rel=2e-3)


def test_learned_variance_has_a_slope_outside_of_its_range() -> None:
    """A network that says 3 in place of [-1, 1] must find the way back."""
    for raw in (-3.0, 3.0):
        task, data = build(parameterization="x0", schedule=Cosine(), learned_variance=True), batch()
        learned = torch.full((16, 2, 8, 8), raw, requires_grad=True)
        task.network.answer = lambda x, t, v=learned: torch.cat([x, v], 1)  # type: ignore[assignment]
        task.losses(data, 0)["bound"].backward()
        assert learned.grad is not None and (learned.grad != 0).all()


def test_validation_draws_for_itself_and_always_the_same() -> None:
    """Not the noise and the times of the first epoch, which training has seen."""
    task, times = build(), list[Tensor]()
    for epoch in (None, 0, None, 1):
        task.losses(batch(), epoch)
        shown: Any = task.network
        times.append(shown.t)
    validated, first, again, second = times
    assert torch.equal(validated, again)
    for one, other in ((validated, first), (validated, second), (first, second)):
        assert not torch.isclose(one, other).any()
