"""The leaves of conf/loss that need no network, by what the papers that they follow say."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from restore.loss.reconstruction import total_variation

CONF = Path(__file__).parents[2] / "conf"
HOLE = torch.zeros(2, 1, 6, 6)
HOLE[0, :, 2:4, 1:5], HOLE[1, :, 1:, 3:] = 1, 1
OUTPUT, TARGET = torch.rand(2, 2, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
ERROR = (OUTPUT - TARGET).double()
INSIDE = HOLE.expand_as(ERROR)


def per_image(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean [B] of all pixels, or of those with weight 1."""
    if weight is None:
        return values.mean((1, 2, 3))
    return (values * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


IN_HOLE, KNOWN = per_image(ERROR.abs(), INSIDE), per_image(ERROR.abs(), 1 - INSIDE)
ROUGH = 0.1 * total_variation(TARGET + (OUTPUT - TARGET) * HOLE, HOLE)
KEPT = per_image((ERROR * INSIDE).square()) + (2 / 255) ** 2 / 12
TERMS: dict[str, dict[str, Tensor]] = {
    "l1": {"l1": IN_HOLE + KNOWN},
    "l2": {"l2": per_image(ERROR**2, INSIDE) + per_image(ERROR**2, 1 - INSIDE)},
    "psnr": {"negative_psnr": 0.01 * 10 * (KEPT / 4).log10()},
    "hole_l1": {"l1": IN_HOLE},
    "inpainting": {"l1": 6 * IN_HOLE + KNOWN, "total_variation": ROUGH},
    "inpainting_perceptual": {
        "l1": per_image(ERROR.abs() * (1 + 5 * INSIDE)),
        "total_variation": ROUGH,
    },
}


def leaf(name: str) -> dict[str, object]:
    with initialize_config_dir(str(CONF), version_base=None):
        node = compose(overrides=[f"+loss={name}"]).task.loss
    return {key: instantiate(one) for key, one in node.items() if key != "perceptual"}


@pytest.mark.parametrize("name", TERMS)
def test_terms_by_hand(name: str) -> None:
    terms: dict[str, Tensor] = {}
    for loss in leaf(name).values():
        terms |= loss([OUTPUT], TARGET, HOLE)  # type: ignore[operator]
    assert terms.keys() == TERMS[name].keys()
    for key, expected in TERMS[name].items():
        torch.testing.assert_close(terms[key].double(), expected.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "weight"), [("colorization", 100), ("colorization_75", 75)])
def test_pixels_of_a_colorization_weigh_more_than_its_judge(name: str, weight: float) -> None:
    (loss,) = leaf(name).values()
    terms = loss([OUTPUT], TARGET, None)  # type: ignore[operator]
    expected = weight * per_image(ERROR.abs())
    torch.testing.assert_close(terms["l1"].double(), expected, rtol=1e-5, atol=1e-6)
