"""What this machine multiplies at most: the yardstick for every training step."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from pairs import Row, compare

SIDE = 2048


def rows(turns: int) -> Iterator[Row]:
    """A matrix product in float32 and bfloat16: steps are given as shares of the latter."""
    gflop = 2 * SIDE**3 / 1e9
    exact = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    low = exact[0].bfloat16(), exact[1].bfloat16()
    row = compare(
        "peak",
        f"matrix product of {SIDE}, bf16",
        "fp32",
        partial(torch.mm, *low),
        partial(torch.mm, *exact),
        turns=turns,
    )
    yield replace(row, gflop=gflop)
