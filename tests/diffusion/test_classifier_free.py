"""Classifier-free guidance by the formulas of the papers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from observing import observed
from omegaconf import OmegaConf
from torch import Tensor

from restore.diffusion.classifier_free import ClassifierFree
from restore.diffusion.condition import Conditional, Told, drop
from restore.diffusion.parameterization import Predictor
from restore.diffusion.sampler import Sampling, heun
from restore.diffusion.schedule import Cosine
from restore.types import InputError

CONF = Path(__file__).parents[2] / "conf"
CONDITION = torch.tensor([0.5, 0.1]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
SHOWN = torch.cat([CONDITION, torch.zeros(2, 1, 4, 4)], dim=1)


class Network:
    """x0 is 0.2 y plus the condition; 0.3 without one. Keeps the sizes of its batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def predictor(self, clip: bool = False) -> Any:
        def made(told: Told) -> Predictor:
            def network(y: Tensor, t: Tensor) -> Tensor:
                self.sizes.append(len(y))
                assert told.shown is not None
                image, missing = told.shown.split(1, dim=1)
                return 0.2 * y + torch.where(missing > 0, 0.3, image)

            return Predictor(network, "x0", Cosine(), clip)

        return made


def conditional(network: Network, clip: bool = False) -> Conditional:
    return Conditional(network.predictor(clip), Told(SHOWN), Told(drop(SHOWN)))


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_guided_x0_is_the_formula_in_one_batch(weight: float) -> None:
    network, x, t = Network(), torch.randn(2, 1, 4, 4), torch.tensor([0.3, 0.9])
    guided = ClassifierFree(weight).guide(conditional(network), observed(x, x))
    told, without = 0.2 * x + CONDITION, 0.2 * x + 0.3
    torch.testing.assert_close(guided(x, t).x0, (1 - weight) * without + weight * told)
    assert network.sizes == [4]


def test_the_same_formula_holds_for_eps() -> None:
    """At one x_t eps is affine in x0, so that guidance of x0 is that of Ho and Salimans."""
    x, t = torch.randn(2, 1, 4, 4).double(), torch.tensor([0.4, 0.4])
    alpha, sigma = Cosine()(torch.tensor(0.4).double())
    guided = ClassifierFree(3.0).guide(conditional(Network()), observed(x, x))(x, t).x0
    eps, told, without = (
        (x - alpha * x0) / sigma for x0 in (guided, 0.2 * x + CONDITION, 0.2 * x + 0.3)
    )
    torch.testing.assert_close(eps, without + 3 * (told - without), rtol=1e-5, atol=1e-6)


def test_rescale_is_that_of_lin_et_al() -> None:
    """Eq. 15 and 16, with the deviations of each image."""
    x, t = torch.randn(2, 1, 4, 4), torch.full((2,), 0.5)
    shown = torch.cat([torch.randn(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)], dim=1)
    prior = Conditional(Network().predictor(), Told(shown), Told(drop(shown)))
    told, without = 0.2 * x + shown[:, :1], 0.2 * x + 0.3
    plain = without + 4 * (told - without)
    for image in (0, 1):
        share = told[image].std(correction=0) / plain[image].std(correction=0)
        expected = 0.7 * share * plain[image] + 0.3 * plain[image]
        observation = observed(x, torch.ones(2, 1, 4, 4))
        found = ClassifierFree(4.0, rescale=0.7).guide(prior, observation)(x, t).x0[image]
        torch.testing.assert_close(found, expected)


def test_rescale_measures_the_hole_alone() -> None:
    """What the network says of known pixels is never used, so its contrast must not count."""
    x, t = torch.randn(2, 1, 4, 4), torch.full((2,), 0.5)
    hole = torch.zeros(2, 1, 4, 4)
    hole[..., 2:] = 1
    wild = x.clone()
    wild[..., :2] = 100 * torch.randn(2, 1, 4, 2)
    shown = torch.cat([torch.randn(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)], dim=1)
    prior = Conditional(Network().predictor(), Told(shown), Told(drop(shown)))
    results = []
    for image in (x, wild):
        guided = ClassifierFree(4.0, rescale=1.0).guide(prior, observed(x, hole))
        results.append(guided(image, t).x0[..., 2:])
    torch.testing.assert_close(results[0], results[1])


