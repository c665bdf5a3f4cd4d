import hashlib
import math

import pytest
import torch
from torch import Tensor

from restore.degradation import brush
from restore.degradation.brush import fill, paint, trace
from restore.degradation.mask import Strokes


def painted_by_distance(points: Tensor, radius: Tensor, height: int, width: int) -> Tensor:
    """Every pixel's distance to every segment, [B, 1, H, W]."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    hole = torch.zeros(len(points), 1, height, width)
    for b, s, v in (radius >= 0).nonzero().tolist():
        (y, x), (y1, x1) = points[b, s, v : v + 2].tolist()
        squared = max((y1 - y) ** 2 + (x1 - x) ** 2, 1e-30)
        share = (((row - y) * (y1 - y) + (column - x) * (x1 - x)) / squared).clamp(0, 1)
        distance = torch.hypot(row - y - share * (y1 - y), column - x - share * (x1 - x))
        hole[b, 0][distance <= radius[b, s, v].item()] = 1
    return hole


def test_a_brush_of_no_radius_paints_the_centres_that_it_meets() -> None:
    points = torch.tensor([[1.0, 2.0], [4.0, 5.0]]).view(1, 1, 2, 2)
    hole = paint(points, torch.zeros(1, 1, 1), 6, 7)
    assert hole.nonzero()[:, 2:].tolist() == [[1, 2], [2, 3], [3, 4], [4, 5]]


@pytest.mark.parametrize("size", [(40, 33), (7, 60), (1, 1), (1, 30)])
def test_paints_all_pixels_within_reach(size: tuple[int, int]) -> None:
    """Steep, flat, level, upright and single-point segments, brushes beyond the border."""
    generator = torch.Generator().manual_seed(0)
    limit = torch.tensor([float(side) for side in size])
    points = torch.rand(30, 3, 4, 2, generator=generator).double() * limit
    points[:6, :, 1:, 0] = points[:6, :, :1, 0]  # level
    points[6:12, :, 1:, 1] = points[6:12, :, :1, 1]  # upright
    points[12:15, :, 1:] = points[12:15, :, :1]  # points
    points[15:20, :, 1:, 0] = points[15:20, :, :1, 0] + 1e-9  # all but level
    radius = 8 * torch.rand(30, 3, 3, generator=generator).double() - 1
    expected = painted_by_distance(points, radius, *size)
    assert torch.equal(paint(points, radius, *size), expected)
    assert size == (1, 1) or 0.1 < expected.mean() < 0.98


def test_the_size_of_groups_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    together = Strokes()(torch.arange(9), 20, 24)
    monkeypatch.setattr(brush, "_AT_ONCE", 2 * 20 * 25)
    assert torch.equal(Strokes()(torch.arange(9), 20, 24), together)


def test_fill_of_empty_samples_and_overlaps() -> None:
    begin, end = torch.tensor([5, 6, 11]), torch.tensor([8, 7, 11])  # [2, 2, 3]: lines of 4 places
    hole = fill(begin, end, (2, 2, 3))
    assert hole.flatten().tolist() == [0, 0, 0, 0, 1, 1] + [0] * 6
    nothing = torch.zeros(0, dtype=torch.int64)
    assert fill(nothing, nothing, (3, 2, 2)).sum() == 0


def test_chains_turn_and_stay_inside() -> None:
    points = trace(
        torch.tensor([[[0.5, 0.5]]]),
        torch.tensor([[[0.0, math.pi / 2]]]),
        torch.tensor([[[2.0, 90.0]]]),
        11,
        21,
    )
    expected = torch.tensor([[5.0, 10.0], [7.0, 10.0], [7.0, 20.0]]).double()
    torch.testing.assert_close(points[0, 0], expected, atol=1e-5, rtol=0)


def test_the_holes_of_photos_masks_are_frozen() -> None:
    """The bits of benchmark photos_masks, as every commit before has drawn them."""
    hole = Strokes()(torch.arange(32), 64, 64).bool()
    assert hashlib.sha256(hole.numpy().tobytes()).hexdigest()[:16] == "da87c4e55bcea398"
