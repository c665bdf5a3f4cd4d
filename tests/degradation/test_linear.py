import pytest
import torch
from torch import Tensor

from restore.degradation.blur import GaussianBlur
from restore.degradation.composition import Mixture
from restore.degradation.gray import Gray, Lightness
from restore.degradation.linear import Linear
from restore.degradation.noise import Gaussian
from restore.degradation.operator import Downsample, Luminance
from restore.picture import select
from restore.types import InputError

TARGET = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
SEEDS = torch.arange(3)


def made(sigma: float, seeds: Tensor = SEEDS) -> Tensor:
    return Linear(Downsample(4), sigma)(TARGET, seeds)["input"]


def test_input_of_a_smaller_measurement_has_the_images_size_and_loses_nothing() -> None:
    degradation = Linear(Downsample(4))
    degraded = degradation(TARGET, SEEDS)
    assert degraded["input"].shape == TARGET.shape and degradation.input_channels(3) == 3
    operator = degraded["operator"]
    measured = operator.measured(degraded["input"])
    assert measured.shape == (3, 3, 4, 6)
    torch.testing.assert_close(measured, Downsample(4).forward(TARGET), atol=1e-5, rtol=0)


def test_noise_lies_on_what_was_measured() -> None:
    operator, sigma = Downsample(2, "box"), 25.0
    target = torch.zeros(4, 3, 64, 64)
    noise = operator.forward(Linear(operator, sigma)(target, torch.arange(4))["input"])
    assert noise.std() * 127.5 == pytest.approx(sigma, rel=0.03)
    blurred = Linear(GaussianBlur(1.6), sigma)(target, torch.arange(4))
    assert blurred["input"].std() * 127.5 == pytest.approx(sigma, rel=0.03)
    assert torch.allclose(blurred["sigma"] * 127.5, torch.tensor(sigma))


def test_a_sample_depends_on_its_own_seed_alone() -> None:
    alone = Linear(Downsample(4), 10.0)(TARGET[1:2], SEEDS[1:2])["input"]
    torch.testing.assert_close(made(10.0)[1:2], alone, atol=1e-6, rtol=0)
    assert not torch.equal(made(10.0, SEEDS + 1), made(10.0))


def test_channels_are_those_of_what_is_measured() -> None:
    degradation = Linear(Luminance())
    assert degradation.input_channels(3) == 1
    assert degradation(TARGET, SEEDS)["input"].shape == (3, 1, 16, 24)


def test_a_blind_batch_knows_neither_level_nor_operator() -> None:
    assert set(Linear(Downsample(4), 5.0, blind=True)(TARGET, SEEDS)) == {"target", "input"}


def test_a_mixture_states_no_operator_and_so_no_level() -> None:
    """A level without its operator reads as one of noise on the image itself."""
    mixture = Mixture([Linear(Downsample(2), 5.0), Linear(GaussianBlur(1.0), 5.0)])
    assert set(mixture(TARGET, SEEDS)) == {"target", "input"}
    assert set(Mixture([Gaussian(5.0), Linear(GaussianBlur(1.0), 5.0)])(TARGET, SEEDS)) == {
        *("target", "input"),
    }
    assert "sigma" in Mixture([Gaussian(5.0), Gaussian(9.0)])(TARGET, SEEDS)


def test_gray_states_lightness() -> None:
    assert isinstance(Gray()(TARGET, SEEDS)["operator"], Lightness)


def test_chosen_samples_keep_the_operator() -> None:
    degraded = Linear(Downsample(4))(TARGET, SEEDS)
    batch = {**degraded, "index": SEEDS, "name": ["a", "b", "c"]}
    kept = select(batch, [2, 0])  # type: ignore[arg-type]
    assert kept["name"] == ["c", "a"] and kept["operator"] is degraded["operator"]
    assert torch.equal(kept["input"], degraded["input"][[2, 0]])


def test_a_negative_level_is_refused() -> None:
    with pytest.raises(InputError, match=">= 0"):
        Linear(Downsample(4), -1.0)
