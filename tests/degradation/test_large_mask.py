import math
from typing import Any

import numpy as np
import pytest
import torch

from restore.degradation.large_mask import Boxes, Expand, Irregular
from restore.degradation.mask import Shape
from restore.stream import Stream
from restore.types import InputError

SEEDS = torch.arange(40)
THICK = Irregular(1, 6, 10 / 256, 210 / 256, 5 / 256, 105 / 256)
THIN = Irregular(4, 51, 10 / 256, 50 / 256, 5 / 256, 15 / 256)
SHAPES: dict[str, Shape] = {
    "thick": THICK,
    "thin": THIN,
    "boxes": Boxes(1, 3, 30 / 256, 150 / 256, 10 / 256),
    "expand": Expand(0.25),
}


@pytest.mark.parametrize("name", SHAPES)
def test_hole_is_binary_and_stateless(name: str) -> None:
    shape = SHAPES[name]
    hole = shape(SEEDS, 30, 41)
    assert hole.shape == (40, 1, 30, 41) and hole.dtype == torch.float32
    assert set(hole.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(torch.cat([shape(seed[None], 30, 41) for seed in SEEDS]), hole)
    if name != "expand":
        assert len(hole.flatten(1).unique(dim=0)) == 40


def test_the_thinnest_stroke_leaves_a_mark() -> None:
    """A brush of no width would miss the centres of all pixels."""
    hole = Irregular(1, 1, 0.1, 0.3, 0.0, 0.0)(SEEDS, 40, 40)
    assert (hole.flatten(1).sum(1) > 0).all()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (5, 64)])
def test_small_images(name: str, size: tuple[int, int]) -> None:
    assert SHAPES[name](SEEDS, *size).shape == (40, 1, *size)


def drawn_by_loops(shape: Irregular, seed: int, height: int, width: int) -> np.ndarray:
    """Stroke by stroke in float64: discs at 200 points along every segment."""
    stream, side = Stream(torch.tensor([seed])), min(height, width)
    drawn = (shape.max_strokes, 5)
    num_strokes = int(stream.integers(shape.min_strokes, shape.max_strokes + 1))
    num_vertices = stream.integers(1, 6, drawn[0])[0].tolist()
    start = (stream.uniform(drawn[0], 2)[0] * torch.tensor([height - 1, width - 1])).tolist()
    turns = stream.integers(0, 4, *drawn)[0].tolist()
    lengths = stream.uniform(*drawn, low=shape.min_length, high=shape.max_length)[0].tolist()
    widths = stream.uniform(*drawn, low=shape.min_width, high=shape.max_width)[0].tolist()
    row, column = np.mgrid[:height, :width]
    hole = np.zeros((height, width), bool)
    for s in range(num_strokes):
        y, x = start[s]
        for v in range(num_vertices[s]):
            angle = (turns[s][v] + 0.01) * (-1 if s % 2 == 0 else 1)
            y1 = min(max(y + lengths[s][v] * side * math.cos(angle), 0), height - 1)
            x1 = min(max(x + lengths[s][v] * side * math.sin(angle), 0), width - 1)
            radius = max(widths[s][v] * side / 2, math.sqrt(0.5))
            for share in np.linspace(0, 1, 200):
                cy, cx = y + share * (y1 - y), x + share * (x1 - x)
                hole |= (row - cy) ** 2 + (column - cx) ** 2 <= radius**2
            y, x = y1, x1
    return hole


@pytest.mark.parametrize("shape", [THICK, Irregular(3, 5, 0.1, 0.4, 0.02, 0.2)])
@pytest.mark.parametrize("seed", range(3))
def test_strokes_against_loops(shape: Irregular, seed: int) -> None:
    got = shape(torch.tensor([seed]), 48, 40)[0, 0].numpy() == 1
    expected = drawn_by_loops(shape, seed, 48, 40)
    assert (got != expected).sum() <= 0.01 * expected.sum() + 1


def test_thin_and_thick_cover_what_they_should() -> None:
    """Thick masks are larger, and reach further from their border."""
    thin, thick = (shape(torch.arange(100), 64, 64) for shape in (THIN, THICK))
    assert 0.2 < thin.mean() < 0.4 and 0.35 < thick.mean() < 0.6
    depth = [-torch.nn.functional.max_pool2d(-hole, 9, stride=1).mean() for hole in (thin, thick)]
    assert depth[1] > 5 * depth[0]


