"""The groups in which inpainting results are reported."""

from torch import Tensor

_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # upper ends, inclusive (Liu et al. 2018, section 4.1)
_RATIOS = ("1-10", "10-20", "20-30", "30-40", "40-50", "50-60", ">60")


def hole_ratio(hole: Tensor) -> list[str]:
    """The share of the image of each hole [B, 1, H, W], in percent: "<1", "1-10" ... ">60"."""
    num_pixels = hole[0].numel()
    ratios = [int(count) / num_pixels for count in hole.sum(dim=(1, 2, 3)).tolist()]
    return [
        "<1" if ratio < 0.01 else _RATIOS[sum(ratio > edge for edge in _EDGES)] for ratio in ratios
    ]


def hole_side(hole: Tensor) -> list[str]:
    """The side of the image that a hole [B, 1, H, W] takes off: "right", "bottom", "left", "top".

    "other" where it is not one straight strip along a side, or takes all or nothing.
    """
    return [_side(one[0] > 0.5) for one in hole]


def _side(hole: Tensor) -> str:
    for across, last, first in ((0, "right", "left"), (1, "bottom", "top")):
        profile = hole.any(dim=across)
        strip = bool((hole.all(dim=across) == profile).all())
        changes = int((profile[1:] != profile[:-1]).sum())
        if strip and changes == 1:
            return last if profile[-1] else first
    return "other"


def hole_shape(hole: Tensor) -> list[str]:
    """The shape of a hole [B, 1, H, W]: "half", "lines", "box", "outside" or "strokes".

    half: one strip along a side. lines: several whole rows or columns. box: any other rectangle.
    outside: all but a rectangle. strokes: whatever else there is.
    """
    return [_shape(one[0] > 0.5) for one in hole]


def _shape(hole: Tensor) -> str:
    if _side(hole) != "other":
        return "half"
    rows, columns = hole.any(dim=1), hole.any(dim=0)
    whole = bool((hole.all(dim=1) == rows).all()) or bool((hole.all(dim=0) == columns).all())
    if hole.any() and whole:
        return "lines"
    if _is_box(hole):
        return "box"
    return "outside" if _is_box(~hole) else "strokes"


def _is_box(hole: Tensor) -> bool:
    """Whether it is one rectangle, and neither nothing nor all."""
    rows, columns = hole.any(dim=1), hole.any(dim=0)
    filled = bool((hole == rows[:, None] & columns[None]).all())
    ends = [int((one[1:] != one[:-1]).sum() + one[0] + one[-1]) for one in (rows, columns)]
    return bool(hole.any()) and not bool(hole.all()) and filled and ends == [2, 2]
