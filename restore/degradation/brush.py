"""Chains of brush strokes, painted row by row: the same pixels on any device, in any batch."""

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

THINNEST = math.sqrt(0.5)  # pixels; a brush of a smaller radius may miss every pixel centre
_TINY = 1e-12  # pixels; in place of a length of 0 that something is divided by
_AT_ONCE = 2**18  # pixels that are filled at once: what a processor's cache holds


class _Segments(NamedTuple):
    """Segments and brush radii, float64 [N] each, in pixels; `rise` is never 0."""

    row: Tensor
    column: Tensor
    rise: Tensor
    run: Tensor
    radius: Tensor


def trace(start: Tensor, angle: Tensor, length: Tensor, height: int, width: int) -> Tensor:
    """Vertices (row, column) [B, S, V + 1, 2] of chains of V steps, kept inside the image.

    start: [B, S, 2] in [0, 1), shares of the image; angle, length: [B, S, V], radians and pixels.
    Float64, so that devices whose cosines differ in the last place paint the same pixels.
    """
    limit = torch.tensor([height - 1.0, width - 1.0], device=start.device, dtype=torch.float64)
    angle, length = angle.double(), length.double()
    step = torch.stack([length * angle.cos(), length * angle.sin()], dim=-1)
    points = [start * limit]
    for vertex in range(angle.shape[2]):
        points.append(
            (points[-1] + step[:, :, vertex]).clamp(min=torch.zeros_like(limit), max=limit)
        )
    return torch.stack(points, dim=2)


def paint(points: Tensor, radius: Tensor, height: int, width: int) -> Tensor:
    """Hole [B, 1, H, W] of all pixels whose centre is within `radius` of the segments of chains.

    points: vertices [B, S, V + 1, 2]; radius: pixels [B, S, V], negative where nothing is painted.
    A segment covers one interval of each row that it touches; intervals are counted where they
    begin and end, and summed along the rows. That costs the rows of the strokes, not their pixels.
    """
    sample, stroke, vertex = (radius >= 0).nonzero(as_tuple=True)
    start = points[sample, stroke, vertex].double()
    way = points[sample, stroke, vertex + 1].double() - start
    rise = torch.where(way[:, 0].abs() < _TINY, _TINY, way[:, 0])
    reach = radius[sample, stroke, vertex].double()
    segments = _Segments(start[:, 0], start[:, 1], rise, way[:, 1], reach)
    number, row = _rows(segments, height)
    first, last = _interval(_Segments(*(part[number] for part in segments)), row.double())
    first = first.ceil().clamp(0, width).long()
    last = last.floor().clamp(-1, width - 1).long()
    line = (sample[number] * height + row) * (width + 1)
    return fill(line + first, line + last + 1, (len(points), height, width))


def fill(begin: Tensor, end: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Hole [B, 1, H, W] of intervals that begin and end at places of [B, H, W + 1], flattened.

    Intervals [M] in the order of their samples; those that end before they begin are empty.
    """
    num_samples, height, width = shape
    hole = torch.empty(num_samples, 1, height, width, device=begin.device)
    count = (end > begin).short()  # no brush passes a pixel more than 32767 times
    size = height * (width + 1)
    at_once = num_samples if begin.is_cuda else max(1, _AT_ONCE // size)
    depth = torch.empty(at_once * size, dtype=torch.int16, device=begin.device)
    edges = torch.arange(0, num_samples + at_once, at_once, device=begin.device) * size
    bounds = torch.searchsorted(begin, edges).tolist()
    parts = torch.split(hole, at_once)
    for k, (part, (low, high)) in enumerate(zip(parts, itertools.pairwise(bounds), strict=True)):
        offset = k * at_once * size
        some = depth[: len(part) * size].zero_()
        some.index_add_(0, begin[low:high] - offset, count[low:high])
        some.index_add_(0, end[low:high] - offset, -count[low:high])
        lines = some.view(len(part), 1, height, width + 1)
        torch.cumsum(lines, dim=-1, dtype=lines.dtype, out=lines)
        torch.gt(lines[..., :width], 0, out=part)
    return hole


def _rows(segments: _Segments, height: int) -> tuple[Tensor, Tensor]:
    """Every row that every segment touches: numbers of segments and rows, int64 [M]."""
    end = segments.row + segments.rise
    top = (torch.minimum(segments.row, end) - segments.radius).ceil().clamp(min=0).long()
    bottom = torch.maximum(segments.row, end) + segments.radius
    count = (bottom.floor().clamp(max=height - 1).long() - top + 1).clamp(min=0)
    number = torch.repeat_interleave(count)
    behind = count.cumsum(0) - count
    return number, top[number] + torch.arange(len(number), device=top.device) - behind[number]


def _interval(segments: _Segments, row: Tensor) -> tuple[Tensor, Tensor]:
    """First and last column, real numbers [M], of each segment's brush in its row [M].

    The brush at a share t of the way covers a chord of its disc. The outermost chord is where
    the row meets the segment's tangent, or, before and behind the segment, at one of its ends.
    """
    down = row - segments.row
    tangent = segments.radius * segments.run / torch.hypot(segments.rise, segments.run)
    tangent = tangent.copysign(segments.run * segments.rise)
    ends = []
    for side in (-1, 1):
        share = ((down + side * tangent) / segments.rise).clamp(0, 1)
        height = down - share * segments.rise
        chord = (segments.radius.square() - height.square()).clamp(min=0).sqrt()
        ends.append(segments.column + share * segments.run + side * chord)
    return ends[0], ends[1]