def test_a_mask_scales_with_its_image() -> None:
    """Strokes are shares of the side: the hole of 128 pixels is that of 64, seen finer."""
    small, large = (THICK(SEEDS, side, side) for side in (64, 128))
    shrunk = torch.nn.functional.avg_pool2d(large, 2).round()
    assert (shrunk != small).float().mean() < 0.04


@pytest.mark.parametrize("size", [(64, 64), (40, 90)])
def test_boxes_keep_their_sizes_and_their_margin(size: tuple[int, int]) -> None:
    short = min(size)
    hole = Boxes(1, 1, 0.25, 0.5, 0.1)(torch.arange(2000), *size)[:, 0]
    margin = int(0.1 * short)
    assert hole[:, :margin].sum() == 0 and hole[:, :, -margin:].sum() == 0
    height, width = hole.amax(dim=2).sum(dim=1), hole.amax(dim=1).sum(dim=1)
    assert torch.equal(height * width, hole.sum(dim=(1, 2)))  # full rectangles
    for side in (height, width):
        assert side.min() == short // 4 and side.max() == short // 2
    first_row, last_row = (hole.amax(dim=2).argmax(dim=1), hole.amax(dim=2).flip(1).argmax(dim=1))
    assert first_row.min() == margin and last_row.min() == margin


def test_boxes_against_loops() -> None:
    shape, (height, width) = Boxes(1, 4, 0.2, 0.5, 0.1), (20, 31)
    stream = Stream(SEEDS)
    number = stream.integers(1, 5)
    sides = []
    for length in (height, width):
        side = stream.integers(4, 11, 4)
        place = stream.uniform(4).double()
        sides.append((2 + (place * (length - 4 - side + 1)).long(), side))
    expected = torch.zeros(40, 1, height, width)
    for b in range(40):
        for k in range(int(number[b])):
            (top, tall), (left, wide) = ((start[b, k], side[b, k]) for start, side in sides)
            expected[b, 0, top : top + tall, left : left + wide] = 1
    assert torch.equal(shape(SEEDS, height, width), expected)


def test_number_of_boxes() -> None:
    area = Boxes(4, 4, 0.1, 0.1)(torch.arange(500), 40, 40).sum(dim=(1, 2, 3))
    assert area.max() == 4 * 16 and area.min() >= 16
    one_or_two = Boxes(1, 2, 0.1, 0.1)(torch.arange(2000), 40, 40).sum(dim=(1, 2, 3))
    assert 0.4 < (one_or_two == 16).float().mean() < 0.6 and one_or_two.max() == 32


def test_expand_keeps_the_middle() -> None:
    hole = Expand(0.25)(SEEDS, 256, 256)
    expected = torch.ones(256, 256)
    expected[96:160, 96:160] = 0
    assert torch.equal(hole, expected.expand(40, 1, 256, 256))
    assert (Expand(1.0)(SEEDS, 5, 8) == 0).all() and (Expand(0.0)(SEEDS, 5, 8) == 1).all()


BOUNDS = {
    "min_strokes": 1,
    "max_strokes": 2,
    "min_length": 0.1,
    "max_length": 0.2,
    "min_width": 0.1,
    "max_width": 0.2,
}
SIZES = {"min_boxes": 1, "max_boxes": 2, "min_size": 0.1, "max_size": 0.2}


@pytest.mark.parametrize(
    "shape,arguments,named",
    [
        (Irregular, {**BOUNDS, "min_strokes": 0}, "min_strokes=0"),
        (Irregular, {**BOUNDS, "max_strokes": 0}, "max_strokes=0"),
        (Irregular, {**BOUNDS, "min_length": -0.1}, "min_length"),
        (Irregular, {**BOUNDS, "min_length": 0.3}, "min_length"),
        (Irregular, {**BOUNDS, "max_width": float("nan")}, "max_width"),
        (Boxes, {**SIZES, "min_boxes": 0}, "min_boxes"),
        (Boxes, {**SIZES, "max_size": 1.5}, "max_size"),
        (Boxes, {**SIZES, "min_size": 0.3}, "min_size"),
        (Boxes, {**SIZES, "margin": 0.45}, "margin=0.45"),
        (Boxes, {**SIZES, "margin": -0.1}, "margin"),
        (Expand, {"fraction": 1.2}, "1.2"),
    ],
)
def test_settings_are_checked(shape: Any, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        shape(**arguments)
