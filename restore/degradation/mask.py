"""Holes to be filled. A shape is `(seeds [B], height, width) -> hole [B, 1, height, width]`."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from restore.degradation.brush import THINNEST, paint, trace
from restore.degradation.choice import Choice
from restore.degradation.contract import Degraded
from restore.stream import Stream, fold
from restore.types import InputError

Shape = Callable[[Tensor, int, int], Tensor]
_CHOICE, _SHAPE = -2, -15  # keep the draws of a mixture and of its parts apart


class Mask:
    """The input is the target with 0 (middle grey) in the hole. Empty and full holes are legal."""

    makes_holes = True

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def input_channels(self, image_channels: int) -> int:
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        hole = self.shape(seeds, target.shape[-2], target.shape[-1]).to(target.dtype)
        return Degraded(target=target, input=target.masked_fill(hole == 1, 0), hole=hole)


class Box:
    """One rectangle: a square of `size` pixels, or `fraction` of the height and of the width.

    position: [row, column] is the pixel of its centre, the one below and right of it for even
    sides; the box must lie inside the image.
    """

    def __init__(
        self,
        size: int | None = None,
        fraction: float | None = None,
        position: Literal["center", "random"] | list[int] = "center",
    ) -> None:
        if (size is None) == (fraction is None):
            raise InputError(f"a box takes either size or fraction, got {size=} and {fraction=}")
        if size is not None and size < 0:
            raise InputError(f"box size must be at least 0 pixels, got {size}")
        if fraction is not None and not 0 <= fraction <= 1:
            raise InputError(f"box fraction must be in [0, 1], got {fraction}")
        if not isinstance(position, str) and (len(position) != 2 or min(position) < 0):
            raise InputError(f"box position must be [row, column] in pixels, got {position}")
        self.size, self.fraction, self.position = size, fraction, position

    def __call__(self, seeds: Tensor, height: int, width: int) -> Tensor:
        place = torch.full((len(seeds), 2), 0.5, device=seeds.device)
        if self.position == "random":
            place = Stream(seeds).uniform(2)
        rows = self._interval(place[:, 0], height, 0)
        columns = self._interval(place[:, 1], width, 1)
        return (rows[:, :, None] & columns[:, None, :])[:, None].float()

    def _interval(self, place: Tensor, length: int, axis: int) -> Tensor:
        """The pixels of the box along an axis, bool [B, length], for places [B] in [0, 1)."""
        side = self.size if self.size is not None else round((self.fraction or 0) * length)
        if side > length:
            raise InputError(f"a box of {side} pixels does not fit into an image of {length}")
        start = (place.double() * (length - side + 1)).long()[:, None]
        if not isinstance(self.position, str):
            first = self.position[axis] - side // 2
            if not 0 <= first <= length - side:
                raise InputError(
                    f"a box of {side} pixels around {self.position} does not lie inside an image "
                    f"of {length}: move it, or make it smaller"
                )
            start = torch.full_like(start, first)
        index = torch.arange(length, device=place.device)
        return (index >= start) & (index < start + side)


class Half:
    """One half; of an odd length the smaller one. alternate: even seeds right, odd seeds bottom."""

    def __init__(self, side: Literal["left", "right", "top", "bottom", "alternate"]) -> None:
        self.side = side

    def __call__(self, seeds: Tensor, height: int, width: int) -> Tensor:
        row = torch.arange(height, device=seeds.device)[:, None].expand(height, width)
        column = torch.arange(width, device=seeds.device).expand(height, width)
        halves = {
            "left": column < width // 2,
            "right": column >= width - width // 2,
            "top": row < height // 2,
            "bottom": row >= height - height // 2,
        }
        if self.side == "alternate":
            odd = (seeds % 2 == 1)[:, None, None, None]
            return torch.where(odd, halves["bottom"], halves["right"]).float()
        return halves[self.side].float().expand(len(seeds), 1, height, width)


class Lines:
    """The last of every `period` rows or columns."""

    def __init__(self, period: int = 2, axis: Literal["rows", "columns"] = "rows") -> None:
        if period < 1:
            raise InputError(f"line period must be at least 1, got {period}")
        self.period, self.axis = period, axis

    def __call__(self, seeds: Tensor, height: int, width: int) -> Tensor:
        length = height if self.axis == "rows" else width
        line = torch.arange(length, device=seeds.device) % self.period == self.period - 1
        line = line[:, None] if self.axis == "rows" else line[None, :]
        return line.float().expand(len(seeds), 1, height, width)


class Strokes:
    """Free-form brush strokes, Algorithm 1 of Yu et al. 2019 (DeepFill v2).

    A hole is 1 to `max_strokes` strokes, each a chain of 1 to `max_vertices` segments with one
    brush width. Lengths and widths are uniform up to `max_length` and `max_width`, shares of the
    shorter side of the image; directions are uniform up to `max_angle` degrees and mirrored at
    every second vertex. Vertices are kept inside the image.
    """

    def __init__(
        self,
        max_strokes: int = 4,
        max_vertices: int = 8,
        max_length: float = 0.4,
        max_width: float = 0.15,
        max_angle: float = 360.0,
    ) -> None:
        if min(max_strokes, max_vertices) < 1:
            raise InputError(
                f"max_strokes and max_vertices must be at least 1, got {max_strokes} "
                f"and {max_vertices}"
            )
        if min(max_length, max_width, max_angle) <= 0:
            raise InputError(
                f"max_length, max_width and max_angle must be above 0, got {max_length}, "
                f"{max_width} and {max_angle}"
            )
        self.max_strokes, self.max_vertices = max_strokes, max_vertices
        self.max_length, self.max_width = max_length, max_width
        self.max_angle = math.radians(max_angle)

    def __call__(self, seeds: Tensor, height: int, width: int) -> Tensor:
        stream = Stream(seeds)
        num_strokes = stream.integers(1, self.max_strokes + 1)
        drawn = torch.arange(self.max_strokes, device=seeds.device) < num_strokes[:, None]
        num_vertices = stream.integers(1, self.max_vertices + 1, self.max_strokes)
        radius = stream.uniform(self.max_strokes) * (self.max_width * min(height, width) / 2)
        points = self._points(stream, height, width)
        vertex = torch.arange(self.max_vertices, device=seeds.device)
        used = drawn[:, :, None] & (vertex < num_vertices[:, :, None])
        brush = torch.where(used, radius.clamp(min=THINNEST)[:, :, None], -1.0)
        return paint(points, brush, height, width)

    def _points(self, stream: Stream, height: int, width: int) -> Tensor:
        """Vertices (row, column) of all strokes, [B, strokes, vertices + 1, 2]."""
        shape = (self.max_strokes, self.max_vertices)
        start = stream.uniform(self.max_strokes, 2)
        angle = stream.uniform(*shape, high=self.max_angle)
        angle[:, :, ::2] = 2 * math.pi - angle[:, :, ::2]
        length = stream.uniform(*shape, high=self.max_length * min(height, width))
        return trace(start, angle, length, height, width)


class Cycle:
    """The shapes in turn: a sample of seed n takes number n modulo their count.

    For benchmarks, whose seeds are the numbers of their images, so that every shape gets its share.
    """

    def __init__(self, shapes: list[Shape]) -> None:
        if not shapes:
            raise InputError("a cycle of shapes takes one shape or more, got none")
        self.shapes = shapes

    def __call__(self, seeds: Tensor, height: int, width: int) -> Tensor:
        return _chosen(self.shapes, seeds % len(self.shapes), seeds, height, width)


class ShapeMixture:
    """Each sample takes one of the shapes, drawn by weight (equal weights where none are given)."""

    def __init__(self, shapes: list[Shape], weights: list[float] | None = None) -> None:
        self.shapes, self.choice = shapes, Choice(len(shapes), weights)

    def __call__(self, seeds: Tensor, height: int, width: int) -> Tensor:
        choice = self.choice(fold(seeds, _CHOICE))
        return _chosen(self.shapes, choice, fold(seeds, _SHAPE), height, width)


def _chosen(shapes: list[Shape], choice: Tensor, seeds: Tensor, height: int, width: int) -> Tensor:
    """The hole of sample b by the shape of number choice[b], [B, 1, height, width]."""
    hole = torch.empty(len(seeds), 1, height, width, device=seeds.device)
    for number, shape in enumerate(shapes):
        own = (choice == number).nonzero()[:, 0]
        if len(own):
            hole.index_copy_(0, own, shape(seeds[own], height, width))
    return hole
