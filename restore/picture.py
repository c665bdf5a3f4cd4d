"""Pictures of batches: rows of images side by side, as PNG."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from restore.folder import write_whole
from restore.image import to_uint8
from restore.types import Batch, InputError

SMALL = 128  # pixels; narrower images are enlarged by whole numbers
GAP = 2  # pixels between images
GIVEN = ["mask", "incomplete"]
LARGE = 512  # pixels; larger images of a sheet are made smaller
_WIDE = 1800  # pixels of a sheet
_FONT_SIZE = 11
_LINE = _FONT_SIZE + 3


def grid(rows: Tensor) -> Tensor:
    """Rows [R, N, C, H, W] in [-1, 1] as one white-framed picture [C, H', W'] in [-1, 1]."""
    framed = F.pad(rows, (0, GAP, 0, GAP), value=1.0)
    r, n, c, h, w = framed.shape
    picture = framed.permute(2, 0, 3, 1, 4).reshape(c, r * h, n * w)
    return F.pad(picture, (GAP, 0, GAP, 0), value=1.0)


def save_png(picture: Tensor, path: Path) -> None:
    """Writes [C, H, W] in [-1, 1], C = 1 or 3, as an 8-bit PNG; the folder is made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = to_uint8(picture).permute(1, 2, 0).cpu().numpy()
    save(Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels), path)


def save(picture: Image.Image, path: Path) -> None:
    """Writes a file of the kind that its name says, whole or not at all.

    Raises:
        InputError: no kind that Pillow writes.
    """
    kind = kind_of(path)
    packed = io.BytesIO()
    picture.save(packed, kind)
    write_whole(path, packed.getvalue())


def kind_of(path: Path) -> str:
    """The kind that a file's name says, as Pillow spells it; InputError for none that it writes."""
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise InputError(f"{path}: {path.suffix or 'no ending'} is no kind of picture: take .png")
    return kind


def panel(batch: Batch, restored: Tensor) -> Tensor:
    """Given | results | target [B, K + N + 1, C, H, W] for restored [B, N, C, H, W].

    Given is the input (K = 1); or, with holes, the mask, whose white is to be filled, and the
    incomplete image (K = 2). An input of another channel count (L for a colorizer) is shown in its
    first channel.
    """
    target = batch["target"]
    shown = batch["input"]
    if shown.shape[1] != target.shape[1]:
        shown = shown[:, :1].expand_as(target)
    given = [shown[:, None]]
    if "hole" in batch:
        given.insert(0, (batch["hole"] * 2 - 1).to(target).expand_as(target)[:, None])
    return torch.cat([*given, restored.to(target), target[:, None]], dim=1)


def titles(batch: Batch, num_samples: int) -> list[str]:
    """The titles of the columns of a panel."""
    given = GIVEN if "hole" in batch else ["input"]
    done = "filled" if "hole" in batch else "restored"
    results = [done] if num_samples == 1 else [f"{done} {k}" for k in range(1, num_samples + 1)]
    return [*given, *results, "target"]


def add_titles(rows: Tensor, names: list[str], least: int = 1) -> Image.Image:
    """RGB: images [R, N, C, H, W] in [-1, 1] below N names, enlarged `least` times or to SMALL."""
    scale = max(least, -(-SMALL // rows.shape[-1]))
    rows = rows.repeat_interleave(scale, dim=-1).repeat_interleave(scale, dim=-2)
    pixels = to_uint8(grid(rows)).cpu().permute(1, 2, 0).numpy()
    body = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    font = ImageFont.load_default(_FONT_SIZE)
    width = rows.shape[-1]
    wrapped = [_wrap(title, font, width) for title in names]
    header = _LINE * max(map(len, wrapped)) + GAP
    picture = Image.new("RGB", (body.width, body.height + header), "white")
    picture.paste(body, (0, header))
    draw = ImageDraw.Draw(picture)
    for column, lines in enumerate(wrapped):
        left = GAP + column * (width + GAP)
        for row, text in enumerate(lines):
            draw.text((left, row * _LINE), text, fill="black", font=font)
    return picture


def sheet(cells: Sequence[tuple[Tensor, str]], names: list[str]) -> Image.Image:
    """Cells of images [N, C, H, W] side by side below N names, each above a text of its own.

    Images of a cell have equal sizes; those above LARGE are made smaller.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    made = []
    for images, text in cells:
        body = add_titles(_at_most(images, LARGE)[None], names)
        lines = _wrap(text, font, body.width - GAP) if text else []
        cell = Image.new("RGB", (body.width, body.height + _LINE * len(lines)), "white")
        cell.paste(body, (0, 0))
        draw = ImageDraw.Draw(cell)
        for row, line in enumerate(lines):
            draw.text((GAP, body.height + row * _LINE), line, fill="black", font=font)
        made.append(cell)
    width, height = max(one.width for one in made), max(one.height for one in made)
    fitting = range(1, max(2, min(len(made), _WIDE // width) + 1))
    columns = max((k for k in fitting if len(made) % k == 0), default=1)  # no row is left open
    rows = -(-len(made) // columns)
    picture = Image.new("RGB", (columns * (width + 2 * GAP), rows * (height + 2 * GAP)), "white")
    for place, one in enumerate(made):
        row, column = divmod(place, columns)
        picture.paste(one, (column * (width + 2 * GAP), row * (height + 2 * GAP)))
    return picture


def _at_most(images: Tensor, side: int) -> Tensor:
    """Images [N, C, H, W] whose longer side is `side` pixels at most, by area."""
    scale = side / max(images.shape[-2:])
    if scale >= 1:
        return images
    height, width = (max(1, round(length * scale)) for length in images.shape[-2:])
    return F.interpolate(images, (height, width), mode="area")


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Lines no wider than `width` pixels, broken behind "_" and " ", inside words if need be."""
    lines = [""]
    for word in re.findall(r"[^_\s]*[_\s]|[^_\s]+", text):
        for part in [word] if font.getlength(word) <= width else list(word):
            if lines[-1] and font.getlength(lines[-1] + part) > width:
                lines.append("")
            lines[-1] += part
    return lines


class Spread:
    """Picks `count` of `total` samples, evenly spaced, as they pass in rising order of `index`.

    Of data in which one photo gives many samples these are many photos.
    """

    def __init__(self, total: int, count: int) -> None:
        count = max(1, min(count, total))
        self.wanted = [k * total // count for k in range(count)]

    def take(self, index: Tensor) -> list[int]:
        """Places in a batch of the samples to keep, by their `index` [B]."""
        places = []
        for place, number in enumerate(index.tolist()):
            if self.wanted and number >= self.wanted[0]:
                places.append(place)
                self.wanted = self.wanted[1:]
        return places


def select(batch: Batch, places: list[int]) -> Batch:
    """These samples of a batch."""
    kept: dict[str, Any] = {}
    for key, value in batch.items():
        if isinstance(value, list):
            value = [value[k] for k in places]
        kept[key] = value[places] if isinstance(value, Tensor) else value
    return cast(Batch, kept)
