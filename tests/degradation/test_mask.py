import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from restore.degradation.mask import Box, Cycle, Half, Lines, Mask, Shape, ShapeMixture, Strokes
from restore.stream import Stream
from restore.types import InputError

SEEDS = torch.arange(40)
SHAPES: dict[str, Shape] = {
    "box center": Box(fraction=0.5),
    "box random": Box(size=5, position="random"),
    "half": Half("alternate"),
    "lines": Lines(2),
    "strokes": Strokes(),
    "mixture": ShapeMixture(
        [Strokes(), Box(fraction=0.3, position="random"), Half("left")], [2, 1, 1]
    ),
}


def images(height: int = 12, width: int = 17, channels: int = 3) -> Tensor:
    return Stream(SEEDS + 100).uniform(channels, height, width, low=-1.0)


@pytest.mark.parametrize("name", SHAPES)
def test_hole_is_binary_and_stateless(name: str) -> None:
    shape = SHAPES[name]
    hole = shape(SEEDS, 12, 17)
    assert hole.shape == (40, 1, 12, 17) and hole.dtype == torch.float32
    assert set(hole.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(shape(SEEDS, 12, 17), hole)
    assert torch.equal(shape(SEEDS.flip(0), 12, 17).flip(0), hole)
    assert torch.equal(torch.cat([shape(seed[None], 12, 17) for seed in SEEDS]), hole)


@pytest.mark.parametrize("name", SHAPES)
def test_known_pixels_are_kept_and_the_hole_is_zero(name: str) -> None:
    target = images()
    degraded = Mask(SHAPES[name])(target, SEEDS)
    hole = degraded["hole"].expand_as(target) == 1
    assert torch.equal(degraded["input"][~hole], target[~hole])
    assert (degraded["input"][hole] == 0).all()
    assert not torch.signbit(degraded["input"][hole]).any()
    assert degraded["target"] is target


@pytest.mark.parametrize("name", SHAPES)
def test_masking_twice_is_masking_once(name: str) -> None:
    once = Mask(SHAPES[name])(images(), SEEDS)["input"]
    assert torch.equal(Mask(SHAPES[name])(once, SEEDS)["input"], once)


def test_input_channels() -> None:
    assert Mask(Half("left")).input_channels(3) == 3


@pytest.mark.parametrize("fraction,full", [(0.0, 0.0), (1.0, 1.0)])
def test_empty_and_full_holes(fraction: float, full: float) -> None:
    degraded = Mask(Box(fraction=fraction))(images(), SEEDS)
    assert (degraded["hole"] == full).all()
    assert torch.equal(degraded["input"], images() * (1 - full))


def test_box_in_the_center() -> None:
    hole = Box(size=4)(SEEDS, 10, 8)
    expected = torch.zeros(10, 8)
    expected[3:7, 2:6] = 1
    assert torch.equal(hole, expected.expand(40, 1, 10, 8))
    assert Box(fraction=0.5)(SEEDS, 10, 8).sum(dim=(1, 2, 3)).unique().tolist() == [5 * 4]


@pytest.mark.parametrize(("fraction", "side"), [(0.24, 2), (0.26, 3), (0.34, 3), (0.36, 4)])
def test_a_share_is_rounded_to_the_nearest_pixel(fraction: float, side: int) -> None:
    assert Box(fraction=fraction)(torch.arange(1), 10, 10).sum() == side**2


def test_random_boxes_reach_every_place_and_stay_inside() -> None:
    hole = Box(size=3, position="random")(torch.arange(2000), 6, 5)
    assert hole.sum(dim=(1, 2, 3)).unique().tolist() == [9]
    corners = {tuple(one.nonzero()[0].tolist()) for one in hole[:, 0]}
    assert corners == {(row, column) for row in range(4) for column in range(3)}


def test_halves() -> None:
    expected = {
        "left": np.s_[:, :3],
        "right": np.s_[:, 4:],
        "top": np.s_[:2, :],
        "bottom": np.s_[3:, :],
    }
    for side, where in expected.items():
        hole = torch.zeros(5, 7)
        hole[where] = 1
        assert torch.equal(Half(side)(SEEDS, 5, 7), hole.expand(40, 1, 5, 7))  # type: ignore[arg-type]
    alternate = Half("alternate")(torch.tensor([0, 1, 2**33, 2**33 + 1]), 5, 7)
    sides = [Half(side)(SEEDS[:1], 5, 7)[0] for side in ("right", "bottom")]  # type: ignore[arg-type]
    assert torch.equal(alternate, torch.stack(sides * 2))


def test_halves_of_even_images_are_halves() -> None:
    for side in ("left", "right", "top", "bottom", "alternate"):
        assert (Half(side)(SEEDS, 8, 28).mean(dim=(1, 2, 3)) == 0.5).all()  # type: ignore[arg-type]


def test_lines() -> None:
    rows = Lines(period=2)(SEEDS[:1], 6, 4)[0, 0]
    assert torch.equal(rows, torch.tensor([0.0, 1, 0, 1, 0, 1])[:, None].expand(6, 4))
    columns = Lines(period=3, axis="columns")(SEEDS[:1], 2, 7)[0, 0]
    assert torch.equal(columns, torch.tensor([0.0, 0, 1, 0, 0, 1, 0]).expand(2, 7))
    assert (Lines(period=1)(SEEDS, 3, 3) == 1).all()


def drawn_by_loops(shape: Strokes, seed: int, height: int, width: int) -> np.ndarray:
    """Algorithm 1 stroke by stroke in float64: discs at 200 points along every segment."""
    stream = Stream(torch.tensor([seed]))
    size = min(height, width)
    strokes, vertices = shape.max_strokes, shape.max_vertices
    num_strokes = int(stream.integers(1, strokes + 1))
    num_vertices = stream.integers(1, vertices + 1, strokes)[0].tolist()
    widths = (stream.uniform(strokes)[0].double() * shape.max_width * size).tolist()
    start = stream.uniform(strokes, 2)[0].double() * torch.tensor([height - 1, width - 1])
    angles = (stream.uniform(strokes, vertices)[0].double() * shape.max_angle).tolist()
    lengths = (stream.uniform(strokes, vertices)[0].double() * shape.max_length * size).tolist()
    row, column = np.mgrid[:height, :width]
    hole = np.zeros((height, width), bool)
    for s in range(num_strokes):
        y, x = start[s].tolist()
        radius = max(widths[s] / 2, math.sqrt(0.5))
        for v in range(num_vertices[s]):
            angle = 2 * math.pi - angles[s][v] if v % 2 == 0 else angles[s][v]
            y1 = min(max(y + lengths[s][v] * math.cos(angle), 0), height - 1)
            x1 = min(max(x + lengths[s][v] * math.sin(angle), 0), width - 1)
            for share in np.linspace(0, 1, 200):
                cy, cx = y + share * (y1 - y), x + share * (x1 - x)
                hole |= (row - cy) ** 2 + (column - cx) ** 2 <= radius**2
            y, x = y1, x1
    return hole


@pytest.mark.parametrize("seed", range(6))
def test_strokes_against_loops(seed: int) -> None:
    shape = Strokes()
    got = shape(torch.tensor([seed]), 48, 40)[0, 0].numpy() == 1
    expected = drawn_by_loops(shape, seed, 48, 40)
    assert (got != expected).sum() <= 0.01 * expected.sum() + 1
    assert not (expected & ~got).sum() > 1


@pytest.mark.parametrize("size", [8, 28, 64])
def test_strokes_cover_something_and_not_everything(size: int) -> None:
    ratio = Strokes()(torch.arange(300), size, size).mean(dim=(1, 2, 3))
    assert ratio.min() > 0 and ratio.max() < 1
    assert 0.05 < ratio.mean() < 0.35 and ratio.std() > 0.05


def test_strokes_differ() -> None:
    hole = Strokes()(torch.arange(200), 32, 32).flatten(1)
    assert len(hole.unique(dim=0)) == 200
    everywhere = Strokes()(torch.arange(2000), 16, 16).mean(dim=0)
    assert everywhere.min() > 0.03


def test_mixture_takes_its_shares() -> None:
    empty, full = Box(size=0), Box(fraction=1.0)
    hole = ShapeMixture([empty, full], weights=[3, 1])(torch.arange(8000), 2, 2)
    assert abs(hole.mean() - 0.25) < 0.02
    assert (ShapeMixture([empty, full], weights=[0, 1])(SEEDS, 2, 2) == 1).all()
    assert abs(ShapeMixture([empty, full])(torch.arange(8000), 2, 2).mean() - 0.5) < 0.02


def test_the_choice_of_a_mixture_says_nothing_about_the_shape() -> None:
    box = Box(size=1, position="random")
    mixed = ShapeMixture([box, Box(size=0)])(torch.arange(8000), 4, 4)
    places = mixed[mixed.sum(dim=(1, 2, 3)) == 1].sum(dim=0).flatten().numpy()
    assert stats.chisquare(places).pvalue > 1e-3


def test_the_choices_of_nested_mixtures_are_independent() -> None:
    """Equal mixtures in both parts: the outer choice says nothing about the inner one."""
    inner = [ShapeMixture([Box(size=a), Box(size=b)]) for a, b in ((1, 2), (3, 4))]
    holes = ShapeMixture(inner)(torch.arange(8000), 4, 4)
    size = holes.sum(dim=(1, 2, 3)).sqrt().long()
    table = torch.bincount(size - 1, minlength=4).view(2, 2).numpy()
    assert (
        stats.chi2_contingency(table).pvalue > 1e-3 and stats.chisquare(table.sum(0)).pvalue > 1e-3
    )
    unequal = ShapeMixture([ShapeMixture([Box(size=1), Box(size=2)], [1, 3]), Box(size=3)], [1, 3])
    size = unequal(torch.arange(8000), 4, 4).sum(dim=(1, 2, 3)).sqrt().long()
    counts = torch.bincount(size - 1, minlength=3).numpy()
    assert stats.chisquare(counts, [500, 1500, 6000]).pvalue > 1e-3


@pytest.mark.parametrize(
    "shape,arguments,named",
    [
        (Box, {}, "size"),
        (Box, {"size": 3, "fraction": 0.5}, "fraction"),
        (Box, {"size": -1}, "-1"),
        (Box, {"fraction": 1.5}, "1.5"),
        (Box, {"size": 1, "position": [1]}, "row, column"),
        (Box, {"size": 1, "position": [1, -1]}, "row, column"),
        (Lines, {"period": 0}, "period"),
        (Strokes, {"max_strokes": 0}, "max_strokes"),
        (Strokes, {"max_vertices": 0}, "max_vertices"),
        (Strokes, {"max_width": 0.0}, "max_width"),
        (Strokes, {"max_length": -1.0}, "max_length"),
        (Strokes, {"max_angle": 0.0}, "max_angle"),
        (ShapeMixture, {"shapes": []}, "mixture"),
        (ShapeMixture, {"shapes": [Lines(2)], "weights": [1, 1]}, "weights"),
        (ShapeMixture, {"shapes": [Lines(2)], "weights": [0]}, "weights"),
        (ShapeMixture, {"shapes": [Lines(2), Lines(3)], "weights": [2, -1]}, "weights"),
    ],
)
def test_settings_are_checked(shape: Any, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        shape(**arguments)


def test_a_box_around_a_pixel() -> None:
    hole = Box(size=3, position=[2, 5])(SEEDS, 6, 9)[0, 0]
    assert hole.nonzero().tolist() == [[r, c] for r in (1, 2, 3) for c in (4, 5, 6)]
    even = Box(size=30, position=[60, 60])(SEEDS[:1], 128, 128)[0, 0].nonzero()
    assert even.min(0).values.tolist() == [45, 45] and even.max(0).values.tolist() == [74, 74]
    share = Box(fraction=0.5, position=[2, 4])(SEEDS, 6, 8)[0, 0].nonzero()
    assert share.min(0).values.tolist() == [1, 2] and share.max(0).values.tolist() == [3, 5]


@pytest.mark.parametrize("position", [[0, 5], [2, 0], [5, 5], [2, 8]])
def test_a_box_around_a_pixel_must_lie_inside(position: list[int]) -> None:
    with pytest.raises(InputError, match="does not lie inside"):
        Box(size=3, position=position)(SEEDS, 6, 9)


def test_a_box_that_does_not_fit() -> None:
    with pytest.raises(InputError, match="9 pixels"):
        Box(size=9)(SEEDS, 8, 20)


def test_a_cycle_takes_its_shapes_in_turn() -> None:
    shapes = [Half("right"), Box(size=2), Lines()]
    seeds = torch.tensor([4, 0, 3, 2])
    hole = Cycle(shapes)(seeds, 6, 7)
    for seed, one in zip(seeds.tolist(), hole, strict=True):
        assert torch.equal(one, shapes[seed % 3](torch.tensor([seed]), 6, 7)[0])
    with pytest.raises(InputError, match="one shape or more"):
        Cycle([])
