"""What a GPU does with the same steps: through Lightning, compiled, channels last, and replayed.

The first rows read the embedded photos by eight workers. The variants have their images on the GPU.
"""

from collections.abc import Iterator
from dataclasses import replace

import steps
import torch
from pairs import Row, compare, summarized
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from restore.network.graphed import Graphed
from restore.network.unet import UNet

UPDATES = 60
SIDE = 8192
EXPERIMENTS = {  # the batch, the experiment and what else is set
    "flowers' UNet": (128, "ddpm_flowers", "data=photos", "task.val_images=0"),
    "inpainting GAN": (64, "inpaint_photos"),
    "colorization GAN": (64, "colorize_photos"),
    "denoising regression": (64, "denoise_any", "data=photos"),
}


def rows(turns: int) -> Iterator[Row]:
    """Nothing where there is no GPU."""
    if not torch.cuda.is_available():
        return
    yield peak(turns)
    for count in (8, 64):
        yield sampled(turns, count)
    yield from variants(turns)
    for name, (batch, *_) in EXPERIMENTS.items():
        yield from trained(f"{name}, batch {batch}", _settings(name), max(1, turns // 3))
    yield compiled(max(1, turns // 3))


def _settings(name: str) -> list[str]:
    batch, experiment, *overrides = EXPERIMENTS[name]
    return [
        f"experiment={experiment}",
        f"max_updates={UPDATES}",
        "benchmark=[]",
        "trainer=gpu",
        f"trainer.val_check_interval={10 * UPDATES}",
        "data.num_workers=8",
        f"data.batch_size={batch}",
        f"data.train_repeat={4 * batch}",  # all updates are of one epoch
        *overrides,
    ]


def peak(turns: int) -> Row:
    """A matrix product in bfloat16 and in float32 as torch computes it by default."""
    exact = torch.rand(2, SIDE, SIDE, device="cuda")
    low = exact.bfloat16()
    row = compare(
        *("GPU peak", f"matrix product of {SIDE}, bf16", "fp32"),
        *(lambda: _done(low[0] @ low[1]), lambda: _done(exact[0] @ exact[1])),
        turns=turns,
    )
    return replace(row, gflop=2 * SIDE**3 / 1e9)


def trained(name: str, settings: list[str], turns: int) -> Iterator[Row]:
    """The step through Lightning and in a bare loop, and the bytes at the peak of each."""
    pairs, peaks = [], []
    for _ in range(turns):
        torch.cuda.reset_peak_memory_stats()
        ours = steps.lightning(settings, UPDATES)
        first = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        pairs.append((ours, steps.bare(settings, "cuda", UPDATES)))
        peaks.append((first / 2**20, torch.cuda.max_memory_allocated() / 2**20))
    peer = "the same task in a bare loop"
    row = summarized("GPU training", name, peer, pairs)
    yield replace(row, gflop=steps.gflop(settings))
    memory = summarized("GPU memory", name, peer, peaks)
    yield replace(memory, unit="MiB")


def compiled(turns: int) -> Row:
    """The step through Lightning under callback=compiled, but for its first, which compiles."""
    name = "flowers' UNet"
    settings = _settings(name)
    pairs = []
    for _ in range(turns):
        ours = steps.lightning([*settings, "callback=compiled"], UPDATES)
        pairs.append((ours, steps.lightning(settings, UPDATES)))
    row = summarized("GPU training", f"{name}, callback=compiled", "callback=default", pairs)
    return replace(row, gflop=steps.gflop(settings))


def variants(turns: int) -> Iterator[Row]:
    """A step of the flowers' UNet: compiled, and with channels last, against neither."""
    x, t = torch.randn(128, 3, 64, 64, device="cuda"), torch.rand(128, device="cuda")
    plain, last = _unet(), _unet().to(memory_format=torch.channels_last)
    compiled = torch.compile(_unet())

    def step(network: torch.nn.Module) -> object:
        with torch.autocast("cuda", torch.bfloat16):
            loss = (network(x, t) - x).square().mean()
        loss.backward()
        network.zero_grad()
        return _done(loss)

    with FlopCounterMode(display=False) as counter:
        step(plain)
    for name, network in (("channels last", last), ("compiled", compiled)):
        for _ in range(3):
            step(network), step(plain)
        row = compare(
            *("GPU training", f"flowers' UNet, {name}", "eager, contiguous"),
            *(lambda network=network: step(network), lambda: step(plain)),
            turns=turns,
        )
        yield replace(row, gflop=counter.get_total_flops() / 1e9)


@torch.inference_mode()
def sampled(turns: int, count: int) -> Row:
    """A call of the flowers' UNet for `count` images, replayed against launched by kernels."""
    network = _unet().eval()
    graphed = Graphed(network)
    x, t = torch.randn(count, 3, 64, 64, device="cuda"), torch.rand(count, device="cuda")

    def call(made: object) -> object:
        with torch.autocast("cuda", torch.bfloat16):
            return _done(made(x, t))  # type: ignore[operator]

    for _ in range(3):
        call(graphed)
    return compare(
        *("GPU sampling", f"a call, {count} images of 64 px, replayed", "launched"),
        *(lambda: call(graphed), lambda: call(network)),
        turns=turns,
    )


def _unet() -> UNet:
    made = UNet(3, 3, width=32, multipliers=(1, 2, 4, 4), num_blocks=1, attention=(4, 8))
    return made.to("cuda")


def _done(made: Tensor) -> Tensor:
    torch.cuda.synchronize()
    return made
