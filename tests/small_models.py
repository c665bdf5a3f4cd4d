"""Checkpoints of tiny untrained models, one for each task, written as a training writes them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from restore import checkpoint
from restore.build import build
from restore.types import Facts

PIXELS = {"pixels": {"_target_": "restore.loss.content.Pixels", "weight": 1.0, "distance": "l1"}}


def part(target: str, **settings: Any) -> dict[str, Any]:
    return {"_target_": target, "_partial_": True, **settings}


def task(kind: str, network: dict[str, Any], **settings: Any) -> dict[str, Any]:
    optimizer = part("torch.optim.Adam", lr=0.001)
    return {"_target_": kind, "network": network, "optimizer": optimizer, **settings}


RESIDUAL = {"widths": [4, 4], "num_blocks": 1}
DENOISER = task(
    "restore.task.denoising.Denoiser",
    part("restore.network.bias_free.BiasFreeUNet", **RESIDUAL),
    loss=PIXELS,
)
BLIND = task(
    "restore.task.denoising.Denoiser",
    part("restore.network.bias_free.BiasFreeUNet", noise_map=False, **RESIDUAL),
    loss=PIXELS,
)
INPAINTER = task(
    "restore.task.inpainting.InpaintingGAN",
    part("restore.network.inpainting_unet.InpaintingUNet", **RESIDUAL),
    loss=PIXELS,
)
COLORIZER = task(
    "restore.task.colorization.Colorizer",
    part("restore.network.colorization.ColorizationUNet", widths=[4, 4, 4]),
    loss=PIXELS,
)
PRIOR = task(
    "restore.task.diffusion.Diffusion",
    part("restore.network.unet.UNet", width=4, multipliers=[1, 1, 1], num_blocks=1, attention=[]),
    schedule={"_target_": "restore.diffusion.schedule.Cosine"},
    sampler={
        "_target_": "restore.diffusion.repaint.RePaint",
        "num_steps": 4,
        "jump_length": 2,
        "jump_count": 2,
    },
)
SKETCHER = {
    **PRIOR,
    "sampler": {
        "_target_": "restore.diffusion.sampler.Sampling",
        "num_steps": 4,
        "method": part("restore.diffusion.sampler.ddim"),
    },
}
CONDITIONAL = {**SKETCHER, "condition": {"_target_": "restore.diffusion.condition.Condition"}}
MODELS = {  # config, channels of input and of image
    "denoiser": (DENOISER, 3, 3),
    "grey_denoiser": (DENOISER, 1, 1),
    "blind": (BLIND, 3, 3),
    "inpainter": (INPAINTER, 3, 3),
    "grey_inpainter": (INPAINTER, 1, 1),
    "colorizer": (COLORIZER, 1, 3),
    "prior": (PRIOR, 3, 3),
    "grey_prior": (PRIOR, 1, 1),
    "sketcher": (SKETCHER, 3, 3),
    "filler": (CONDITIONAL, 3, 3),
    "painter": (CONDITIONAL, 1, 3),
    "cleaner": (CONDITIONAL, 3, 3),
}


def write_run(
    node: dict[str, Any], folder: Path, facts: Facts, name: str = "own", std: float = 0.2
) -> Path:
    """A run folder with the best checkpoint of a task; weights are random, but no zeros."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = build(node, "task", facts=facts)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=std)
    content = {
        "experiment": name,
        "config": {"task": node, "seed": 0, "data": {"batch_size": 1}},
        "facts": asdict(facts),
        "state_dict": made.state_dict(),
        "progress": {"updates": 1, "batches": 1},
    }
    checkpoint.write(content, folder / name / "checkpoints" / "best.ckpt")
    return folder / name


def write_model(name: str, folder: Path) -> Path:
    """A run folder of one of MODELS."""
    node, inputs, channels = MODELS[name]
    facts = Facts(channels, inputs, None, None, has_hole=name == "filler")
    return write_run(node, folder, facts, name, std=0.1)
