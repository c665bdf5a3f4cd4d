"""Editing by strength: for the whole image, and pixel by pixel."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from restore.diffusion.editing import keep_below
from restore.diffusion.likelihood import DPS
from restore.diffusion.parameterization import Prediction
from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling, ddim, ddpm, dpm_solver_pp_2m, heun
from restore.diffusion.schedule import Cosine
from restore.diffusion.walk import Step, times_from
from restore.network.unet import UNet
from restore.stream import Stream, fold
from restore.task.diffusion import Diffusion
from restore.task.key import Key
from restore.types import Facts, InputError, Observation

SAMPLERS: dict[str, Sampling | RePaint] = {
    "ddim": Sampling(partial(ddim), 10),
    "ddpm": Sampling(partial(ddpm), 10),
    "dpm_solver": Sampling(partial(dpm_solver_pp_2m), 10),
    "heun": Sampling(partial(heun), 10),
    "repaint": RePaint(10, 2, 2),
}
samplers = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())


def prior(sampler: Sampling | RePaint, **settings: Any) -> Diffusion:
    torch.manual_seed(0)
    network: Callable[..., UNet] = partial(
        UNet, width=4, multipliers=(1, 2), num_blocks=1, attention=(), head_size=4
    )
    facts = Facts(image_channels=1, input_channels=1, image_size=8, num_classes=None)
    task = Diffusion(
        facts, network, Cosine(), sampler, optimizer=partial(torch.optim.SGD, lr=0.1), **settings
    )
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return task.eval()


def observed(height: int = 8, width: int = 8) -> Observation:
    image = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Observation(input=image, index=torch.arange(2), name=["a", "b"])


@samplers
def test_0_keeps_every_bit_and_1_is_the_plain_start(sampler: Sampling | RePaint) -> None:
    task, seen = prior(sampler), observed()
    size = (2, 1, 8, 8)
    kept = task.restore(seen, 2, start=0.7, strength_map=torch.zeros(size))
    assert torch.equal(kept, seen["input"][:, None].expand_as(kept))
    plain = task.restore(seen, 2, start=0.7)
    assert torch.equal(task.restore(seen, 2, start=0.7, strength_map=torch.ones(size)), plain)
    assert (plain != kept).all()


@pytest.mark.parametrize(("start", "time"), [(0.3, 0.3), (0.38, 0.3), (0.7, 0.7), (1.0, 1.0)])
def test_a_start_is_the_image_under_the_noise_of_its_time(start: float, time: float) -> None:
    """Drawn by the image's number, the seed and the number of the sample alone. Between two times
    of the sampler it is the later one that counts, for the noise, too."""
    task, seen, steps = prior(SAMPLERS["ddim"]), observed(), list[Step]()
    task.restore(seen, 2, start=start, seed=5, callback=steps.append)
    index, draw = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    noise = Stream(fold(index, 5, Key.SAMPLING, draw)).normal(1, 8, 8)
    alpha, sigma = (float(level) for level in Cosine()(torch.tensor(time).double()))
    assert steps[0].t == pytest.approx(time)
    image = seen["input"].repeat_interleave(2, 0)
    torch.testing.assert_close(steps[0].x, alpha * image + sigma * noise)


def test_a_seed_of_0_is_a_seed() -> None:
    own, none = prior(SAMPLERS["ddim"], seed=3), prior(SAMPLERS["ddim"], seed=0)
    expected = none.restore(observed(), start=0.7)
    assert torch.equal(own.restore(observed(), start=0.7, seed=0), expected)
    assert not torch.equal(own.restore(observed(), start=0.7), expected)


def test_half_of_a_strength_of_06_is_a_strength_of_03() -> None:
    """Until its time comes, a deterministic sampler carries the image under its own noise."""
    task, seen = prior(SAMPLERS["ddim"]), observed()
    made = task.restore(seen, 2, start=0.6, strength_map=torch.full((2, 1, 8, 8), 0.5))
    steps = list[Step]()
    task.restore(seen, 2, start=0.3, callback=steps.append)
    torch.testing.assert_close(steps[0].t, 0.3)
    torch.testing.assert_close(made, task.restore(seen, 2, start=0.3), atol=2e-4, rtol=0)


def test_every_image_of_a_batch_has_its_own_strength() -> None:
    task, seen = prior(SAMPLERS["ddim"]), observed()
    strength = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    made = task.restore(seen, 3, start=0.7, strength_map=strength)
    assert torch.equal(made[0], seen["input"][:1].expand(3, 1, 8, 8))
    assert (made[1] != seen["input"][1]).all()


@samplers
def test_black_is_kept_and_the_rest_drawn(sampler: Sampling | RePaint) -> None:
    task, seen = prior(sampler), observed(7, 9)  # padded for the network
    strength = torch.zeros(2, 1, 7, 9)
    strength[..., 4:] = torch.linspace(0.3, 1, 5)
    steps = list[Step]()
    made = task.restore(seen, strength_map=strength, callback=steps.append)[:, 0]
    assert torch.equal(made[..., :4], seen["input"][..., :4])
    assert {one.x.shape for one in steps} == {one.x0.shape for one in steps} == {made.shape}
    assert (made[..., 4:] != seen["input"][..., 4:]).all()


def test_a_pixel_joins_when_the_noise_has_fallen_to_its_strength() -> None:
    """Until then a deterministic sampler carries the image under its own noise: by hand."""
    schedule, times = Cosine(), Cosine().times(10)
    image = torch.tensor([0.5, -0.25]).double().view(1, 1, 1, 2)
    strength = torch.tensor([0.35, 1.0]).view(1, 1, 1, 2)
    seen: dict[float, Tensor] = {}

    def nothing(x: Tensor, t: Tensor) -> Prediction:
        seen[round(float(t), 3)] = x
        return Prediction(torch.zeros_like(x), shift=torch.ones_like(x))  # a guidance pulls

    stream = Stream(torch.arange(1))
    noise = stream.normal(1, 1, 2).double()
    alpha, sigma = schedule(times[0])
    ddim(
        keep_below(nothing, image, strength), alpha * image + sigma * noise, schedule, times, stream
    )
    assert len(seen) == 10
    for t, x in seen.items():
        alpha, sigma = schedule(torch.tensor(t, dtype=torch.float64))
        noised = alpha * image + sigma * noise
        # at 0.3, the first time below 0.35, the sampler still brings what 0.4 has made of it
        assert torch.allclose(x[..., 0], noised[..., 0], atol=1e-3) == (t >= 0.3)
        assert torch.allclose(x[..., 1], noised[..., 1], atol=1e-3) == (t == 1.0)


def test_a_guidance_moves_no_pixel_that_is_kept() -> None:
    task, seen = prior(SAMPLERS["ddim"], guidance=DPS(10.0)), observed()
    seen["sigma"] = torch.full((2,), 0.1)
    strength = torch.zeros(2, 1, 8, 8)
    strength[..., 4:] = 0.5
    steps = list[Step]()
    made = task.restore(seen, strength_map=strength, callback=steps.append)[:, 0]
    assert torch.equal(made[..., :4], seen["input"][..., :4])
    assert {one.x.shape for one in steps} == {one.x0.shape for one in steps} == {made.shape}


def test_calls_of_a_start_are_those_that_are_made() -> None:
    for sampler in SAMPLERS.values():
        task, seen = prior(sampler), observed()
        made: list[int] = []
        inner = task.network.forward

        def counted(*args: Tensor, inner: Any = inner, made: Any = made) -> Tensor:
            made.append(1)
            result: Tensor = inner(*args)
            return result

        task.network.forward = counted
        for start in (0.35, 0.8):
            made.clear()
            task.restore(seen, start=start)
            assert task.calls_from(start) == len(made)
        assert task.calls_from(None) == task.num_calls


@pytest.mark.parametrize(
    ("strength", "words"),
    [
        (torch.ones(2, 1, 8, 7), "shape"),
        (torch.full((2, 1, 8, 8), 1.5), r"\[0, 1\]"),
        (torch.full((2, 1, 8, 8), float("nan")), r"\[0, 1\]"),
    ],
)
def test_other_maps_are_refused(strength: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        prior(SAMPLERS["ddim"]).restore(observed(), strength_map=strength)


@pytest.mark.parametrize("steps", [10, 20, 50, 100, 250])
def test_a_start_on_the_grid_takes_its_step(steps: int) -> None:
    """0.3 lies on the grid of 20 steps, whose 0.3 is a little more in floating point."""
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    for number in range(1, steps):
        left = times_from(times, round(number / steps, 6))
        assert len(left) == number + 1, number / steps
