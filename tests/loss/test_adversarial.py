import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restore.loss.adversarial import (
    BCE,
    AdversarialLoss,
    Hinge,
    LeastSquares,
    feature_matching,
    r1_penalty,
)

LOSSES = [BCE(), Hinge(), LeastSquares()]
LOGITS = torch.tensor([-2.0, -0.5, 0.0, 1.5, 0.7, 3.0]).view(2, 1, 1, 3)


def expected_sides(name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Real, fake and generator losses of logits, as the papers write them."""
    probability = 1 / (1 + np.exp(-x))
    return {
        "BCE": (-np.log(probability), -np.log(1 - probability), -np.log(probability)),
        "Hinge": (np.maximum(0, 1 - x), np.maximum(0, 1 + x), -x),
        "LeastSquares": ((x - 1) ** 2, x**2, (x - 1) ** 2),
    }[name]


@pytest.mark.parametrize("loss", LOSSES)
def test_both_sides_and_the_generator(loss: AdversarialLoss) -> None:
    sides = expected_sides(type(loss).__name__, LOGITS.double().numpy())
    actual = [loss.discriminator(LOGITS, 1.0), loss.discriminator(LOGITS, 0.0)]
    for ours, theirs in zip([*actual, loss.generator(LOGITS)], sides, strict=True):
        np.testing.assert_allclose(ours, theirs.mean(axis=(1, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_targets_may_differ_by_sample_and_by_patch(loss: AdversarialLoss) -> None:
    by_sample = torch.tensor([0.9, 0.1]).view(2, 1, 1, 1)
    together = loss.discriminator(LOGITS, by_sample)
    alone = [loss.discriminator(LOGITS[i : i + 1], (0.9, 0.1)[i]) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(alone))
    by_patch = torch.tensor([1.0, 0.0, 1.0])
    assert loss.discriminator(LOGITS, by_patch).shape == (2,)


@pytest.mark.parametrize("target", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(("loss", "inverse"), [(BCE(), torch.logit), (LeastSquares(), lambda t: t)])
def test_smoothing_moves_the_optimum_to_the_target(
    loss: AdversarialLoss, inverse: object, target: float
) -> None:
    assert callable(inverse)
    best = inverse(torch.tensor(target)).view(1, 1, 1, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(loss.discriminator(best, target).sum(), best)
    assert gradient.abs().max() < 1e-6


def test_hinge_is_satisfied_beyond_its_margin() -> None:
    assert Hinge().discriminator(torch.full((1, 1, 2, 2), 1.01), 1.0).item() == 0
    assert Hinge().discriminator(torch.full((1, 1, 2, 2), -1.01), 0.0).item() == 0


def test_bce_is_finite_and_does_not_saturate_where_the_generator_loses() -> None:
    logits = torch.full((1, 1, 1, 1), -200.0, requires_grad=True)
    loss = BCE().generator(logits)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.item() == 200 and gradient.item() == -1
    chance = BCE().discriminator(torch.zeros(1, 1, 2, 2), 1.0)
    assert chance.item() == pytest.approx(math.log(2))


class Linear(nn.Module):
    """Logits [B, 1, 1, 2]: w . x and 2 w . x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]).view(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        inner = (self.weight * x).sum((1, 2, 3)).view(-1, 1, 1, 1)
        return torch.cat([inner, 2 * inner], dim=-1)


def test_r1_of_a_linear_discriminator() -> None:
    discriminator, real = Linear(), torch.randn(4, 3, 2, 2)
    penalty = r1_penalty(discriminator, real)
    # the gradient is 3 w at each of 4 places
    torch.testing.assert_close(penalty, torch.full((4,), 0.5 * 4 * 9 * (0.25 + 1 + 4)))
    penalty.mean().backward()
    assert discriminator.weight.grad is not None
    torch.testing.assert_close(discriminator.weight.grad, 36 * discriminator.weight.detach())
    assert not real.requires_grad and real.grad is None


def test_r1_of_a_quadratic_discriminator_is_each_samples_own() -> None:
    real = torch.randn(3, 2, 4, 4)
    penalty = r1_penalty(lambda x: x.square().sum((1, 2, 3)), real)
    torch.testing.assert_close(penalty, 2 * real.square().sum((1, 2, 3)))


def test_r1_stays_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    conv, real = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    expected = r1_penalty(lambda x: conv(x).tanh(), real)
    with torch.autocast("cpu", torch.bfloat16):
        penalty = r1_penalty(lambda x: conv(x).tanh(), real)
        of_half = r1_penalty(lambda x: conv(x).tanh(), real.bfloat16())
    assert torch.equal(penalty, expected) and of_half.dtype == torch.float32


def test_feature_matching_moves_only_the_fake() -> None:
    fake = [torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(2, 5, 2, 2)]
    real = [torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(2, 5, 2, 2)]
    loss = feature_matching(fake, real)
    layers = [(a - b).abs().double().mean((1, 2, 3)) for a, b in zip(fake, real, strict=True)]
    torch.testing.assert_close(loss.double(), layers[0] + layers[1])
    loss.sum().backward()
    assert fake[0].grad is not None and real[0].grad is None
    assert torch.equal(feature_matching(real, real), torch.zeros(2))
