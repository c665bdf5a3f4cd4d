"""The user's own images: a folder of PNG, JPEG, WebP, AVIF, TIFF and BMP files."""

import copy
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from restore.data.division import check_names, divide
from restore.data.image_file import SUFFIXES, load_image
from restore.data.name import printable
from restore.data.source import CHANNELS, SPLITS, Item, Mode, Split, check_fraction, data_root
from restore.data.walk import OUTSIDE, Listing, walk
from restore.types import InputError


@dataclass
class Shared:
    """What the splits of one folder have in common, once one of them has looked."""

    listing: Listing
    parts: dict[Split, list[str]]


class Folder:
    """All images below root/folder in the order of their names, which are relative paths.

    Where it has any sub-folder train, val or test, these are the splits. Else `val_fraction` of
    the images is held out, by a hash of the name. Without a test split of its own, test is val.
    Hidden files and folders are no data; linked folders are followed. A root of its own, or a
    `folder` below the default root, must be named: all that lies below $RESTORE_DATA is no subject.
    """

    num_classes = None

    def __init__(
        self,
        root: Path,
        split: Split,
        folder: str = ".",
        mode: Mode = "rgb",
        val_fraction: float = 0.05,
    ) -> None:
        self.folder, self.split = root / folder, split
        self.channels = CHANNELS[mode]
        self.val_fraction = check_fraction(val_fraction)
        self._everything = self.folder == data_root(None)
        self._shared: list[Shared] = []  # shared with siblings, filled by the first to look

    def sibling(self, split: Split) -> Self:
        """Another split of the same folder, which is not walked again for it."""
        other = copy.copy(self)
        other.__dict__.pop("_names", None)
        other.split = split
        return other

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Item:
        name = self._names[index]
        return Item(load_image(self.folder / name, self.channels), None, printable(name))

    def left_out(self) -> Counter[str]:
        return +self._look().listing.left_out

    def size(self, index: int) -> int:
        return (self.folder / self._names[index]).stat().st_size

    def content(self, index: int) -> bytes:
        return (self.folder / self._names[index]).read_bytes()

    def opened(self, index: int) -> Path:
        return self.folder / self._names[index]

    def name(self, index: int) -> str:
        return printable(self._names[index])

    @cached_property
    def _names(self) -> list[str]:
        shared = self._look()
        names = shared.parts[self.split]
        if not names:
            where = printable(str(self.folder.absolute()))
            raise InputError(
                f"no images for the {self.split} split in {where}: {self._reason(shared)}"
            )
        return names

    def _look(self) -> Shared:
        if not self._shared:
            if self._everything:
                raise InputError(
                    "data.root is not set: name the folder of your photos as data.root=FOLDER (of "
                    "a benchmark: benchmark.NAME.data.root=FOLDER), or one below $RESTORE_DATA as "
                    "data.source.folder"
                )
            listing = walk(self.folder, SUFFIXES)
            check_names(self.folder, listing.folders)
            parts = divide(self.folder, listing.names, self.val_fraction)
            used = set().union(*parts.values())
            listing.left_out[OUTSIDE] = len(listing.names) - len(used)
            self._shared.append(Shared(listing, parts))
        return self._shared[0]

    def _reason(self, shared: Shared) -> str:
        """Why a split is empty, and what to do."""
        if not self.folder.exists():
            return "there is no such folder; set data.root or $RESTORE_DATA"
        if not self.folder.is_dir():
            return "it is a file; set data.root to the folder that holds the images"
        divided = [split for split in SPLITS if (self.folder / split).is_dir()]
        count = len(shared.listing.names)
        if divided and count:
            there = "is empty" if self.split in divided else f"is missing beside {divided[0]}"
            return f"the sub-folder {self.split} {there}: put images there"
        if count == 1:
            return "it holds one image, and training and validation need one each: add images"
        if count:
            share = f"data.source.val_fraction={self.val_fraction}"
            return f"{share} holds out all {count} images for validation: lower it"
        others = ", ".join(f"{n} {why}" for why, n in sorted((+shared.listing.left_out).items()))
        what = f"it holds no image (left out: {others})" if others else "it is empty"
        kinds = "PNG, JPEG, WebP, AVIF, TIFF or BMP"
        return f"{what}: put {kinds} files there, or set data.root or $RESTORE_DATA"
