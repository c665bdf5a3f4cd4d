"""Holes from a folder of mask images."""

import warnings
from collections import OrderedDict
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restore.data.deep_file import words_of
from restore.data.framing import area_resize
from restore.data.image_file import SUFFIXES, load_image, mode, opened, upright
from restore.data.name import printable
from restore.data.source import data_root
from restore.data.walk import walk
from restore.types import InputError

_HALF = 127.5
_COLORFUL = 16.0  # grey levels; a mask that was saved as JPEG has less than 3
_PALETTE = ("P", "PA")
_COLORED = ("RGB", "RGBA", "CMYK", "YCbCr", "LAB", *_PALETTE)
_BUDGET = 2**28  # bytes of resized holes that a process keeps


class MaskFiles:
    """Mask seed % n of the n images below root/folder in the order of their names; white = hole.

    With `invert`, black is hole. Transparency is white, as in photos; where all that is drawn is
    white, the drawing is the mask. A mask is resized by area to the image; pixels that are hole by
    half or more become hole. Files are read when their turn comes; resized ones are kept as far as
    they fit into 256 MiB.

    Raises:
        InputError: no masks, or one that has lost its meaning: it is all hole, what it shows is
            darker than half everywhere, as of masks that hold 0 and 1, or its palette has colours,
            as of maps of labels.
    """

    def __init__(
        self, folder: str = "masks300", root: str | None = None, invert: bool = False
    ) -> None:
        self.folder, self.root, self.invert = folder, root, invert
        self._kept: OrderedDict[tuple[int, int, int], Tensor] = OrderedDict()
        self._used = 0

    def __call__(self, seeds: Tensor, height: int, width: int) -> Tensor:
        count = len(self._paths)
        holes = [self._hole(seed % count, height, width) for seed in seeds.tolist()]
        return torch.stack(holes).float().to(seeds.device)

    def files(self) -> list[tuple[str, Path]]:
        """The masks in their order: names, which are paths below the folder, and places."""
        return [(path.relative_to(self._folder).as_posix(), path) for path in self._paths]

    def _hole(self, index: int, height: int, width: int) -> Tensor:
        """bool [1, H, W]."""
        key = (index, height, width)
        hole = self._kept.get(key)
        if hole is not None:
            self._kept.move_to_end(key)
            return hole
        hole = area_resize(read_mask(self._paths[index], self.invert), height, width) >= _HALF
        self._kept[key] = hole
        self._used += hole.numel()
        while self._used > _BUDGET and len(self._kept) > 1:
            self._used -= self._kept.popitem(last=False)[1].numel()
        return hole

    @property
    def _folder(self) -> Path:
        return data_root(self.root) / self.folder

    @cached_property
    def _paths(self) -> list[Path]:
        folder = self._folder
        paths = [folder / name for name in walk(folder, SUFFIXES).names]
        if not paths:
            raise InputError(
                f"no mask images in {printable(str(folder.absolute()))}: put them there (white = "
                "hole), or set data.degradation.shape.root or $RESTORE_DATA"
            )
        return paths


def read_mask(path: Path, invert: bool) -> Tensor:
    """uint8 [1, H, W], white = hole; a warning where it is no mask but a picture in colours."""
    mask = read_drawn(path)
    brightest, largest = int(mask.max()), 255
    if brightest == 0:
        brightest, largest = _brightest_word(path), 65535
    if 0 < brightest < largest / 2:
        raise InputError(
            f"mask {printable(str(path))} is not empty, but nothing in it is half white (its "
            f"brightest is {brightest} of {largest}): save holes as white, known pixels as black"
        )
    if invert:
        mask = 255 - mask
    if mask.min() > _HALF:
        kept = "white (it is read inverted)" if invert else "black"
        whole = f"mask {printable(str(path))} is hole everywhere"
        raise InputError(f"{whole}: make {kept} what is to be kept")
    _check_colors(path)
    return mask


def read_drawn(path: Path) -> Tensor:
    """uint8 [1, H, W] of what is drawn in grey, for a mask or a strength map.

    Transparency is white; of a drawing that is then white everywhere, it is how opaque that is.
    """
    drawn = load_image(path, channels=1)
    return _alpha(path, drawn) if drawn.min() > _HALF else drawn


def _alpha(path: Path, white: Tensor) -> Tensor:
    """What is drawn on a mask that is white everywhere; itself if it has no transparency."""
    with opened(path) as file:
        drawn = opacity(file.image)
        if drawn is None:
            return white
        return torch.from_numpy(np.array(upright(drawn, file.image)))[None]


def opacity(image: Image.Image) -> Image.Image | None:
    """How opaque an image is, where not all of it is: of white strokes, that is the drawing."""
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    return None if alpha is None or alpha.getextrema() == (255, 255) else alpha


def _brightest_word(path: Path) -> int:
    """Of a mask of more than 8 bits, whose lowest values are black in 8 bits; else 0."""
    with opened(path) as file:
        words = words_of(file.image, file.packed)
        return 0 if words is None else int(words.max())


def _check_colors(path: Path) -> None:
    """InputError for a palette of colours, of which brightness means nothing; a warning for a
    picture."""
    kind = mode(path)
    if kind not in _COLORED:
        return
    image = load_image(path, channels=3)
    spread = (image.amax(0).int() - image.amin(0).int()).float()
    if kind in _PALETTE and spread.max() > _COLORFUL:
        raise InputError(
            f"mask {printable(str(path))} has a palette of colours, as maps of labels do: save "
            "holes as white, known pixels as black"
        )
    if spread.mean() > _COLORFUL:
        warnings.warn(f"{printable(str(path))} has colours: is it a mask?", stacklevel=3)
