"""A red square, a green one over it, and a hole where they meet: every inpainter fills it."""

from functools import partial
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from restore.degradation.mask import Box, Mask
from restore.diffusion.guidance import Guidance, Replacement
from restore.diffusion.likelihood import DPS, PiGDM
from restore.diffusion.null_space import NullSpace
from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling, ddim
from restore.diffusion.schedule import Cosine
from restore.evaluation.baseline import (
    Biharmonic,
    FrequencySelective,
    HoleFill,
    NavierStokes,
    PushPull,
    ShiftMap,
    Telea,
)
from restore.loss.content import Pixels
from restore.network.inpainting import InpaintingGenerator
from restore.network.inpainting_unet import InpaintingUNet
from restore.task.diffusion import Diffusion
from restore.task.inpainting import InpaintingGAN
from restore.types import Batch, Facts

FACTS = Facts(image_channels=3, input_channels=3, image_size=128, num_classes=None, has_hole=True)
SGD = partial(torch.optim.SGD, lr=0.1)
RED, GREEN, BLUE = 0, 1, 2


def squares(under: int = RED, over: int = GREEN, first: int = 50) -> Tensor:
    """[3, 128, 128] on black: one square at rows and columns 30 to 70, the other one over it."""
    image = torch.full((3, 128, 128), -1.0)
    image[:, 30:70, 30:70] = -1
    image[under, 30:70, 30:70] = 1
    image[:, first:90, first:90] = -1
    image[over, first:90, first:90] = 1
    return image


def toy() -> Batch:
    made = Mask(Box(size=30, position=[60, 60]))(squares()[None], torch.zeros(1, dtype=torch.int64))
    return cast(Batch, {**made, "index": torch.arange(1), "name": ["toy"]})


def known_is_kept(restored: Tensor, batch: Batch) -> bool:
    known = (batch["hole"] == 0).expand_as(restored)
    return torch.equal(restored[known], batch["target"][known]) and bool(restored.isfinite().all())


def error(restored: Tensor, batch: Batch) -> float:
    """Root mean square in the hole, where middle grey has 1."""
    hole = (batch["hole"] == 1).expand_as(restored)
    return float((restored - batch["target"])[hole].square().mean().sqrt())


@pytest.mark.parametrize(
    ("fill", "most", "blue"),
    [
        (Telea(), 0.9, 0.05),
        (NavierStokes(), 0.9, 0.05),
        (Biharmonic(), 0.9, 0.05),
        (PushPull(), 0.9, 0.05),
        (FrequencySelective(), 0.9, 0.3),  # its Fourier functions ring at edges
        (ShiftMap(), 1.1, 0.05),  # its patch is of the right colours, at another place
    ],
)
def test_classical_fills(fill: HoleFill, most: float, blue: float) -> None:
    """most: the error where middle grey has 1. blue: the most, where black has 0 and white 2."""
    batch = toy()
    restored = fill(batch)
    assert known_is_kept(restored, batch)
    assert error(restored, batch) < most
    assert restored[0, BLUE].max() < blue - 1
    assert restored.abs().max() < 1.3


@pytest.mark.parametrize(
    "network",
    [
        partial(InpaintingGenerator, width=4),
        partial(InpaintingUNet, widths=[4, 4], num_blocks=1),
    ],
)
def test_networks(network: Any) -> None:
    task, batch = InpaintingGAN(FACTS, network, {"l1": Pixels()}, optimizer=SGD), toy()
    assert known_is_kept(task.restore(batch)[:, 0], batch)


class Memory(nn.Module):
    """The exact x0 of data that are these pictures, equally often: no training could do better."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        colours = [(a, b) for a in range(3) for b in range(3) if a != b]
        images = [squares(a, b, first) for a, b in colours for first in (50, 55)]
        self.register_buffer("images", torch.stack(images))
        self.schedule = Cosine()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        images = cast(Tensor, self.images)
        alpha, sigma = (level.view(-1, 1) for level in self.schedule(t.double()))
        flat, known = x.double().flatten(1), images.double().flatten(1)
        # |x - alpha z|^2 without a tensor of all pairs of pixels
        distance = flat.square().sum(1, keepdim=True) - 2 * alpha * flat @ known.T
        distance = distance + alpha.square() * known.square().sum(1)
        share = (-distance / (2 * sigma.square())).softmax(dim=1)
        return (share @ known).view(x.shape).to(x.dtype)


DDIM = Sampling(num_steps=20, method=partial(ddim, eta=0.0))


@pytest.mark.parametrize(
    ("sampler", "guidance"),
    [
        (RePaint(20, 5, 2), None),
        (RePaint(20, 5, 2), NullSpace()),
        (DDIM, Replacement()),
        (DDIM, NullSpace()),
        (DDIM, PiGDM(sigma_data=1.0)),
        (DDIM, DPS(scale=30.0)),
    ],
    ids=["repaint", "time travel", "replacement", "null_space", "pigdm", "dps"],
)
def test_a_prior_that_knows_the_toy_finds_it(
    sampler: Sampling | RePaint, guidance: Guidance | None
) -> None:
    """Of twelve pictures one has these colours at these places."""
    batch = toy()
    task = Diffusion(
        FACTS, Memory, Cosine(), sampler, guidance, parameterization="x0", optimizer=SGD
    )
    with torch.inference_mode():
        restored = task.restore(batch, 2)
    for sample in restored.unbind(1):
        assert error(sample, batch) < 1e-3
        assert known_is_kept(sample, batch)
