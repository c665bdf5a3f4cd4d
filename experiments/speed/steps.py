"""A training step through Lightning against the same step in a bare loop, and diffusers' loop."""

import copy
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import Callback
from pairs import Row, compare, summarized
from peers import their_unet
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from restore.config.compose import composed
from restore.precision import settle
from restore.task.adversarial import AdversarialTask
from restore.training import run
from restore.types import Batch

UPDATES = 30
WARM_UP = 5
EXPERIMENTS = {
    "diffusion": ("ddpm_digits", "data.batch_size=64"),
    "inpainting GAN": ("inpaint_photos",),
    "colorization GAN": ("colorize_photos",),
    "denoising GAN": ("denoise_photos",),
    "inpainting regression": ("inpaint_photos_regression",),
}


def rows(turns: int) -> Iterator[Row]:
    for name, (experiment, *overrides) in EXPERIMENTS.items():
        settings = [
            f"experiment={experiment}",
            f"max_updates={UPDATES}",
            "benchmark=[]",
            f"trainer.val_check_interval={10 * UPDATES}",
            *overrides,
        ]
        pairs = [(lightning(settings), bare(settings)) for _ in range(turns)]
        row = summarized("training step", name, "the same task in a bare loop", pairs)
        yield replace(row, gflop=gflop(settings))
    yield diffusers_step(turns, torch.float32)
    yield diffusers_step(turns, torch.bfloat16)


class Clock(Callback):
    """When the last batch of the warm-up ended, and when the last of all."""

    def __init__(self, updates: int = UPDATES) -> None:
        self.updates, self.count = updates, 0
        self.ends: list[float] = []

    def tick(self) -> bool:
        """Counts a batch; whether it was the last."""
        self.count += 1
        if self.count in (WARM_UP, self.updates):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.ends.append(time.perf_counter())
        return self.count >= self.updates

    def on_train_batch_end(self, *_: Any) -> None:
        self.tick()

    @property
    def seconds(self) -> float:
        """Of an update."""
        return (self.ends[1] - self.ends[0]) / (self.updates - WARM_UP)


def _prepared(settings: list[str], clock: Clock, folder: str) -> run.Run:
    config = composed("train", settings)
    return run.prepare(config, Path(folder), "speed", settings, {"clock": clock})


def lightning(settings: list[str], updates: int = UPDATES) -> float:
    """Seconds of an update, EMA, logging and progress included; validation is not."""
    clock = Clock(updates)
    with tempfile.TemporaryDirectory() as folder:
        made = _prepared(settings, clock, folder)
        made.trainer.fit(made.task, datamodule=made.data)
    return clock.seconds


def bare(settings: list[str], device: str = "cpu", updates: int = UPDATES) -> float:
    """Seconds of an update of the same task: loader, losses, clipping, optimizer, EMA; no more."""
    with tempfile.TemporaryDirectory() as folder:
        made = _prepared(settings, Clock(), folder)
    task, data = made.task.train().to(device), made.data
    if "channels_last" in made.config["callback"]:
        task.to(memory_format=torch.channels_last)
    optimizers = task.configure_optimizers()
    optimizers = optimizers[0] if isinstance(optimizers, tuple) else [optimizers]
    average, clock = copy.deepcopy(task.network), Clock(updates)
    low = made.config["trainer"]["precision"].startswith("bf16")
    loader = data.train_dataloader()  # its workers outlive an epoch
    while True:
        for raw in loader:
            batch = data.to_batch(move_data_to_device(raw, torch.device(device)))
            with torch.autocast(device, torch.bfloat16, enabled=low):
                _update(task, batch, optimizers)
            with torch.no_grad():
                old, new = list(average.parameters()), list(task.network.parameters())
                torch._foreach_lerp_(old, [one.detach() for one in new], 1e-3)
            if clock.tick():
                return clock.seconds


def gflop(settings: list[str]) -> float:
    """Billions of operations of an update, forwards and backwards, as its layers say."""
    with tempfile.TemporaryDirectory() as folder:
        made = _prepared(settings, Clock(), folder)
    task = made.task.train()
    batch = made.data.to_batch(next(iter(made.data.train_dataloader())))
    optimizers = task.configure_optimizers()
    optimizers = optimizers[0] if isinstance(optimizers, tuple) else [optimizers]
    with FlopCounterMode(display=False) as counter:
        _update(task, batch, optimizers)
    return float(counter.get_total_flops()) / 1e9


def _update(task: Any, batch: Batch, optimizers: list[torch.optim.Optimizer]) -> None:
    if not isinstance(task, AdversarialTask) or task.adversary is None:
        _descend(sum(task.losses(batch, 0).values()), task.network, optimizers[0], task.clip_norm)
        return
    stages, hole = task.predict(batch), batch.get("hole")
    fake, real, seen = task.judged(stages, batch), task.truth(batch), task.condition(batch)
    second, random = task.adversary, task._stream(batch, 0)
    terms = task.content_terms(stages, real, hole)
    terms |= second.generator_terms(fake, real, seen, *random)
    _descend(sum(terms.values()), task.network, optimizers[0], task.clip_norm)
    terms = second.discriminator_terms(fake, real, seen, hole, *task._stream(batch, 1), turn=1)
    _descend(sum(terms.values()), second.network, optimizers[1], task.clip_norm)


def _descend(loss: Any, network: Any, optimizer: torch.optim.Optimizer, clip: float | None) -> None:
    loss.backward()
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad()


def diffusers_step(turns: int, dtype: torch.dtype) -> Row:
    """Our UNet under our loss against UNet2DModel under the loop of diffusers' documentation.

    About 6.5 million parameters each, images of 32 px in batches of 64. dtype: of diffusers'; ours
    is what trainer.precision=auto takes on this machine.
    """
    from diffusers import DDPMScheduler

    from restore.network.unet import UNet

    bf16 = settle(composed("train", []))[0]["trainer"]["precision"] == "bf16-mixed"
    ours = UNet(3, 3, width=64, multipliers=(1, 2, 2), num_blocks=2, attention=(4,))
    theirs = their_unet()
    ours.to(memory_format=torch.channels_last)
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    images = torch.rand(64, 3, 32, 32) * 2 - 1
    first = torch.optim.AdamW(ours.parameters(), 1e-4, fused=True)
    second = torch.optim.AdamW(theirs.parameters(), 1e-4)

    def step() -> None:
        t, noise = torch.rand(64), torch.randn_like(images)
        x = images * (1 - t[:, None, None, None]) + noise * t[:, None, None, None]
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = (ours(x, t) - noise).square().mean()
        _descend(loss, ours, first, 1.0)

    def documented() -> None:
        t, noise = torch.randint(0, 1000, (64,)), torch.randn_like(images)
        x = scheduler.add_noise(images, noise, t)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            predicted: Tensor = theirs(x, t, return_dict=False)[0]
            loss = torch.nn.functional.mse_loss(predicted, noise)
        _descend(loss, theirs, second, 1.0)

    name = f"DDPM, 32 px, batch 64, {'bf16' if bf16 else 'fp32'}"
    peer = f"diffusers' loop, {'fp32' if dtype == torch.float32 else 'bf16'}"
    with FlopCounterMode(display=False) as counter:
        step()
    row = compare("training step", name, peer, step, documented, turns=turns)
    return replace(row, gflop=counter.get_total_flops() / 1e9)
