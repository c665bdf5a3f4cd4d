"""The JSON files of diffusers, whose values are checked before anything is made of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restore.config.value import fits, wrong_type
from restore.types import InputError

# What our reader computes with; the other keys go to signatures of ours, which check them.
NETWORK: dict[str, Any] = {
    **dict.fromkeys(("in_channels", "out_channels", "latent_channels"), int),
    **{"block_out_channels": list[int], "num_class_embeds": int | None},
    **dict.fromkeys(("scaling_factor", "shift_factor"), float | None),
    **dict.fromkeys(("latents_mean", "latents_std"), list[float] | None),
}
SCHEDULER: dict[str, Any] = {
    **{"num_train_timesteps": int, "trained_betas": list[float] | None},
    **dict.fromkeys(("_class_name", "prediction_type"), str),
    **dict.fromkeys(("beta_start", "beta_end"), float),
    **dict.fromkeys(("clip_sample", "rescale_betas_zero_snr"), bool),
}
LEAST = {
    **dict.fromkeys(("in_channels", "out_channels", "latent_channels", "num_train_timesteps"), 1),
    "num_class_embeds": 2,  # the last stands for "no class"
}


def settings(path: Path) -> dict[str, Any]:
    """What a file holds.

    Raises InputError for a file that cannot be read, or holds no settings.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no settings")
    return found


def check_kinds(path: Path, config: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """Raises InputError for a value of another type than `kinds` has, or below `LEAST`."""
    for key in [key for key in kinds if key in config]:
        value = config[key]
        if not fits(value, kinds[key]):
            raise InputError(f"{path}: {key}={value!r} {wrong_type(kinds[key])}")
        if key in LEAST and value is not None and value < LEAST[key]:
            raise InputError(f"{path}: {key}={value} must be at least {LEAST[key]}")


def check_defaults(path: Path, config: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raises InputError for a value that is not as it is by default."""
    for key, value in defaults.items():
        if config.get(key, value) != value:
            raise InputError(f"{path}: {key}={config[key]!r} is not served, only {value!r}")


def check_pixels(pipeline: Path) -> None:
    """Raises InputError for a pipeline whose UNet makes latents, which pass for images: those of a
    VQModel often have three channels, too."""
    index = pipeline / "model_index.json"
    parts = settings(index) if index.is_file() else {}
    for key in ("vae", "vqvae"):
        if parts.get(key, [None, None]) != [None, None]:  # which says that it has none
            raise InputError(
                f"{index}: this UNet makes latents of a {key}, and no images: choose a pipeline "
                "of unet and scheduler alone"
            )
