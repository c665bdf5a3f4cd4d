"""One prior that was never trained on a degradation restores them all, by what is known of each."""

from collections.abc import Callable
from functools import partial
from typing import cast

import pytest
import torch
from torch import Tensor

from restore.degradation.blur import GaussianBlur
from restore.degradation.contract import Degradation
from restore.degradation.gray import Gray
from restore.degradation.linear import Linear
from restore.degradation.mask import Box, Mask
from restore.degradation.noise import Gaussian, Speckle
from restore.degradation.operator import Downsample, Luminance
from restore.degradation.product import Product
from restore.diffusion.guidance import Guidance
from restore.diffusion.likelihood import DPS, PiGDM
from restore.diffusion.null_space import NullSpace
from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling, ddim
from restore.diffusion.schedule import Cosine
from restore.diffusion.walk import Step
from restore.network.unet import UNet
from restore.stream import Stream, fold
from restore.task.diffusion import Diffusion
from restore.task.key import Key
from restore.task.seen import pad
from restore.types import Batch, Facts, InputError, Observation

DEGRADATIONS: dict[str, Degradation] = {
    "mask": Mask(Box(size=5)),
    "gray": Gray(),
    "sr4": Linear(Downsample(4)),
    "sr2 box": Linear(Downsample(2, "box")),
    "blur": Linear(GaussianBlur(1.0)),
    "gray sr2": Linear(Product([Luminance(), Downsample(2)])),
}
NOISY: dict[str, Degradation] = {
    "sigma50": Gaussian(50.0),
    "noisy blur": Linear(GaussianBlur(1.0), 2.55),
}
REPAINT = RePaint(num_steps=4, jump_length=2, jump_count=2)
DDIM = Sampling(num_steps=4, method=partial(ddim, eta=0.0))


