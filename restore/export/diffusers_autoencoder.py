"""An autoencoder of network=autoencoder_kl2d as the folder of an AutoencoderKL of diffusers."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch

from restore.diffusers_folder import AUTOENCODER, CONFIG, VERSION, WEIGHTS
from restore.folder import write_whole
from restore.network.autoencoder_kl2d import AutoencoderKL2D
from restore.task.autoencoder import Autoencoder
from restore.types import InputError


def write(task: Autoencoder, folder: Path) -> Path:
    """The folder that AutoencoderKL.from_pretrained reads; exact, up to rounding.

    Its latents have a mean and a deviation for each channel here, and so in config.json; those of
    an autoencoder that was never validated count as they are.

    Raises:
        InputError: another network.
    """
    network = task.network
    if not isinstance(network, AutoencoderKL2D):
        raise InputError(
            f"--format diffusers takes an autoencoder of network=autoencoder_kl2d, not "
            f"{type(network).__name__}, whose halving convolutions are padded on all sides"
        )
    state = {name: one.detach().cpu().contiguous() for name, one in network.state_dict().items()}
    write_whole(folder / WEIGHTS, safetensors.torch.save(state, {"format": "pt"}))
    write_whole(folder / CONFIG, json.dumps(_settings(task, network), indent=2) + "\n")
    return folder


def _settings(task: Autoencoder, network: AutoencoderKL2D) -> dict[str, Any]:
    levels, channels = len(network.block_out_channels), task.facts.image_channels
    measured = bool((task.latent_std > 0).all())
    return {
        "_class_name": AUTOENCODER,
        "_diffusers_version": VERSION,
        "in_channels": channels,
        "out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": network.block_out_channels,
        "layers_per_block": network.layers_per_block,
        "act_fn": "silu",
        "latent_channels": network.latent_channels,
        "norm_num_groups": network.norm_num_groups,
        "sample_size": task.facts.image_size or 256,
        "scaling_factor": 1.0,
        "latents_mean": task.latent_mean.tolist() if measured else None,
        "latents_std": task.latent_std.tolist() if measured else None,
        "use_quant_conv": network.quant_conv is not None,
        "use_post_quant_conv": network.post_quant_conv is not None,
        "mid_block_add_attention": network.attends,
    }
