from typing import get_args

import pytest
import torch
from torch import Tensor

from restore.diffusion.parameterization import Predictor
from restore.diffusion.schedule import EDM, Cosine, LinearBeta, Rectified, Schedule, ZeroTerminalSNR
from restore.loss.diffusion import Parameterization
from restore.types import InputError

KINDS = get_args(Parameterization)
SCHEDULES = [LinearBeta(), Cosine(), ZeroTerminalSNR(LinearBeta()), EDM(), Rectified()]
BLIND = (SCHEDULES[2], SCHEDULES[4])  # alpha(1) = 0
CASES = [(k, s) for k in KINDS for s in SCHEDULES if not (k == "eps" and s in BLIND)]


def noised(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x0 = torch.rand(len(t), 3, 4, 4, dtype=torch.float64) * 2 - 1
    eps = torch.randn(len(t), 3, 4, 4, dtype=torch.float64)
    alpha, sigma = (v.view(-1, 1, 1, 1) for v in schedule(t.double()))
    return x0, eps, alpha * x0 + sigma * eps


@pytest.mark.parametrize(("kind", "schedule"), CASES)
@pytest.mark.parametrize("clip", [True, False])
def test_the_perfect_network_gives_x0(
    kind: Parameterization, schedule: Schedule, clip: bool
) -> None:
    t = torch.tensor([0.001, 0.3, 0.77, 0.98])
    x0, eps, x = noised(schedule, t)
    predictor = Predictor(lambda y, _: torch.zeros_like(y), kind, schedule, clip)
    target = predictor.target(x0, eps, t)
    perfect = Predictor(lambda y, _: target, kind, schedule, clip)
    torch.testing.assert_close(perfect(x, t).x0, x0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_network_sees_unit_scale_and_plain_t(schedule: Schedule) -> None:
    t = torch.tensor([0.2, 0.6, 1.0])
    _, _, x = noised(schedule, t)
    alpha, sigma = (v.view(-1, 1, 1, 1) for v in schedule(t.double()))

    def network(y: Tensor, time: Tensor) -> Tensor:
        torch.testing.assert_close(y, x / (alpha**2 + sigma**2).sqrt())
        assert torch.equal(time, t) and time.dtype == torch.float32
        return y

    Predictor(network, "x0", schedule)(x, t)


def test_variance_preserving_input_is_untouched() -> None:
    x, t = torch.randn(64, 1, 8, 8), torch.rand(64)
    for schedule in SCHEDULES[:3]:
        seen: list[Tensor] = []
        Predictor(lambda y, _, seen=seen: seen.append(y) or y, "x0", schedule)(x, t)
        assert torch.equal(seen[0], x)


def test_v_on_edm_is_the_preconditioning_of_karras() -> None:
    """Table 1 with sigma_data = 1, and F = -v."""
    t = torch.tensor([0.3, 0.9])
    _, _, x = noised(EDM(), t)
    output = torch.randn_like(x)
    sigma = EDM()(t.double())[1].view(-1, 1, 1, 1)
    expected = x / (1 + sigma**2) - sigma / (1 + sigma**2).sqrt() * output
    predictor = Predictor(lambda y, _: output, "v", EDM(), clip=False)
    torch.testing.assert_close(predictor(x, t).x0, expected)


def test_edm_is_the_preconditioning_of_karras() -> None:
    """Table 1, line by line, for F = 0.3 c_in x - 0.1; and the weighted loss of eq. 8."""
    d, t = 0.5, torch.tensor([0.1, 0.3, 0.9])
    x0, eps, x = noised(EDM(), t)
    sigma = EDM()(t.double())[1].view(-1, 1, 1, 1)
    root = (sigma**2 + d**2).sqrt()
    c_skip, c_out, c_in = d**2 / root**2, sigma * d / root, 1 / root

    def network(y: Tensor, _: Tensor) -> Tensor:
        torch.testing.assert_close(y, c_in * x)
        return 0.3 * y - 0.1

    expected = c_skip * x + c_out * (0.3 * c_in * x - 0.1)
    predictor = Predictor(network, "edm", EDM(), clip=False, sigma_data=d)
    torch.testing.assert_close(predictor(x, t).x0, expected)
    weight = (sigma**2 + d**2) / (sigma * d) ** 2
    plain = (predictor.output(x, t) - predictor.target(x0, eps, t)) ** 2
    torch.testing.assert_close(plain, weight * (expected - x0) ** 2)


def test_velocity_is_the_slope_of_the_straight_line() -> None:
    x0, eps, x = noised(Rectified(), torch.tensor([0.4]))
    predictor = Predictor(lambda y, _: y, "velocity", Rectified(), clip=False)
    later = 0.5 * x0 + 0.5 * eps
    torch.testing.assert_close(predictor.target(x0, eps, torch.tensor([0.4])), (later - x) / 0.1)


def test_targets() -> None:
    t = torch.tensor([0.4])
    x0, eps, _ = noised(LinearBeta(), t)
    alpha, sigma = LinearBeta()(t.double())
    expected = {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0, "velocity": eps - x0}
    width = (0.25 * alpha**2 + sigma**2).sqrt()
    expected["edm"] = (sigma * x0 / 0.5 - 0.5 * alpha * eps) / width
    for kind in KINDS:
        predictor = Predictor(lambda y, _: y, kind, LinearBeta())
        torch.testing.assert_close(predictor.target(x0, eps, t), expected[kind])


def test_eps_needs_a_trace_of_the_image() -> None:
    with pytest.raises(InputError, match=r"eps.*ZeroTerminalSNR.*use v or x0"):
        Predictor(lambda y, _: y, "eps", ZeroTerminalSNR(LinearBeta()))


def test_clip() -> None:
    x, t = torch.tensor([-3.0, 0.5, 3.0]).view(1, 1, 1, 3), torch.ones(1)
    clipped = Predictor(lambda y, _: y, "x0", LinearBeta())(x, t).x0
    assert clipped.flatten().tolist() == [-1.0, 0.5, 1.0]
    assert torch.equal(Predictor(lambda y, _: y, "x0", LinearBeta(), clip=False)(x, t).x0, x)


def test_autocast_output_comes_back_in_the_dtype_of_x() -> None:
    x, t = torch.randn(2, 1, 4, 4), torch.rand(2)
    assert Predictor(lambda y, _: y.bfloat16(), "x0", LinearBeta())(x, t).x0.dtype == torch.float32


@pytest.mark.parametrize("raw", [-7.0, -1.0, 0.0, 1.0, 7.0])
def test_learned_variance_splits_the_channels(raw: float) -> None:
    """v = (raw + 1) / 2 is without bounds, as in the paper: its slope is a half everywhere."""
    x, t = torch.randn(2, 3, 4, 4), torch.full((2,), 0.5)
    learned = torch.full_like(x, raw, requires_grad=True)
    network = lambda y, _: torch.cat([0.1 * y, learned], dim=1)  # noqa: E731
    predicted = Predictor(network, "v", LinearBeta())(x, t)
    plain = Predictor(lambda y, _: 0.1 * y, "v", LinearBeta())(x, t)
    assert torch.equal(predicted.x0, plain.x0) and plain.fraction is None
    assert predicted.fraction is not None
    assert torch.equal(predicted.fraction, torch.full_like(x, (raw + 1) / 2))
    predicted.fraction.sum().backward()
    assert torch.equal(learned.grad, torch.full_like(x, 0.5))