def prior(
    guidance: Guidance | None, sampler: Sampling | RePaint = DDIM, channels: int = 3
) -> Diffusion:
    torch.manual_seed(0)
    network: Callable[..., UNet] = partial(
        UNet, width=4, multipliers=(1, 2), num_blocks=1, attention=(), head_size=4
    )
    facts = Facts(channels, channels, image_size=16, num_classes=None)
    task = Diffusion(
        facts=facts, network=network, schedule=Cosine(), sampler=sampler, guidance=guidance,
        optimizer=partial(torch.optim.SGD, lr=0.1),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return task.eval()


def observed(degradation: Degradation, side: int = 16) -> Batch:
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(2, 3, side, side, generator=generator) * 0.6 - 0.3
    made = degradation(target, torch.arange(2))
    return cast(Batch, {**made, "index": torch.arange(2), "name": ["a", "b"]})


def measured(batch: Batch, image: Tensor) -> tuple[Tensor, Tensor]:
    """y, and A of an image."""
    if "operator" not in batch:
        known = 1 - batch["hole"]
        return batch["input"] * known, image * known
    operator = batch["operator"]
    return operator.measured(batch["input"]), operator.forward(image)


@pytest.mark.parametrize("sampler", [DDIM, REPAINT], ids=["ddim", "repaint"])
@pytest.mark.parametrize("degradation", DEGRADATIONS.values(), ids=DEGRADATIONS.keys())
def test_what_was_measured_is_measured_again(
    degradation: Degradation, sampler: Sampling | RePaint
) -> None:
    """Of lightness most: colours that sRGB does not have are clipped."""
    batch, task = observed(degradation), prior(NullSpace(), sampler)
    with torch.inference_mode():
        restored = task.restore(batch, 2)
    assert restored.shape == (2, 2, 3, 16, 16)
    assert not torch.equal(restored[:, 0], restored[:, 1])
    y, again = measured(batch, restored[:, 1])
    assert (y - again).abs().quantile(0.9) < (0.05 if isinstance(degradation, Gray) else 1e-3)


@pytest.mark.parametrize("degradation", NOISY.values(), ids=NOISY.keys())
def test_noise_is_not_measured_again(degradation: Degradation) -> None:
    batch = observed(degradation)
    restored = prior(NullSpace()).restore(batch)[:, 0]
    operator = batch.get("operator")
    again = restored if operator is None else operator.forward(restored)
    residual, sigma = (again - batch["input"]).std(), batch["sigma"][0]
    assert 0.3 * sigma < residual < 30 * sigma


@pytest.mark.parametrize("name", ["mask", "sr4", "blur", "gray", "gray sr2"])
@pytest.mark.parametrize("guidance", [NullSpace(), DPS(), PiGDM()], ids=lambda one: one.name)
def test_every_guidance_starts_from_what_is_left(guidance: Guidance, name: str) -> None:
    batch = observed(DEGRADATIONS[name])
    if isinstance(guidance, PiGDM) and name == "gray":
        with pytest.raises(InputError, match="linear"):
            prior(guidance).check_observation(batch)
        return
    task = prior(guidance)
    with torch.inference_mode():
        restored = task.restore(batch, start=0.5)
    assert restored.shape == (2, 1, 3, 16, 16) and restored.isfinite().all()


def test_a_start_and_a_strength_of_0_are_the_image_of_least_colour_that_was_measured() -> None:
    """A+ y = w y / |w|^2 of one weighted sum w: the input, of one channel, is no image of three."""
    batch, task, steps = observed(Linear(Luminance())), prior(NullSpace()), list[Step]()
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    image = weights * batch["input"] / weights.square().sum()
    kept = task.restore(batch, start=0.5, strength_map=torch.zeros(2, 1, 16, 16))[:, 0]
    torch.testing.assert_close(kept, image)
    task.restore(batch, start=0.5, callback=steps.append)
    noise = Stream(fold(torch.arange(2), 0, Key.SAMPLING, torch.zeros(2, dtype=torch.int64)))
    alpha, sigma = (float(level) for level in Cosine()(torch.tensor(0.5).double()))
    torch.testing.assert_close(steps[0].x, alpha * image + sigma * noise.normal(3, 16, 16))


def test_what_nobody_knows_is_refused_before_work() -> None:
    for degradation in (Speckle(0.1), Linear(Downsample(2), blind=True)):
        with pytest.raises(InputError, match="guidance=null_space must know"):
            prior(NullSpace()).check_observation(observed(degradation))
    with pytest.raises(InputError, match="guidance=null_space"):
        prior(None).check_observation(observed(Gray()))
    with pytest.raises(InputError, match="multiples of 2 px"):
        prior(NullSpace()).restore(observed(Linear(GaussianBlur(1.0)), side=15))
    assert prior(NullSpace()).restore(observed(Gray(), side=15)).shape[-1] == 15


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_prior_of_grey_images_leads_to_no_colours(name: str) -> None:
    """By broadcasting it would make three equal channels, which a benchmark takes as colours."""
    task = prior(NullSpace(), channels=1)
    with pytest.raises(InputError, match="channels"):
        task.check_observation(observed(DEGRADATIONS[name]))


def test_a_single_step_is_refused_where_only_the_next_would_be_led() -> None:
    """Its result would be what the prior draws of nothing, or makes of the noised input."""
    batch, one = observed(DEGRADATIONS["sr4"]), Sampling(num_steps=1, method=ddim)
    for task, start in ((prior(DPS(), one), None), (prior(DPS()), 0.25)):
        with pytest.raises(InputError, match=r"dps .*one step has none: raise sampler\.num_steps"):
            task.calls_from(start)
        for use in (task.check_observation, task.restore):
            with pytest.raises(InputError, match="one step has none"):
                use(batch, start=start)
    assert prior(DPS()).calls_from(0.5) == 2 and prior(PiGDM(), one).calls_from(None) == 1


@pytest.mark.parametrize("size", [(8, 10), (10, 8), (10, 10)])
def test_no_side_grows_where_an_operator_mixes_pixels(size: tuple[int, int]) -> None:
    """It would not have seen the mirrored pixels; one that looks at each alone does not mind."""
    image = torch.zeros(1, 3, *size)
    seen = Observation(input=image, index=torch.arange(1), name=[""])
    with pytest.raises(InputError, match=f"got {size[0]} x {size[1]}"):
        pad({**seen, "operator": GaussianBlur(1.0)}, 4)
    grown = pad({**seen, "operator": Luminance()}, 4)["input"]
    assert [side % 4 for side in grown.shape[-2:]] == [0, 0]
