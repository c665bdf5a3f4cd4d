import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kornia.color import rgb_to_lab
from PIL import Image
from torch import Tensor

from restore.evaluation.baseline import Grey
from restore.image import from_uint8, from_unit, to_unit
from restore.metric.psnr import PSNR
from restore.types import Batch


def lightness_of(target: Tensor) -> Batch:
    """The batch of a colorization task for RGB target [B, 3, H, W] in [-1, 1]."""
    lightness = rgb_to_lab(to_unit(target))[:, :1] / 50 - 1
    batch: Any = {"target": target, "input": lightness, "index": torch.arange(1), "name": ["0"]}
    return batch


def test_grey_keeps_lightness_and_drops_colour() -> None:
    target = torch.rand(1, 3, 6, 6)
    lab = rgb_to_lab(target)
    restored = to_unit(Grey()(lightness_of(from_unit(target))))
    assert (restored.amax(dim=1) - restored.amin(dim=1)).max() < 2e-3
    assert torch.allclose(rgb_to_lab(restored)[:, :1], lab[:, :1], atol=0.05)


@pytest.mark.data
def test_grey_baseline_on_cbsd68_is_the_known_number() -> None:
    values = []
    for path in sorted(Path(os.environ["RESTORE_DATA"], "cbsd68").glob("*.png")):
        pixels = np.ascontiguousarray(
            np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
        )
        target = from_uint8(torch.from_numpy(pixels)[None])
        batch = lightness_of(target)
        values.append(PSNR()(to_unit(Grey()(batch)), to_unit(target), batch))
    assert torch.cat(values).mean().item() == pytest.approx(22.51, abs=6e-3)
