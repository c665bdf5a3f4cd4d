import pytest
import torch

from restore.metric.bucket import hole_ratio, hole_shape, hole_side


@pytest.mark.parametrize(
    ("count", "label"),
    [
        (0, "<1"), (9, "<1"), (10, "1-10"), (100, "1-10"), (101, "10-20"), (200, "10-20"),
        (201, "20-30"), (300, "20-30"), (301, "30-40"), (400, "30-40"), (500, "40-50"),
        (501, "50-60"), (600, "50-60"), (601, ">60"), (1000, ">60"),
    ],
)  # fmt: skip
def test_ratio_blocks_include_their_upper_ends(count: int, label: str) -> None:
    hole = torch.zeros(2, 1, 1000)
    hole[0, :, :count] = 1
    assert hole_ratio(hole.view(2, 1, 20, 50)) == [label, "<1"]


def test_sides() -> None:
    hole = torch.zeros(7, 1, 5, 6)
    hole[0, :, :, 3:] = 1
    hole[1, :, 2:] = 1
    hole[2, :, :, :1] = 1
    hole[3, :, :2] = 1
    hole[4, :, 1:3, 1:3] = 1
    hole[5] = 1
    assert hole_side(hole) == ["right", "bottom", "left", "top", "other", "other", "other"]


def test_a_strip_inside_or_a_ragged_one_is_on_no_side() -> None:
    hole = torch.zeros(2, 1, 5, 6)
    hole[0, :, :, 2:4] = 1
    hole[1, :, :, 3:] = 1
    hole[1, :, 0, 3] = 0
    assert hole_side(hole) == ["other", "other"]


def test_shapes() -> None:
    hole = torch.zeros(8, 1, 8, 10)
    hole[0, :, :, 5:] = 1
    hole[1, :, 1::2] = 1
    hole[2, :, 2:5, 3:7] = 1
    hole[3, :, :4, :4] = 1  # in a corner
    hole[4] = 1 - hole[2]
    hole[5, :, 1, 2:8] = 1
    hole[5, :, 1:6, 4] = 1
    hole[7, :, 2:5, 3:7] = 1
    hole[7, :, 7, 9] = 1
    shapes = ["half", "lines", "box", "box", "outside", "strokes", "strokes", "strokes"]
    assert hole_shape(hole) == shapes


def test_several_rectangles_are_no_box() -> None:
    """Four in a grid are all rows and all columns that they touch, and still not one."""
    hole = torch.zeros(1, 1, 10, 10)
    for rows in (slice(1, 3), slice(6, 8)):
        for columns in (slice(2, 4), slice(5, 9)):
            hole[..., rows, columns] = 1
    assert hole_shape(hole) == ["strokes"] and hole_shape(1 - hole) == ["strokes"]
