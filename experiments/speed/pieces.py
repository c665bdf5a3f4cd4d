"""Sampling, degradations and metrics against the libraries that users know."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from pairs import Row, compare
from peers import their_unet

from restore.degradation.large_mask import Irregular
from restore.degradation.mask import Strokes
from restore.degradation.noise import Gaussian
from restore.degradation.poisson import Poisson
from restore.diffusion.parameterization import Predictor
from restore.diffusion.repaint import RePaint
from restore.diffusion.schedule import LinearBeta
from restore.metric.base import measure_all
from restore.metric.psnr import PSNR
from restore.metric.ssim import SSIM
from restore.network.unet import UNet
from restore.precision import EXACT, MIXED, choose
from restore.stream import Stream
from restore.types import Batch, Observation

SIDE = 256
COUNT = 16  # photos of a batch


def rows(turns: int) -> Iterator[Row]:
    yield repaint(turns, EXACT)
    if choose("cpu")[0] == MIXED:
        yield repaint(turns, MIXED)
    yield from degradations(turns)
    yield metrics(turns)


def repaint(turns: int, precision: str) -> Row:
    """A call of RePaint against diffusers' pipeline as documented: 8 images of 32 px.

    precision: of ours; what `restore predict` computes in where the machine has bfloat16 units.
    """
    from diffusers import RePaintScheduler

    ours = UNet(3, 3, width=64, multipliers=(1, 2, 2), num_blocks=2, attention=(4,)).eval()
    ours.to(memory_format=torch.channels_last)
    theirs = their_unet().eval()
    image, hole = torch.rand(8, 3, 32, 32) * 2 - 1, torch.zeros(8, 1, 32, 32)
    hole[..., 16:] = 1
    seen = Observation(input=image, hole=hole, index=torch.arange(8), name=[""] * 8)
    predictor = Predictor(ours, "eps", LinearBeta())
    sampler = RePaint(6, 2, 2)
    calls = sampler.num_calls(LinearBeta())
    scheduler = RePaintScheduler()
    scheduler.set_timesteps(6, 2, 2)

    @torch.inference_mode()
    def restore() -> None:
        given = predictor, torch.randn(8, 3, 32, 32), LinearBeta(), Stream(seen["index"])
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == MIXED):
            sampler(*given, observation=seen)

    @torch.inference_mode()
    def pipeline() -> None:
        x, last = torch.randn(8, 3, 32, 32), scheduler.timesteps[0] + 1
        for t in scheduler.timesteps:
            if t < last:
                x = scheduler.step(theirs(x, t).sample, t, x, image, 1 - hole).prev_sample
            else:
                x = scheduler.undo_step(x, last)
            last = t

    steps = int((scheduler.timesteps.diff() < 0).sum()) + 1
    name = "RePaint, a call, 8 images of 32 px" + (", bf16" if precision == MIXED else "")
    row = compare("sampling", name, "diffusers", restore, pipeline, turns=turns)
    return Row(
        row.group, row.name, row.peer, row.ours / calls, row.theirs / steps, row.spread, turns
    )


def degradations(turns: int) -> Iterator[Row]:
    """Of 16 photos of 256 px; the peers do one photo after the other, as a data worker would."""
    seeds, target = torch.arange(COUNT), torch.rand(COUNT, 3, SIDE, SIDE) * 2 - 1
    pixels = target.numpy()
    generator = np.random.default_rng(0)

    def drawn() -> None:
        for _ in range(COUNT):
            mask = np.zeros((SIDE, SIDE), np.float32)
            for _ in range(generator.integers(1, 5)):
                width = int(generator.integers(12, 40))
                x, y = generator.integers(0, SIDE, 2)
                for _ in range(generator.integers(4, 12)):
                    dx, dy = generator.integers(-90, 91, 2)
                    cv2.line(mask, (int(x), int(y)), (int(x + dx), int(y + dy)), 1.0, width)
                    x, y = x + dx, y + dy

    def poisson() -> None:
        for one in pixels:
            generator.poisson((one + 1) / 2 * 30) / 30

    def gaussian() -> None:
        for one in pixels:
            one + generator.normal(0, 0.2, one.shape)

    shapes = {
        "strokes (DeepFill)": Strokes(),
        "irregular (LaMa)": Irregular(
            min_strokes=1,
            max_strokes=5,
            min_length=0.04,
            max_length=0.4,
            min_width=0.04,
            max_width=0.2,
        ),
    }
    for name, shape in shapes.items():
        draw = lambda shape=shape: shape(seeds, SIDE, SIDE)  # noqa: E731
        yield compare("degradation", f"masks, {name}", "OpenCV lines", draw, drawn, turns=turns)
    for name, degrade, peer in (
        ("Poisson, peak 30", Poisson(30.0), poisson),
        ("Gaussian", Gaussian(25.0), gaussian),
    ):
        work = lambda degrade=degrade: degrade(target, seeds)  # noqa: E731
        yield compare("degradation", name, "NumPy", work, peer, turns=turns)


def metrics(turns: int) -> Row:
    """PSNR and SSIM of a photo of CBSD68's size, at equal results."""
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    target = (torch.rand(1, 3, 321, 481) * 255).round() / 255
    made = (target + 0.1 * torch.randn_like(target)).clamp(0, 1)
    made = (made * 255).round() / 255
    batch = Batch(input=target, target=target, index=torch.zeros(1).long(), name=[""])
    both = [PSNR(), SSIM()]

    def ours() -> None:
        measure_all(both, made[:, None], target, batch)

    def theirs() -> None:
        peak_signal_noise_ratio(made, target, data_range=1.0)
        structural_similarity_index_measure(made, target, data_range=1.0)

    return compare("metric", "PSNR and SSIM of a photo", "torchmetrics", ours, theirs, turns=turns)
