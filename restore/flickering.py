"""`restore flicker RESTORED REFERENCE`: how steadily the frames of a video were restored.

Importing this module must stay instant.
"""

import argparse
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore.errors import DONE
from restore.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from restore.photos import Photo

ABOUT = "how much the restored frames of a video flicker"
EXAMPLES = """Frames are the images of a folder in the order of the numbers in their names, 2.png
before 10.png. Flicker is the mean absolute difference of consecutive differences, in grey levels of
255: 0 where restored frames move as those of the reference do.

examples:
  restore predict inpaint frames -o filled --mask scratch.png
  restore flicker filled frames --mask scratch.png      known pixels, and those that were filled
  restore flicker cleaned clean                         frames without noise, where there are any"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("restored", metavar="RESTORED", type=Path, help="a folder of frames")
    parser.add_argument("reference", metavar="REFERENCE", type=Path, help="of the same names")
    parser.add_argument("--mask", metavar="FILE|DIR", type=Path, help="white was filled")
    parser.add_argument("--invert-mask", action="store_true", help="black was filled")
    parser.set_defaults(
        command=lambda given: show(given.restored, given.reference, given.mask, given.invert_mask)
    )


def show(restored: Path, reference: Path, mask: Path | None = None, invert: bool = False) -> int:
    """Prints a line of JSON. InputError for folders that are not of one video."""
    from restore.photos import check_inverted

    check_inverted(mask, invert)
    print(json.dumps(measure(restored, reference, mask, invert)))
    return DONE


def measure(restored: Path, reference: Path, mask: Path | None, invert: bool) -> dict[str, Any]:
    """Pairs of frames, and the mean flicker of `known` and, with a mask, of `filled` pixels.

    Two frames are in memory at a time.
    """
    import torch

    from restore.metric.flicker import flicker

    frames = _frames(restored, reference, mask, invert)
    sums: dict[str, list[float]] = {"known": [], "filled": []}
    for pair in pairwise(_loaded(*frame, invert) for frame in frames):
        own, other, hole = (torch.stack(parts).float() for parts in zip(*pair, strict=True))
        sums["known"] += flicker(own, other, 1 - hole).tolist()
        sums["filled"] += flicker(own, other, hole).tolist()
    means = {key: _mean(values) for key, values in sums.items() if key == "known" or mask}
    return {"pairs": len(frames) - 1, **means}


def _frames(
    restored: Path, reference: Path, mask: Path | None, invert: bool
) -> list[tuple[Path, "Photo"]]:
    """Each restored frame, and its reference with the mask of that, in the order of the video."""
    from restore.data.image_file import upright_size
    from restore.photos import found, photos

    own = {name.with_suffix(""): path for path, name in found([str(restored)]).photos}
    named = sorted(found([str(reference)]).photos, key=lambda one: _order(one[1]))
    lacking = [path for path, name in named if name.with_suffix("") not in own]
    more = own.keys() - {name.with_suffix("") for _, name in named}
    if more:
        raise InputError(f"{reference} has no frame for {own[min(more)]}: give the same names")
    if lacking or len(named) < 2:
        why = f"no frame for {lacking[0]}" if lacking else f"{len(named)} frame"
        raise InputError(f"{restored} has {why}: give two folders of the same names, of 2 or more")
    if len({upright_size(path) for path, _ in named} - {None}) > 1:
        raise InputError(f"{reference} has images of several sizes: give the frames of one video")
    jobs = photos(named, restored / "never", 1, mask, invert)
    return [(own[name.with_suffix("")], job) for (_, name), job in zip(named, jobs, strict=True)]


def _order(name: Path) -> list[str | int]:
    """Numbers count as such: programs that cut videos write 2.png and 10.png, too."""
    parts = re.split(r"(\d+)", str(name))  # every second is a number
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _loaded(path: Path, photo: "Photo", invert: bool) -> tuple["Tensor", "Tensor", "Tensor"]:
    """uint8 [3, H, W] of both frames, and the hole [1, H, W]."""
    import torch

    from restore.data.image_file import load_image
    from restore.data.mask_files import read_mask

    own, other = load_image(path, 3), load_image(photo.source, 3)
    if own.shape != other.shape:
        raise InputError(f"{path} and {photo.source} differ in size: give frames of one size")
    if photo.mask is None:
        return own, other, torch.zeros(1, *own.shape[1:])
    return own, other, (read_mask(photo.mask, invert) / 255).round()


def _mean(values: list[float]) -> float | None:
    """Over the pairs that have such pixels."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else None
