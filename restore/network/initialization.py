"""How layers start, where PyTorch's own weights would start a network wrongly."""

import torch
from torch import nn


@torch.no_grad()
def near_zero(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Outputs of nearly nothing: what is added to them, or their tanh, comes through at first."""
    nn.init.normal_(layer.weight, std=1e-3)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
