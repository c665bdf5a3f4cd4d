import itertools

import pytest
import torch
from torch import Tensor

from restore.degradation.composition import Chain, Curriculum, Mixture
from restore.degradation.contract import Degradation
from restore.degradation.gray import Gray
from restore.degradation.impulse import SaltPepper
from restore.degradation.jpeg import JPEG
from restore.degradation.mask import Box, Half, Mask, Strokes
from restore.degradation.noise import Gaussian
from restore.degradation.poisson import Poisson
from restore.stream import Stream
from restore.types import InputError

SEEDS = torch.arange(40)
EMPTY, FULL = Mask(Box(size=0)), Mask(Box(fraction=1.0))


def images(num: int = 40) -> Tensor:
    return Stream(torch.arange(num) + 100).uniform(3, 9, 10, low=-1.0)


@pytest.mark.parametrize(
    "degradation",
    [
        Mixture([Gaussian([5.0, 50.0]), Gaussian(3.0), Poisson(9.0), JPEG([10, 90])]),
        Mixture([Mask(Strokes()), Mask(Half("left")), FULL], [2, 1, 1]),
        Mixture([Mixture([Gaussian(5.0), Gaussian(9.0)]), Gaussian(50.0)]),
        Chain([Gaussian(25.0), JPEG(50)]),
        Curriculum(Mask(Half("left")), Mask(Strokes()), updates=10),
    ],
)
def test_a_sample_does_not_depend_on_its_batch(degradation: Degradation) -> None:
    target = images()
    together = degradation(target, SEEDS)
    for index in range(40):
        alone = degradation(target[index : index + 1], SEEDS[index : index + 1])
        assert alone.keys() == together.keys()
        for key in alone:
            assert torch.equal(alone[key][0], together[key][index])  # type: ignore[literal-required]
    assert together["target"] is target


def test_mixture_takes_its_shares() -> None:
    seeds = torch.arange(8000)
    hole = Mixture([EMPTY, FULL], weights=[3, 1])(torch.zeros(8000, 1, 1, 1), seeds)["hole"]
    assert abs(hole.mean() - 0.25) < 0.02
    assert (Mixture([EMPTY, FULL], [0, 1])(images(), SEEDS)["hole"] == 1).all()


def test_the_choices_of_nested_mixtures_are_independent() -> None:
    seeds = torch.arange(8000)
    inner = Mixture([Gaussian(10.0), Gaussian(20.0)])
    outer = Mixture([inner, Gaussian(30.0)])
    level = (outer(torch.zeros(8000, 1, 1, 1), seeds)["sigma"] * 127.5).round().long()
    share = torch.bincount(level, minlength=31)[[10, 20, 30]] / 8000
    assert (share - torch.tensor([0.25, 0.25, 0.5])).abs().max() < 0.02


def test_sigma_is_stated_where_all_parts_state_it() -> None:
    known = Mixture([Gaussian(10.0), Gaussian([20.0, 30.0])])(images(), SEEDS)
    grey = known["sigma"] * 127.5
    assert (((grey - 10).abs() < 1e-4) | ((grey >= 20) & (grey <= 30))).all()
    for other in (Gaussian(5.0, blind=True), SaltPepper(0.1), Poisson(9.0)):
        mixed = Mixture([Gaussian(10.0), other], weights=[1, 0])(images(), SEEDS)
        assert set(mixed) == {"target", "input"}


@pytest.mark.parametrize("weights", [[1, 0], [0, 1], [1, 1]])
def test_holes_and_no_holes_are_not_mixed(weights: list[float]) -> None:
    with pytest.raises(InputError, match="1 of 2 mixed degradations make holes"):
        Mixture([Mask(Half("left")), Gaussian(5.0)], weights)(images(), SEEDS)
    with pytest.raises(InputError, match="holes"):
        Curriculum(Gaussian(5.0), Mask(Half("left")), updates=5)(images(), SEEDS)


def test_input_channels() -> None:
    assert Mixture([Gaussian(1.0), JPEG(50)]).input_channels(3) == 3
    assert Chain([Gray(), Gaussian(25.0)]).input_channels(3) == 1
    with pytest.raises(InputError, match="channels"):
        Mixture([Gray(), Gaussian(1.0)]).input_channels(3)
    with pytest.raises(InputError, match="3 channels, got 1"):
        Chain([Gray(), Gray()]).input_channels(3)


