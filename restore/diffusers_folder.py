"""Folders of diffusers as models, without diffusers: a UNet2DModel, or a pipeline with one, is a
prior; an AutoencoderKL is a codec.

The folder's JSON files become the config of a task, so that what is true of a checkpoint
of this project is true of them: restorers are its samplers and guidances.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from restore.content import FORMAT, upgrade
from restore.diffusers_json import (
    NETWORK,
    SCHEDULER,
    check_defaults,
    check_kinds,
    check_pixels,
    settings,
)
from restore.types import InputError

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
CLASS, AUTOENCODER = "UNet2DModel", "AutoencoderKL"
VERSION = "0.36.0"  # of diffusers, as the files say that we write
# Arguments that network.unet2d has, and those that must be as they are by default.
TAKEN = (
    *("block_out_channels", "layers_per_block", "down_block_types", "up_block_types"),
    *("add_attention", "attention_head_dim", "norm_num_groups", "attn_norm_num_groups"),
    *("norm_eps", "downsample_padding", "freq_shift", "flip_sin_to_cos"),
    "resnet_time_scale_shift",
)
DEFAULTS = {
    **{"center_input_sample": False, "time_embedding_type": "positional", "act_fn": "silu"},
    **{"time_embedding_dim": None, "mid_block_type": "UNetMidBlock2D", "downsample_type": "conv"},
    **{"mid_block_scale_factor": 1, "upsample_type": "conv", "class_embed_type": None},
}
OF_AUTOENCODERS = (
    *("latent_channels", "block_out_channels", "layers_per_block", "norm_num_groups"),
    *("mid_block_add_attention", "use_quant_conv", "use_post_quant_conv"),
)
SCALE = 0.18215  # of an AutoencoderKL whose file says none, as those of Stable Diffusion 1
PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
# Of public files that are older than the names of today.
RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
SAMPLER = {  # where nothing else is asked for: 210 calls
    "_target_": "restore.diffusion.repaint.RePaint",
    **{"num_steps": 50, "jump_length": 10, "jump_count": 5},
}


def unet_of(path: Path) -> Path:
    """The folder of the UNet itself: of a pipeline, its part unet/."""
    return path / "unet" if (path / "unet" / CONFIG).is_file() else path


def is_folder(path: Path) -> bool:
    """Whether diffusers wrote this folder."""
    return (unet_of(path) / CONFIG).is_file()


def weights_of(path: Path) -> Path:
    return unet_of(path) / WEIGHTS


def read(path: Path) -> dict[str, Any]:
    """What a checkpoint of this model would hold, checked as one is.

    Raises:
        InputError: another class, settings that our network has not, or no safetensors.
    """
    unet = unet_of(path)
    config = settings(unet / CONFIG)
    kind = config.get("_class_name")
    if kind not in (CLASS, AUTOENCODER):
        raise InputError(f"{unet / CONFIG} is of {kind}, not of {CLASS} or {AUTOENCODER}")
    check_kinds(unet / CONFIG, config, NETWORK)
    return _prior(path, unet, config) if kind == CLASS else _autoencoder(path, config)


def _prior(path: Path, unet: Path, config: dict[str, Any]) -> dict[str, Any]:
    """As `read`, of a UNet2DModel in the folder `unet`: a prior."""
    check_pixels(unet.parent)
    check_defaults(unet / CONFIG, config, DEFAULTS)
    scheduler = _scheduler(path, unet)
    steps = scheduler.get("num_train_timesteps", 1000)
    network = {key: config[key] for key in TAKEN if key in config}
    classes = config.get("num_class_embeds")
    (channels, varies), size = _channels(unet / CONFIG, config), config.get("sample_size")
    task = {
        "_target_": "restore.task.diffusion.Diffusion",
        "network": {
            "_target_": "restore.network.unet2d.UNet2D",
            "_partial_": True,
            **network,
            "num_train_timesteps": steps,
        },
        "schedule": schedule(scheduler, steps),
        "sampler": SAMPLER,
        "parameterization": PREDICTIONS[scheduler.get("prediction_type", "epsilon")],
        "learned_variance": varies,
        "class_conditional": classes is not None,
        "clip": _clips(scheduler),
        "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1e-4},
    }
    facts = {
        **{"image_channels": channels, "input_channels": channels},
        "image_size": size if isinstance(size, int) else None,
        "num_classes": None if classes is None else classes - 1,
    }
    return _content(path, task, facts, _weights(unet / WEIGHTS))


def _channels(path: Path, config: Mapping[str, Any]) -> tuple[int, bool]:
    """Channels of the images of a UNet2DModel, and whether it predicts variances, too.

    Raises InputError for a model that is shown more than the image, which no prior is.
    """
    seen, made = (config.get(key, 3) for key in ("in_channels", "out_channels"))
    if made not in (seen, 2 * seen):
        raise InputError(
            f"{path}: out_channels={made} is neither in_channels={seen} nor twice that, so that "
            "the model is no prior of images: choose one that is shown the image alone"
        )
    return seen, made == 2 * seen


def _content(
    path: Path, task: dict[str, Any], facts: dict[str, Any], state: dict[str, Any]
) -> dict[str, Any]:
    content = {
        "format": FORMAT,
        "experiment": path.resolve().name,
        "config": {"task": task, "data": {"batch_size": 1}, "seed": 0},
        "facts": facts,
        "state_dict": state,
        "progress": {"updates": 0, "batches": 0},
    }
    return upgrade(content, path)


def _autoencoder(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """As `read`, of an AutoencoderKL: a codec, whose latents are (z - shift_factor) scaling_factor,
    and with latents_mean and latents_std (z - mean) scaling_factor / std."""
    widths = config.get("block_out_channels", [64])
    channels = config.get("in_channels", 3)
    kinds = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}
    served = {key: [kind] * len(widths) for key, kind in kinds.items()}
    check_defaults(path / CONFIG, config, {"act_fn": "silu", "out_channels": channels, **served})
    latents, scale = config.get("latent_channels", 4), config.get("scaling_factor", SCALE) or 1.0
    mean = config.get("latents_mean") or [config.get("shift_factor") or 0.0] * latents
    std = [one / scale for one in config.get("latents_std") or [1.0] * latents]
    task = {
        "_target_": "restore.task.autoencoder.Autoencoder",
        "network": {
            "_target_": "restore.network.autoencoder_kl2d.AutoencoderKL2D",
            "_partial_": True,
            **{key: config[key] for key in OF_AUTOENCODERS if key in config},
        },
        "loss": {"pixels": {"_target_": "restore.loss.content.Pixels", "weight": 1.0}},
        "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1e-4},
    }
    facts = {
        **{"image_channels": channels, "input_channels": channels},
        **{"image_size": None, "num_classes": None},
    }
    state = _weights(path / WEIGHTS)
    state |= {"latent_mean": torch.tensor(mean), "latent_std": torch.tensor(std)}
    return _content(path, task, facts, state)


def schedule(scheduler: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The schedule that a scheduler's config describes."""
    word = scheduler.get("beta_schedule", "linear")
    prefix = "restore.diffusion.schedule."
    start, end = scheduler.get("beta_start", 1e-4), scheduler.get("beta_end", 0.02)
    if scheduler.get("trained_betas"):
        made = {"_target_": f"{prefix}Given", "betas": scheduler["trained_betas"]}
    elif word == "linear":
        made = {"_target_": f"{prefix}LinearBeta", "beta_start": start, "beta_end": end}
    elif word == "scaled_linear":
        low, high = start**0.5, end**0.5
        step = (high - low) / max(steps - 1, 1)
        betas = [(low + step * k) ** 2 for k in range(steps)]
        made = {"_target_": f"{prefix}Given", "betas": betas}
    elif word == "squaredcos_cap_v2":
        made = {"_target_": f"{prefix}Cosine"}
    else:
        raise InputError(f"beta_schedule={word} of a diffusers scheduler is not served")
    if not made["_target_"].endswith("Given"):
        made["num_steps"] = steps
    if scheduler.get("rescale_betas_zero_snr"):
        return {"_target_": f"{prefix}ZeroTerminalSNR", "base": made}
    return made


