"""A prior of network=unet as a pipeline of diffusers; `diffusers_autoencoder` has the others."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from restore import diffusers_folder
from restore.build import restored
from restore.diffusers_folder import CLASS, CONFIG, PREDICTIONS, VERSION, WEIGHTS
from restore.diffusion.schedule import Cosine, Discrete, LinearBeta
from restore.evaluation.method import Method, from_task, sampling_of
from restore.export import diffusers_autoencoder
from restore.folder import write_whole
from restore.network.unet import Level, MultiHeadAttention, UNet, Upsample
from restore.network.unet2d import ATTENDS, PLAIN
from restore.task.autoencoder import Autoencoder
from restore.task.diffusion import Diffusion
from restore.task.restoration import RestorationTask
from restore.types import InputError

FILES = ("model_index.json", "unet", "scheduler", CONFIG, WEIGHTS)
# Settings of a UNet2DModel that every network of ours has.
_FIXED = {"norm_eps": 1e-5, "downsample_padding": 1, "freq_shift": 0, "flip_sin_to_cos": False}


def write(task: RestorationTask, folder: Path) -> Path:
    """The folder that DDPMPipeline.from_pretrained reads; exact, up to rounding.

    Of an autoencoder that of AutoencoderKL.from_pretrained.

    Raises:
        InputError: another task, network, schedule or parameterization, a task with a codec or a
            condition, or a network of other group sizes or heads.
    """
    if isinstance(task, Autoencoder):
        return diffusers_autoencoder.write(task, folder)
    if not isinstance(task, Diffusion) or not isinstance(task.network, UNet):
        kind = type(task.network).__name__
        raise InputError(
            f"--format diffusers takes a prior of network=unet, not {kind}: choose another format"
        )
    _check_held(task)
    if not isinstance(task.schedule, Discrete):
        raise InputError(
            f"--format diffusers takes schedules of steps, not {type(task.schedule).__name__}"
        )
    config = settings(task)
    state = translated(task.network, len(task.schedule.betas))
    unet, scheduler = folder / "unet", folder / "scheduler"
    parts = {"scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", CLASS]}
    for path, said in (
        (unet / CONFIG, config),
        (scheduler / "scheduler_config.json", _scheduler(task, task.schedule)),
        (folder / FILES[0], {"_class_name": "DDPMPipeline", **parts}),
    ):
        path.parent.mkdir(exist_ok=True)
        write_whole(path, json.dumps(said, indent=2) + "\n")
    write_whole(unet / WEIGHTS, safetensors.torch.save(state, {"format": "pt"}))
    return folder


def _check_held(task: Diffusion) -> None:
    """Raises InputError for a task that is more than the network and scheduler of a pipeline."""
    for part in ("codec", "condition"):
        if getattr(task, part) is not None:
            raise InputError(f"--format diffusers holds no task.{part}: use --format bundle")
    held = ", ".join(PREDICTIONS.values())
    if task.parameterization not in PREDICTIONS.values():
        raise InputError(
            f"--format diffusers holds no task.parameterization={task.parameterization}, only "
            f"{held}: use --format bundle"
        )


def method(task: RestorationTask, path: Path, content: Mapping[str, Any]) -> Method:
    """What the folder does, read as one of others, with the model's own sampler and guidance."""
    read, own = diffusers_folder.read(path), content["config"]
    keys = ("sampler", "guidance", "seed", "given_label")
    taken = {key: own["task"][key] for key in keys if key in own["task"]}
    made = restored(read, taken)
    sampling = sampling_of(own["task"])
    return from_task(made, str(content["experiment"]), str(path), int(own["seed"]), sampling)


def settings(task: Diffusion) -> dict[str, Any]:
    """config.json of the UNet2DModel that is this network."""
    network = task.network
    assert isinstance(network, UNet)
    groups = {module.num_groups for module in network.modules() if isinstance(module, nn.GroupNorm)}
    if len(groups) != 1:
        raise InputError(
            f"--format diffusers: this network has groups of {sorted(groups)}, and UNet2DModel has "
            "one number of groups: train with a task.network.width that is a multiple of 32"
        )
    (number,) = groups
    widths, attends, blocks = _shape(network)
    return {
        "_class_name": CLASS,
        "_diffusers_version": VERSION,
        "sample_size": task.facts.image_size,
        "in_channels": network.conv_in.in_channels,
        "out_channels": network.conv_out.out_channels,
        "block_out_channels": widths,
        "layers_per_block": blocks,
        "down_block_types": [(ATTENDS if one else PLAIN)[0] for one in attends],
        "up_block_types": [(ATTENDS if one else PLAIN)[1] for one in reversed(attends)],
        "attention_head_dim": _head_size(network),
        "norm_num_groups": number,
        "attn_norm_num_groups": number,
        "resnet_time_scale_shift": "default" if network.modulation == "added" else "scale_shift",
        **_FIXED,
        "num_class_embeds": getattr(network.embed_class, "num_embeddings", None),
    }


def _shape(network: UNet) -> tuple[list[int], list[bool], int]:
    """Channels of the levels, whether they attend, and residual blocks of a level."""
    widths: list[int] = []
    attends: list[bool] = []
    counts: list[int] = []
    for module in [None, *network.down]:
        if not isinstance(module, Level):
            counts.append(0)
            continue
        if not counts[-1]:
            widths.append(module.block.conv2.out_channels)
            attends.append(module.attention is not None)
        counts[-1] += 1
    if widths[0] != network.width:
        raise InputError(
            "--format diffusers: task.network.multipliers must begin with 1, or use --format bundle"
        )
    return widths, attends, counts[0]


