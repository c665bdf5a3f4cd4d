"""Observations of holes."""

import torch
from torch import Tensor

from restore.types import Observation


def observed(image: Tensor, hole: Tensor) -> Observation:
    return Observation(input=image, hole=hole, index=torch.arange(len(image)), name=[])
