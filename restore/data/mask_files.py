"""Holes from a folder of mask images."""

from functools import cached_property

import torch
from torch import Tensor

from restore.data.framing import area_resize
from restore.data.image_file import SUFFIXES, load_image
from restore.data.source import data_root
from restore.types import InputError


class MaskFiles:
    """Mask seed % n of the n images in root/folder in the order of their names; white = hole.

    A mask is resized by area to the image; pixels that are white by half or more become hole.
    """

    def __init__(self, folder: str = "masks300", root: str | None = None) -> None:
        self.folder, self.root = folder, root

    def __call__(self, seeds: Tensor, height: int, width: int) -> Tensor:
        masks = self._masks
        holes = [
            area_resize(masks[seed % len(masks)], height, width) >= 127.5 for seed in seeds.tolist()
        ]
        return torch.stack(holes).float().to(seeds.device)

    @cached_property
    def _masks(self) -> list[Tensor]:
        """uint8 [1, H, W] each."""
        folder = data_root(self.root) / self.folder
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        paths = [path for path in files if path.suffix.lower() in SUFFIXES]
        if not paths:
            raise InputError(
                f"no mask images in {folder.absolute()}: put them there (white = hole), or set "
                "data.degradation.shape.root or $RESTORE_DATA"
            )
        return [load_image(path, channels=1) for path in paths]
