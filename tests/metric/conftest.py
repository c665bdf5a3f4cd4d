"""Shared by the metric tests: batches, and pairs of images that differ in known ways."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.image import from_unit
from restore.types import Batch

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """A batch around target [B, C, H, W] in [0, 1]; keywords add keys."""

    def make(target: Tensor, **keys: Any) -> Batch:
        batch: Any = {
            "target": from_unit(target),
            "input": from_unit(target),
            "index": torch.arange(len(target)),
            "name": [str(i) for i in range(len(target))],
        }
        return batch | keys

    return make


@pytest.fixture
def pairs() -> list[Pair]:
    """Six 8-bit pairs [H, W, C]: colour and grey, even and odd sizes, five kinds of damage."""
    generator = np.random.default_rng(7)
    made = []
    for height, width, channels in (
        (48, 64, 3),
        (33, 47, 3),
        (11, 11, 3),
        (64, 40, 1),
        (31, 29, 1),
    ):
        rows, columns = np.mgrid[:height, :width]
        waves = 127 + 80 * np.sin(rows / 7 + 1) * np.cos(columns / 5)
        image = waves[..., None] + generator.normal(0, 20, (height, width, channels))
        worse = image + generator.normal(0, 5 + height / 2, image.shape)
        made.append(tuple(np.clip(v, 0, 255).round().astype(np.uint8) for v in (worse, image)))
    bright = made[0][1]
    made.append((np.clip(bright.astype(int) + 9, 0, 255).astype(np.uint8), bright))
    return made
