"""The user's own images: a folder of PNG, JPEG, WebP, TIFF and BMP files."""

from functools import cached_property
from pathlib import Path

from restore.data.image_file import SUFFIXES, load_image
from restore.data.source import CHANNELS, Item, Mode, Split, check_fraction, held_out
from restore.types import InputError


class Folder:
    """All images below root/folder in the order of their names, which are relative paths.

    Where it has any sub-folder train, val or test, these are the splits. Else `val_fraction` of
    the images is held out, by a hash of the name. Without a test split of its own, test is val.
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

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Item:
        name = self._names[index]
        return Item(load_image(self.folder / name, self.channels), None, name)

    @cached_property
    def _names(self) -> list[str]:
        part = self._part()
        below = self.folder / (part or "")
        files = below.rglob("*") if below.is_dir() else ()
        paths = (path for path in files if path.suffix.lower() in SUFFIXES and path.is_file())
        names = sorted(path.relative_to(self.folder).as_posix() for path in paths)
        if part is None:
            held = held_out(names, self.val_fraction)
            names = [name for name in names if (name in held) == (self.split != "train")]
        if not names:
            raise InputError(
                f"no images for the {self.split} split in {below.absolute()}: put PNG, JPEG, WebP, "
                "TIFF or BMP files there, or set data.root or $RESTORE_DATA"
            )
        return names

    def _part(self) -> Split | None:
        """The sub-folder of this split, or None where the folder is not divided."""
        splits: tuple[Split, ...] = ("train", "val", "test")
        existing = [split for split in splits if (self.folder / split).is_dir()]
        if not existing:
            return None
        return "val" if self.split == "test" and "test" not in existing else self.split
