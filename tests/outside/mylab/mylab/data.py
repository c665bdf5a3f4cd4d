"""Images that lie in .npy files."""

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from restore.data.source import CHANNELS, Item, Mode, Split
from restore.types import InputError


class Arrays:
    """`root/folder/{train,val,test}.npy`: uint8 [N, H, W] (gray) or [N, H, W, 3] (rgb).

    The files are mapped, not loaded; a training without labels.
    """

    num_classes = None

    def __init__(self, root: Path, split: Split, folder: str = ".", mode: Mode = "gray") -> None:
        self.path = Path(root) / folder / f"{split}.npy"
        self.mode: Literal["rgb", "gray"] = mode

    @property
    def channels(self) -> int:
        return CHANNELS[self.mode]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Item:
        image = torch.from_numpy(np.array(self.images[index]))
        image = image[None] if self.mode == "gray" else image.permute(2, 0, 1).contiguous()
        return Item(image, None, f"{self.path.stem}_{index:06d}")

    @cached_property
    def images(self) -> np.ndarray:
        try:
            images = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path} cannot be read as .npy: {error}") from error
        wanted = 3 if self.mode == "gray" else 4
        if images.dtype != np.uint8 or images.ndim != wanted:
            raise InputError(
                f"{self.path} holds {images.dtype} {list(images.shape)}: {self.mode} images are "
                f"uint8 with {wanted} axes"
            )
        return images
