"""Attention over all positions, and from the hole to what is known."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.types import InputError

# Tokens from which the fused kernel of a CPU is faster in a training step than matrix products.
_FUSED_FROM, _FUSED_FROM_HALF = 256, 1024


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v over tokens: q, k, v [B, H, N, D], in any memory layout.

    Copied to a contiguous layout, since the fused kernels refuse any other without a word and fall
    back to plain products, whose memory is H N^2. On a CPU with few tokens those are the faster
    way: in bf16, at 64 tokens, the fused backward takes six times as long.
    """
    least = _FUSED_FROM if query.dtype == torch.float32 else _FUSED_FROM_HALF
    if query.is_cuda or query.shape[-2] >= least:
        return F.scaled_dot_product_attention(
            query.contiguous(), key.contiguous(), value.contiguous()
        )
    weight = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(dim=-1)
    mixed: Tensor = weight @ value
    return mixed


class SelfAttention(nn.Module):
    """x + gamma * attention(x), gamma = 0 at the start: Zhang et al. 2019 (SAGAN), eq. 1 to 3.

    [B, C, H, W] to the same. Keys and values are max-pooled by two, as in the authors' networks:
    a quarter of the memory, which is (HW)^2 bytes of weights per image.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 8:
            raise InputError(f"task.network: self-attention needs 8 channels, got {channels}")
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels // 2, 1)
        self.out = nn.Conv2d(channels // 2, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, 2, ceil_mode=True)
        query, key = self.query(x).flatten(2), self.key(pooled).flatten(2)
        weight = (query.transpose(1, 2) @ key).softmax(dim=-1)
        mixed = self.value(pooled).flatten(2) @ weight.transpose(1, 2)
        attended: Tensor = self.out(mixed.unflatten(2, x.shape[2:]))
        return x + self.gamma * attended


class ContextualAttention(nn.Module):
    """Rebuilds a map from patches of its known part: Yu et al. 2018, section 4.1.

    x [B, C, H, W], H and W even, and hole [B, 1, H, W] to [B, C, H, W]. Where the hole leaves no
    known patch, all patches count alike. Matches 3x3 patches at half size and pastes 4x4 patches
    at full size, as the paper advises for memory. Scores are propagated (eq. 3) before the
    softmax, so that the weights of a place sum to one. No parameters.
    """

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = scale  # lambda of the softmax

    def forward(self, x: Tensor, hole: Tensor) -> Tensor:
        # cosines of neighbouring patches differ by less than bf16 resolves
        with torch.autocast(x.device.type, enabled=False):
            return self._rebuild(x.float(), hole.float()).to(x.dtype)

    def _rebuild(self, x: Tensor, hole: Tensor) -> Tensor:
        height, width = x.shape[-2] // 2, x.shape[-1] // 2
        patches = F.normalize(F.unfold(x[..., ::2, ::2], 3, padding=1), dim=1, eps=1e-4)
        scores = (patches.transpose(1, 2) @ patches).view(-1, height, width, height, width)
        scores = _propagate(scores).flatten(3).flatten(1, 2)
        touched = F.max_pool2d(F.max_pool2d(hole, 2), 3, stride=1, padding=1).flatten(1) > 0
        # finite, so that a map without known patches is no 0 / 0
        scores = (self.scale * scores).masked_fill(touched[:, None], torch.finfo(x.dtype).min)
        # repeated, so that border patches paste features rather than zeros
        values = F.unfold(F.pad(x, (1, 1, 1, 1), mode="replicate"), 4, stride=2)
        pasted = values @ scores.softmax(dim=-1).transpose(1, 2)
        return _fold(pasted, x) / _fold(torch.ones_like(pasted), x)


def _propagate(scores: Tensor) -> Tensor:
    """Sums scores [B, h, w, h', w'] of neighbours with equal offsets, along rows, then columns."""
    identity = torch.eye(3, device=scores.device, dtype=scores.dtype)[None, None]
    for dims in ((2, 4), (1, 3)):
        moved = scores.movedim(dims, (-2, -1))
        summed = F.conv2d(moved.flatten(0, -3)[:, None], identity, padding=1)
        scores = summed.view(moved.shape).movedim((-2, -1), dims)
    return scores


def _fold(patches: Tensor, like: Tensor) -> Tensor:
    return F.fold(patches, like.shape[-2:], 4, stride=2, padding=1)