def test_chain_is_one_after_another() -> None:
    target = images()
    chained = Chain([Gaussian(25.0), JPEG(50)])(target, SEEDS)
    smaller = psnr(chained["input"], target)
    assert chained["target"] is target and set(chained) == {"target", "input"}
    assert (smaller < psnr(JPEG(50)(target, SEEDS)["input"], target)).float().mean() > 0.9
    grey = Chain([Gray(), Mask(Half("left"))])(target, SEEDS)
    assert torch.equal(grey["input"][..., 5:], Gray()(target, SEEDS)["input"][..., 5:])
    assert (grey["input"][..., :5] == 0).all() and grey["hole"].shape == (40, 1, 9, 10)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    return -(a - b).square().mean(dim=(1, 2, 3)).log10()


def test_the_steps_of_a_chain_draw_for_themselves() -> None:
    """Variances of independent noises add up; the same noise twice would be four times one."""
    seeds, target = torch.arange(64), torch.zeros(64, 1, 32, 32)
    noise = Chain([Gaussian(10.0), Gaussian(10.0)])(target, seeds)["input"] * 127.5
    assert abs(noise.var() - 200) < 5


def test_a_hole_comes_last() -> None:
    with pytest.raises(InputError, match="last step"):
        Chain([Mask(Half("left")), Gaussian(5.0)])(images(), SEEDS)
    with pytest.raises(InputError, match="one step"):
        Chain([])


def test_curriculum_goes_from_start_to_stop() -> None:
    seeds, target = torch.arange(4000), torch.zeros(4000, 1, 1, 1)
    curriculum = Curriculum(EMPTY, FULL, updates=200)
    for updates, share in ((0, 0.0), (50, 0.25), (100, 0.5), (200, 1.0), (10**9, 1.0)):
        hole = curriculum.at(updates)(target, seeds)["hole"]
        assert abs(hole.mean() - share) < (0.03 if 0 < share < 1 else 1e-9)
    assert (curriculum(target, seeds)["hole"] == 1).all()


def test_curriculum_draws_what_its_ends_draw() -> None:
    target = images()
    start, stop = Mask(Half("alternate")), Mask(Strokes())
    curriculum = Curriculum(start, stop, updates=10)
    assert torch.equal(curriculum.at(0)(target, SEEDS)["hole"], start(target, SEEDS)["hole"])
    assert torch.equal(curriculum(target, SEEDS)["hole"], stop(target, SEEDS)["hole"])


def test_a_seed_that_has_come_to_the_stop_stays_there() -> None:
    curriculum = Curriculum(EMPTY, FULL, updates=10)
    holes = [curriculum.at(updates)(images(), SEEDS)["hole"] for updates in range(11)]
    assert all((after >= before).all() for before, after in itertools.pairwise(holes))
    assert not holes[0].any() and holes[-1].all()


def test_a_curriculum_is_the_outer_one() -> None:
    curriculum = Curriculum(EMPTY, FULL, updates=10)
    for build in (lambda: Mixture([curriculum, FULL]), lambda: Chain([curriculum])):
        with pytest.raises(InputError, match="curriculum"):
            build()
    with pytest.raises(InputError, match="curriculum"):
        Curriculum(curriculum, FULL, updates=10)
    with pytest.raises(InputError, match="updates"):
        Curriculum(EMPTY, FULL, updates=0)


def test_the_choice_says_nothing_about_the_noise() -> None:
    """Among the samples of one part, the noise is as it is without a mixture."""
    seeds = torch.arange(4000)
    mixed = Mixture([Gaussian(10.0), Gaussian(0.0)])(torch.zeros(4000, 1, 1, 1), seeds)
    noise = mixed["input"][mixed["sigma"] > 0].flatten() * 127.5
    assert abs(noise.mean()) < 0.8 and abs(noise.std() - 10) < 0.6


@pytest.mark.parametrize("weights", [[], [1.0], [1.0, -1.0], [0.0, 0.0]])
def test_weights_are_checked(weights: list[float]) -> None:
    with pytest.raises(InputError, match="weights"):
        Mixture([Gaussian(1.0), Gaussian(2.0)], weights)
    with pytest.raises(InputError, match="mixture"):
        Mixture([])