def test_rescale_leaves_alone_what_has_no_contrast() -> None:
    """Of flat images, and of a hole without pixels, the deviations are 0, and 0 / 0 is no share."""
    x, t = torch.zeros(2, 1, 4, 4), torch.full((2,), 0.5)
    plain = 0.3 + 4 * (CONDITION - 0.3)
    for hole in (torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)):
        guided = ClassifierFree(4.0, rescale=0.7).guide(conditional(Network()), observed(x, hole))
        torch.testing.assert_close(guided(x, t).x0, plain)


def test_outside_of_the_interval_the_condition_alone_speaks() -> None:
    network, x = Network(), torch.randn(2, 1, 4, 4)
    guidance = ClassifierFree(2.0, interval=[0.2, 0.6])
    guided = guidance.guide(conditional(network), observed(x, x))
    for time, acts in ((0.2, False), (0.21, True), (0.6, True), (0.61, False)):
        found = guided(x, torch.full((2,), time)).x0
        expected = 0.2 * x + (2 * CONDITION - 0.3 if acts else CONDITION)
        torch.testing.assert_close(found, expected)
    assert network.sizes == [2, 4, 4, 2]
    mixed = guided(x, torch.tensor([0.1, 0.5])).x0  # each sample by its own time
    torch.testing.assert_close(mixed[0], 0.2 * x[0] + CONDITION[0])
    torch.testing.assert_close(mixed[1], 0.2 * x[1] + 2 * CONDITION[1] - 0.3)


@pytest.mark.parametrize("interval", [[0.0, 1.0], [0.3, 0.7], [1 / 3, 2 / 3]])
def test_calls_are_what_is_counted(interval: list[float]) -> None:
    network, guidance, sampler = (
        Network(),
        ClassifierFree(2.0, interval=interval),
        Sampling(heun, 9),
    )
    x = torch.randn(2, 1, 4, 4)
    guided = guidance.guide(conditional(network), observed(x, x))
    sampler(guided, x, Cosine(), None)  # type: ignore[arg-type]
    assert guidance.calls(sampler.calls(Cosine())) == sum(network.sizes) // 2


def test_a_learned_variance_is_that_of_the_condition() -> None:
    """Guidance moves x0 alone: how unsure the network is, it says of what it was told."""

    def made(told: Told) -> Predictor:
        assert told.shown is not None
        said = told.shown[:, :1]
        return Predictor(lambda y, t: torch.cat([y, said], dim=1), "x0", Cosine(), False)

    x, t = torch.zeros(2, 1, 4, 4), torch.tensor([0.3, 0.9])
    prior = Conditional(made, Told(SHOWN), Told(drop(SHOWN)))
    fraction = ClassifierFree(3.0).guide(prior, observed(x, x))(x, t).fraction
    assert fraction is not None
    torch.testing.assert_close(fraction, (CONDITION + 1) / 2)


def test_bounds_hold_for_the_guided_x0_and_not_for_its_parts() -> None:
    x, t = torch.full((2, 1, 4, 4), 6.0), torch.full((2,), 0.5)
    guided = ClassifierFree(0.5).guide(conditional(Network(), clip=True), observed(x, x))
    assert torch.equal(guided(x, t).x0, torch.ones_like(x))  # 1.2 + 0.3 and more, unclipped
    prior = conditional(Network(), clip=True)
    assert prior.both(x, t)[0].x0.max() > 1 and prior(x, t).x0.max() == 1


def test_a_prior_without_its_counterpart_is_refused() -> None:
    network, x = Network(), torch.zeros(2, 1, 4, 4)
    never = Conditional(network.predictor(), Told(SHOWN), None)
    for prior in (never, network.predictor()(Told(SHOWN))):
        with pytest.raises(InputError, match=r"never trained without.*condition\.dropout above 0"):
            ClassifierFree().guide(prior, observed(x, x))
    with pytest.raises(InputError, match="never trained without"):
        never.both(x, torch.zeros(2))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"weight": float("inf")}, "weight=inf"),
        ({"weight": -1.0}, "weight=-1.0 must be at least 0"),
        ({"rescale": 1.5}, r"rescale=1.5 must be in \[0, 1\]"),
        ({"interval": [0.6, 0.2]}, r"interval=\[0.6, 0.2\]"),
        ({"interval": [0.0, 1.5]}, r"interval=\[0.0, 1.5\]"),
        ({"interval": [0.5]}, r"interval=\[0.5\]"),
    ],
)
def test_settings_that_cannot_be_meant(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        ClassifierFree(**settings)


def test_the_leaf_is_the_class() -> None:
    leaf = instantiate(OmegaConf.load(CONF / "guidance" / "cfg.yaml"), _convert_="all")
    assert leaf == ClassifierFree()
