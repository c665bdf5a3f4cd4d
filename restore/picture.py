"""Pictures of batches: rows of images side by side, as PNG."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from restore.image import to_uint8
from restore.types import Batch


def grid(rows: Tensor, gap: int = 2, scale: int = 1) -> Tensor:
    """Rows [R, N, C, H, W] in [-1, 1] as one white-framed picture [C, H', W'] in [-1, 1].

    scale enlarges every pixel to a square, for images that are too small to see.
    """
    framed = F.pad(rows, (0, gap, 0, gap), value=1.0)
    r, n, c, h, w = framed.shape
    picture = framed.permute(2, 0, 3, 1, 4).reshape(c, r * h, n * w)
    picture = F.pad(picture, (gap, 0, gap, 0), value=1.0)
    return picture.repeat_interleave(scale, dim=-1).repeat_interleave(scale, dim=-2)


def save_png(picture: Tensor, path: Path) -> None:
    """Writes [C, H, W] in [-1, 1], C = 1 or 3, as an 8-bit PNG; the folder is made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = to_uint8(picture).permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(path)


def panel(batch: Batch, restored: Tensor) -> Tensor:
    """Rows input | results | target [B, N + 2, C, H, W] for restored [B, N, C, H, W].

    An input of another channel count (L for a colorizer) is shown in its first channel.
    """
    target = batch["target"]
    shown = batch["input"]
    if shown.shape[1] != target.shape[1]:
        shown = shown[:, :1].expand_as(target)
    return torch.cat([shown[:, None], restored.to(target), target[:, None]], dim=1)


def first(batch: Batch, count: int) -> Batch:
    """The first `count` samples of a batch."""
    return {key: value[:count] for key, value in batch.items()}  # type: ignore[return-value,index]
