"""The groups in which inpainting results are reported."""

from torch import Tensor

_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # upper ends, inclusive (Liu et al. 2018, section 4.1)
_RATIOS = ("1-10", "10-20", "20-30", "30-40", "40-50", "50-60", ">60")


def hole_ratio(hole: Tensor) -> list[str]:
    """For each hole [B, 1, H, W] its share of the image in percent: "<1", "1-10" ... ">60"."""
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