def _head_size(network: UNet) -> int | None:
    found = [one for one in network.modules() if isinstance(one, MultiHeadAttention)]
    sizes = {one.out.in_channels // one.num_heads for one in found}
    if all(one.num_heads == 1 for one in found):
        return None
    if len(sizes) != 1:
        raise InputError(
            f"--format diffusers: heads of {sorted(sizes)} channels, and UNet2DModel has one size: "
            "train with a task.network.head_size that divides all widths"
        )
    return sizes.pop()


def _scheduler(task: Diffusion, schedule: Discrete) -> dict[str, Any]:
    steps = len(schedule.betas)
    words = {value: key for key, value in PREDICTIONS.items()}
    said: dict[str, Any] = {"_class_name": "DDPMScheduler", "num_train_timesteps": steps}
    if isinstance(schedule, LinearBeta):
        ends = float(schedule.betas[0]), float(schedule.betas[-1])
        said |= {"beta_schedule": "linear", "beta_start": ends[0], "beta_end": ends[1]}
    elif isinstance(schedule, Cosine) and schedule.betas.equal(Cosine(num_steps=steps).betas):
        said["beta_schedule"] = "squaredcos_cap_v2"
    else:
        said["trained_betas"] = schedule.betas.tolist()
    variance = "learned_range" if task.learned_variance else "fixed_small"
    kinds = {"prediction_type": words[task.parameterization], "variance_type": variance}
    return {**said, **kinds, "clip_sample": task.clip, "clip_sample_range": 1.0}


def translated(network: UNet, steps: int) -> dict[str, Tensor]:
    """The state dict of the UNet2DModel that computes the same.

    Its time step s is steps t - 1 and ours 1000 t: sines and cosines of the one are a rotation of
    the other's, which the first layer takes in.
    """
    if steps != 1000:
        raise InputError(f"--format diffusers takes schedules of 1000 steps, not {steps}")
    state: dict[str, Tensor] = {}
    for theirs, ours in _pairs(network):
        if isinstance(ours, MultiHeadAttention):
            state |= _attention(theirs, ours)
            continue
        for name, tensor in ours.state_dict().items():
            state[f"{theirs}.{name}"] = tensor
    first = network.embed_time[0]
    assert isinstance(first, nn.Linear)
    state["time_embedding.linear_1.weight"] = _rotated(first.weight.detach(), network.width)
    return {name: one.detach().cpu().contiguous().clone() for name, one in state.items()}


def _rotated(weight: Tensor, width: int) -> Tensor:
    """W R with R (sin s f, cos s f) = (sin (s + 1) f, cos (s + 1) f)."""
    half = width // 2
    f = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float64) / half)
    sines, cosines = weight.double()[:, :half], weight.double()[:, half:]
    turned = [sines * f.cos() - cosines * f.sin(), sines * f.sin() + cosines * f.cos()]
    return torch.cat(turned, dim=1).to(weight)


def _attention(prefix: str, ours: MultiHeadAttention) -> dict[str, Tensor]:
    state = {f"{prefix}.group_norm.{key}": one for key, one in ours.norm.state_dict().items()}
    for key, tensor in ours.qkv.state_dict().items():
        for word, part in zip(("to_q", "to_k", "to_v"), tensor.chunk(3), strict=True):
            state[f"{prefix}.{word}.{key}"] = part.flatten(1) if key == "weight" else part
    for key, tensor in ours.out.state_dict().items():
        state[f"{prefix}.to_out.0.{key}"] = tensor.flatten(1) if key == "weight" else tensor
    return state


def _pairs(network: UNet) -> Iterator[tuple[str, nn.Module]]:
    """Each module of ours with parameters of its own, and its name there."""
    yield "conv_in", network.conv_in
    yield "time_embedding.linear_1", network.embed_time[0]
    yield "time_embedding.linear_2", network.embed_time[2]
    if network.embed_class is not None:
        yield "class_embedding", network.embed_class
    stage = number = 0
    for module in network.down:
        if isinstance(module, Level):
            yield from _level(f"down_blocks.{stage}", number, module)
            number += 1
        else:
            yield f"down_blocks.{stage}.downsamplers.0.conv", module
            stage, number = stage + 1, 0
    for number, module in enumerate(network.middle):
        assert isinstance(module, Level)
        yield from _level("mid_block", number, module)
    stage = number = 0
    for module in network.up:
        if isinstance(module, Upsample):
            yield f"up_blocks.{stage}.upsamplers.0.conv", module.conv
            stage, number = stage + 1, 0
        else:
            assert isinstance(module, Level)
            yield from _level(f"up_blocks.{stage}", number, module)
            number += 1
    yield "conv_norm_out", network.norm_out
    yield "conv_out", network.conv_out


def _level(stage: str, number: int, level: Level) -> Iterator[tuple[str, nn.Module]]:
    block = level.block
    names = {"norm1": "norm1", "conv1": "conv1", "embed": "time_emb_proj", "norm2": "norm2"}
    for ours, theirs in {**names, "conv2": "conv2"}.items():
        yield f"{stage}.resnets.{number}.{theirs}", getattr(block, ours)
    if isinstance(block.skip, nn.Conv2d):
        yield f"{stage}.resnets.{number}.conv_shortcut", block.skip
    if level.attention is not None:
        yield f"{stage}.attentions.{number}", level.attention
