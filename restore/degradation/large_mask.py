"""The holes of LaMa (Suvorov et al. 2022) and the outpainting of RePaint (Lugmayr et al. 2022).

LaMa's are those of the authors' code (saicinpainting/training/data/masks.py). Lengths are shares of
the shorter side of the image; theirs are pixels, and their sets for 512 are not those for 256.
"""

import math

import torch
from torch import Tensor

from restore.degradation.brush import THINNEST, fill, paint, trace
from restore.degradation.mask import Box
from restore.stream import Stream
from restore.types import InputError

_VERTICES = 5
_DIRECTIONS = 4


class Irregular:
    """LaMa's strokes: `min_strokes` to `max_strokes` chains of 1 to 5 segments.

    Every segment has a length and a brush width of its own, uniform between their bounds. As in
    the authors' code, its direction is 0, 1, 2 or 3 radians (plus 0.01), mirrored in every second
    stroke, and no hole is too large; the authors drop evaluation masks of more than half the image.
    """

    def __init__(
        self,
        min_strokes: int,
        max_strokes: int,
        min_length: float,
        max_length: float,
        min_width: float,
        max_width: float,
    ) -> None:
        _check_range(1, math.inf, min_strokes=min_strokes, max_strokes=max_strokes)
        _check_range(0, math.inf, min_length=min_length, max_length=max_length)
        _check_range(0, math.inf, min_width=min_width, max_width=max_width)
        self.min_strokes, self.max_strokes = min_strokes, max_strokes
        self.min_length, self.max_length = min_length, max_length
        self.min_width, self.max_width = min_width, max_width

    def __call__(self, seeds: Tensor, height: int, width: int) -> Tensor:
        stream, side = Stream(seeds), min(height, width)
        shape = (self.max_strokes, _VERTICES)
        num_strokes = stream.integers(self.min_strokes, self.max_strokes + 1)
        num_vertices = stream.integers(1, _VERTICES + 1, self.max_strokes)
        start = stream.uniform(self.max_strokes, 2)
        angle = 0.01 + stream.integers(0, _DIRECTIONS, *shape).float()
        angle[:, ::2] *= -1
        length = side * stream.uniform(*shape, low=self.min_length, high=self.max_length)
        brush = side / 2 * stream.uniform(*shape, low=self.min_width, high=self.max_width)
        stroke = torch.arange(self.max_strokes, device=seeds.device)
        vertex = torch.arange(_VERTICES, device=seeds.device)
        used = (stroke < num_strokes[:, None])[:, :, None] & (vertex < num_vertices[:, :, None])
        radius = torch.where(used, brush.clamp(min=THINNEST), -1.0)
        return paint(trace(start, angle, length, height, width), radius, height, width)


class Boxes:
    """`min_boxes` to `max_boxes` rectangles, each side uniform between `min_size` and `max_size`.

    They lie anywhere but within `margin` of the border, and may overlap.
    """

    def __init__(
        self, min_boxes: int, max_boxes: int, min_size: float, max_size: float, margin: float = 0.0
    ) -> None:
        _check_range(1, math.inf, min_boxes=min_boxes, max_boxes=max_boxes)
        _check_range(0, 1, min_size=min_size, max_size=max_size)
        if not 0 <= margin <= (1 - max_size) / 2:
            raise InputError(
                f"boxes of max_size={max_size} with margin={margin} do not fit into an image: "
                "max_size + 2 margin must be at most 1"
            )
        self.min_boxes, self.max_boxes = min_boxes, max_boxes
        self.min_size, self.max_size, self.margin = min_size, max_size, margin

    def __call__(self, seeds: Tensor, height: int, width: int) -> Tensor:
        stream = Stream(seeds)
        num_boxes = stream.integers(self.min_boxes, self.max_boxes + 1)
        short = min(height, width)
        top, bottom = self._interval(stream, height, short)
        left, right = self._interval(stream, width, short)
        row = torch.arange(height, device=seeds.device)
        drawn = torch.arange(self.max_boxes, device=seeds.device) < num_boxes[:, None]
        inside = drawn[..., None] & (row >= top[..., None]) & (row < bottom[..., None])
        sample, box, row = inside.nonzero(as_tuple=True)
        line = (sample * height + row) * (width + 1)
        shape = (len(seeds), height, width)
        return fill(line + left[sample, box], line + right[sample, box], shape)

    def _interval(self, stream: Stream, length: int, short: int) -> tuple[Tensor, Tensor]:
        """First pixel of each box along an axis of `length`, and the one behind it, [B, boxes]."""
        margin = math.floor(self.margin * short)
        least, most = (max(1, math.floor(size * short)) for size in (self.min_size, self.max_size))
        side = stream.integers(least, most + 1, self.max_boxes)
        place = stream.uniform(self.max_boxes).double()
        start = margin + (place * (length - 2 * margin - side + 1)).long()
        return start, start + side


class Expand:
    """Outpainting: all but a centred box of `fraction` of the height and of the width.

    RePaint keeps the 64 x 64 pixels in the middle of 256 x 256.
    """

    def __init__(self, fraction: float) -> None:
        self.known = Box(fraction=fraction)

    def __call__(self, seeds: Tensor, height: int, width: int) -> Tensor:
        return 1 - self.known(seeds, height, width)


def _check_range(least: float, most: float, **bounds: float) -> None:
    """The two bounds are in order and between `least` and `most`."""
    (low_name, low), (high_name, high) = bounds.items()
    if not least <= low <= high <= most:
        raise InputError(
            f"{low_name}={low} and {high_name}={high} must be in order, from {least} to {most}"
        )
