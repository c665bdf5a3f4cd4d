"""The push-pull fill in ONNX, for images of any size (restore/network/push_pull.py has the method).

Importing this needs the package onnxscript.
"""

from typing import Any

from onnxscript import opset18 as op

MOST = 8192  # px of a side
LEVELS = (MOST - 1).bit_length()  # halvings, after which a side of MOST is one pixel
_FLOAT = 1  # ONNX's number for float32
_END = [0, 0, 0, 0, 0, 0, 1, 1]  # one more row and column, as ONNX counts: begins, then ends
_AROUND = [0, 0, 1, 1, 0, 0, 1, 1]
_LAST = 2**31 - 1  # the end of an axis, whatever its length


def push_pull(image: Any, hole: Any, relaxations: int) -> Any:
    """Nodes for `restore::push_pull`: image [B, C, H, W] filled where hole [B, 1, H, W] is 1.

    The pyramid has LEVELS levels whatever the size. Those that a smaller image does not need have
    one pixel; the mean of one pixel is that pixel, and so is its interpolation: they change
    nothing.
    """
    unknown = op.Greater(hole, 0.0)
    known = op.Cast(op.Not(unknown), to=_FLOAT)
    return op.Where(unknown, _filled(image, known, relaxations, LEVELS), image)


def _filled(image: Any, known: Any, relaxations: int, levels: int) -> Any:
    is_known = op.Greater(known, 0.0)
    image = op.Where(is_known, image, 0.0)
    if levels == 0:
        return image
    known_sum = _halved(known)
    mean = op.Div(_halved(image), op.Max(known_sum, 0.25))  # one pixel in four is the least
    known_there = op.Cast(op.Greater(known_sum, 0.0), to=_FLOAT)
    coarse = _filled(mean, known_there, relaxations, levels - 1)
    twice = op.Resize(coarse, None, [1.0, 1.0, 2.0, 2.0], mode="linear")
    filled = _cut(twice, [0, 0], op.Shape(image, start=2, end=4), [2, 3])
    filled = op.Where(is_known, image, filled)
    for _ in range(relaxations):
        filled = op.Where(is_known, image, _mean_of_neighbours(filled))
    return filled


def _halved(x: Any) -> Any:
    """Means of 2x2 px; what is missing at the end of an odd side counts as 0."""
    return op.AveragePool(op.Pad(x, _END), kernel_shape=[2, 2], strides=[2, 2])


def _mean_of_neighbours(x: Any) -> Any:
    padded = op.Pad(x, _AROUND, mode="edge")
    rows, columns = _cut(padded, [1], [-1], [3]), _cut(padded, [1], [-1], [2])
    above, below = _cut(rows, [0], [-2], [2]), _cut(rows, [2], [_LAST], [2])
    left, right = _cut(columns, [0], [-2], [3]), _cut(columns, [2], [_LAST], [3])
    return op.Div(op.Add(op.Add(op.Add(above, below), left), right), 4.0)


def _cut(x: Any, starts: Any, ends: Any, axes: list[int]) -> Any:
    return op.Slice(x, starts, ends, axes)
