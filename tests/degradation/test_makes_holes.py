"""A degradation says beforehand whether its observations have holes, and keeps its word."""

from typing import Any

import pytest
import torch

from restore.degradation.composition import Chain, Curriculum, Mixture
from restore.degradation.contract import makes_holes
from restore.degradation.gray import Gray
from restore.degradation.mask import Box, Half, Mask
from restore.degradation.noise import Gaussian

HOLES = [Mask(Half("right")), Mask(Box(size=2))]
NOISES = [Gaussian(5.0), Gaussian(25.0)]


@pytest.mark.parametrize(
    "degradation",
    [
        *HOLES,
        *NOISES,
        Gray(),
        *(Mixture(parts) for parts in (HOLES, NOISES)),
        *(Curriculum(*parts, updates=5) for parts in (HOLES, NOISES)),
        Chain([NOISES[0], HOLES[0]]),
        Chain(NOISES),
        Chain([*NOISES, HOLES[0]]),
    ],
    ids=lambda one: type(one).__name__,
)
def test_it_is_so(degradation: Any) -> None:
    made = degradation(torch.rand(2, 3, 8, 8), torch.arange(2))
    assert makes_holes(degradation) == ("hole" in made)
