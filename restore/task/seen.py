"""Observations as a sampler takes them: sides that a network can halve, one row a sample."""

from typing import cast

import torch
from torch import Tensor

from restore.network.size import pad_to_multiple
from restore.types import InputError, Observation


def pad(observation: Observation, factor: int) -> Observation:
    """Mirrors image and hole at the bottom and right, up to multiples of `factor` px.

    Raises:
        InputError: the observation comes from an operator that mixes pixels, which would not have
            seen the mirrored ones.
    """
    operator, (height, width) = observation.get("operator"), observation["input"].shape[-2:]
    if operator is not None and operator.mixes_pixels and (height % factor or width % factor):
        raise InputError(
            f"this model takes sides that are multiples of {factor} px where a known operator "
            f"mixes pixels, got {height} x {width}: crop the images"
        )
    grown = {
        key: pad_to_multiple(value, factor)
        for key, value in observation.items()
        if isinstance(value, Tensor) and value.ndim == 4
    }
    return cast(Observation, {**observation, **grown})


def repeat(observation: Observation, num_samples: int) -> Observation:
    """Repeats every sample of an observation, num_samples times in a row.

    Its tensors are no inference tensors, so that gradients may pass what a network makes of them.
    """
    with torch.inference_mode(False):
        return cast(
            Observation,
            {
                key: value.repeat_interleave(num_samples, 0) if isinstance(value, Tensor) else value
                for key, value in observation.items()
            },
        )
