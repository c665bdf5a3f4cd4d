"""The photos inside scikit-image and scikit-learn: real images without a download."""

import functools
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restore.data.source import CHANNELS, Item, Mode, Split, packaged

_NAMES: dict[Mode, dict[Split, tuple[str, ...]]] = {
    "rgb": {
        "train": (
            "astronaut",
            "china",
            "hubble_deep_field",
            "immunohistochemistry",
            "retina",
            "rocket",
            "stereo_motorcycle",
        ),
        "val": ("coffee",),
        "test": ("chelsea", "flower"),
    },
    "gray": {
        "train": ("brick", "coins", "grass", "gravel", "page"),
        "val": ("moon",),
        "test": ("camera", "text"),
    },
}


class Photos:
    """Photos of 172 to 1411 pixels a side; no photo is in two splits."""

    num_classes = None

    def __init__(self, root: Path, split: Split, mode: Mode = "rgb") -> None:
        self.channels = CHANNELS[mode]
        self.names = _NAMES[mode][split]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Item:
        return Item(self._images[index], None, self.names[index])

    @cached_property
    def _images(self) -> list[Tensor]:
        return [_load(name) for name in self.names]


@functools.cache  # a training has more than one data set of the same photos
def _load(name: str) -> Tensor:
    """uint8 [C, H, W]."""
    from skimage import data

    if name in ("china", "flower"):
        array = np.asarray(Image.open(packaged("sklearn", f"datasets/images/{name}.jpg")))
    elif name == "stereo_motorcycle":
        array = data.stereo_motorcycle()[0]
    else:
        array = getattr(data, name)()
    image = torch.from_numpy(np.array(array))
    return image[None] if image.ndim == 2 else image.permute(2, 0, 1).contiguous()