def _clips(scheduler: Mapping[str, Any]) -> bool:
    """Whether predictions are clipped: a file without the word has its class's default."""
    return bool(scheduler.get("clip_sample", _is_ddpm(scheduler)))


def _is_ddpm(scheduler: Mapping[str, Any]) -> bool:
    name: str = scheduler.get("_class_name", "DDPMScheduler")
    return name.startswith(("DDPM", "DDIM"))


def _scheduler(path: Path, unet: Path) -> dict[str, Any]:
    """The scheduler's config: of the pipeline, or beside the UNet; else that of Ho et al. 2020."""
    for place in (path / "scheduler", unet, unet.parent / "scheduler"):
        if (place / "scheduler_config.json").is_file():
            found = settings(place / "scheduler_config.json")
            check_kinds(place / "scheduler_config.json", found, SCHEDULER)
            if found.get("prediction_type", "epsilon") not in PREDICTIONS:
                raise InputError(
                    f"{place}: prediction_type={found['prediction_type']} is not served"
                )
            if not (_is_ddpm(found) or {"beta_schedule", "trained_betas"} & found.keys()):
                raise InputError(
                    f"{place}: {found['_class_name']} is not served, only schedulers that have a "
                    "beta_schedule"
                )
            clips = {"clip_sample_range": 1.0} if _clips(found) else {}
            check_defaults(place / "scheduler_config.json", found, {"thresholding": False} | clips)
            return found
    return {}


def _weights(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(
            f"{path} does not exist: save the model by save_pretrained, whose files are safetensors"
        )
    try:
        state = safetensors.torch.load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{path} holds no weights: {error}") from error
    return {f"network.{_name(name)}": tensor.float() for name, tensor in state.items()}


def _name(name: str) -> str:
    parts = name.split(".")
    if "attentions" in parts and len(parts) > 1 and parts[-2] in RENAMED:
        parts[-2] = RENAMED[parts[-2]]
    return ".".join(parts)
