import math
from typing import Any

import pytest
import torch
from torch import Tensor

from restore.loss import content
from restore.loss.content import (
    NegativePSNR,
    Perceptual,
    Pixels,
    TotalVariation,
    check_terms,
    checked_losses,
    keep_known,
)
from restore.types import InputError

GENERATOR = torch.Generator().manual_seed(0)
COARSE, REFINED, TARGET = (torch.rand(3, 2, 3, 8, 8, generator=GENERATOR) * 2 - 1).unbind()
HOLE = torch.zeros(2, 1, 8, 8)
HOLE[0, :, :3] = 1


def test_pixels_compare_every_stage() -> None:
    loss = Pixels(weight=2.0, distance="l2", hole_weight=6.0, known_weight=0.5)
    terms = loss([COARSE, REFINED], TARGET, HOLE)
    assert list(terms) == ["l2", "coarse_l2"]
    for stage, name in ((REFINED, "l2"), (COARSE, "coarse_l2")):
        error = (stage - TARGET).square()
        first = 6 * error[0, :, :3].mean() + 0.5 * error[0, :, 3:].mean()
        torch.testing.assert_close(terms[name], 2 * torch.stack([first, 0.5 * error[1].mean()]))


def test_psnr_of_every_stage_is_that_of_its_unit_range_by_hand() -> None:
    terms = NegativePSNR(weight=0.5)([COARSE, REFINED], TARGET, None)
    assert list(terms) == ["negative_psnr", "coarse_negative_psnr"]
    for stage, name in ((REFINED, "negative_psnr"), (COARSE, "coarse_negative_psnr")):
        for image, wanted, term in zip(stage, TARGET, terms[name], strict=True):
            errors = ((image - wanted) / 2).flatten().tolist()  # in the range [0, 1]
            mse = sum(error**2 for error in errors) / len(errors)
            assert -term.item() / 0.5 == pytest.approx(-10 * math.log10(mse), abs=1e-3)


@pytest.mark.parametrize("loss", [Pixels(weight=2.0, hole_weight=6.0), NegativePSNR(weight=0.5)])
def test_a_network_of_three_stages_learns_at_each(loss: Pixels | NegativePSNR) -> None:
    """Both stages before the last are in the sum that is minimised, whatever it is called."""
    stages = [COARSE, (COARSE + REFINED) / 2, REFINED]
    terms = loss(stages, TARGET, HOLE)
    assert len(terms) == 2
    each = [next(iter(loss([stage], TARGET, HOLE).values())) for stage in stages]
    torch.testing.assert_close(sum(terms.values()), sum(each))


def test_psnr_weighs_images_of_small_and_large_errors_alike() -> None:
    error = torch.stack([0.02 * (REFINED[0] - TARGET[0]), 0.2 * (REFINED[0] - TARGET[0])])
    scale = torch.ones(2, requires_grad=True)
    target = TARGET[:1].expand_as(error)
    output = target + error * scale[:, None, None, None]
    NegativePSNR()([output], target, None)["negative_psnr"].sum().backward()
    # d/da of 10 log10(a^2 MSE) is 20 / ln 10, whatever the MSE
    torch.testing.assert_close(scale.grad, torch.full((2,), 0.2 / math.log(10)), rtol=0.05, atol=0)


def test_psnr_of_an_exact_image_is_that_of_its_rounding() -> None:
    output = TARGET.clone().requires_grad_()
    term = NegativePSNR(weight=1.0)([output], TARGET, None)["negative_psnr"]
    steps = (torch.arange(1_000_000) + 0.5) / 1_000_000 - 0.5  # of 1 / 255, rounded to the nearest
    mse = (steps / 255).square().mean().item()
    torch.testing.assert_close(term, torch.full((2,), 10 * math.log10(mse)))
    term.sum().backward()
    assert torch.equal(output.grad, torch.zeros_like(output))


def test_psnr_counts_the_hole_alone() -> None:
    output = REFINED.clone().requires_grad_()
    NegativePSNR()([output], TARGET, HOLE)["negative_psnr"].sum().backward()
    assert torch.equal(output.grad != 0, HOLE.expand_as(output) == 1)


def test_roughness_counts_inside_the_hole_alone() -> None:
    loss = TotalVariation(weight=0.5)
    flat = torch.zeros(1, 3, 8, 8)
    rough = flat.clone()
    rough[..., 5:, :] = torch.rand(3, 3, 8, generator=torch.Generator().manual_seed(1))
    hole = HOLE[:1]
    assert loss([rough], flat, hole)["total_variation"].item() == 0
    assert loss([rough], flat, 1 - hole)["total_variation"].item() > 0
    assert loss([rough], flat, None)["total_variation"].item() > 0


def test_roughness_at_the_border_is_that_of_known_pixels() -> None:
    """The network may say what it likes of them: they are put back before anything is compared."""
    wild = torch.where(HOLE[:1] > 0, REFINED[:1], 100.0)
    found, wanted = (
        TotalVariation()([output], TARGET[:1], HOLE[:1])["total_variation"]
        for output in (wild, REFINED[:1])
    )
    torch.testing.assert_close(found, wanted)


def test_roughness_of_known_pixels_is_no_loss() -> None:
    """Nothing can be learnt of it: neighbours count that both lie in the hole or touch it."""
    term = TotalVariation(weight=0.5)([TARGET], TARGET, HOLE)["total_variation"]
    rows = TARGET[0, :, :4]  # 3 of the hole and the one beside it
    rough = rows.diff(dim=1).abs().sum() + rows.diff(dim=2).abs().sum()
    torch.testing.assert_close(term, 0.5 * torch.stack([rough / (3 * 64), 0 * rough]))


def test_composite_takes_no_gradient_outside_the_hole() -> None:
    output = REFINED.clone().requires_grad_()
    keep_known(output, TARGET, HOLE).sum().backward()
    assert torch.equal(output.grad, HOLE.expand_as(output))


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stands for VGG, whose weights are not at hand: the image and its double; counts its calls."""
    calls: list[int] = []

    class Doubling:
        def __init__(self, network: str, layers: list[str]) -> None:
            self.name = network

        def __call__(self, image: Tensor) -> list[Tensor]:
            calls.append(len(image))
            return [image, 2 * image]

    monkeypatch.setattr(content, "image_features", Doubling)
    return calls


def test_perceptual_and_style_share_their_features(features: list[int]) -> None:
    loss = Perceptual(weight=3.0, style_weight=5.0)
    output = REFINED.clone().requires_grad_()
    terms = loss([COARSE, output], TARGET, HOLE)
    assert len(features) == 2  # of the composite and of the target
    difference = ((REFINED - TARGET) * HOLE).abs().flatten(1).mean(1)
    torch.testing.assert_close(terms["perceptual"].detach(), 3 * (1 + 2) * difference)
    assert terms["style"][0] > 0 and terms["style"][1] == 0
    assert list(Perceptual(weight=1.0)([output], TARGET, None)) == ["perceptual"]
    assert list(Perceptual(weight=0.0, style_weight=1.0)([output], TARGET, None)) == ["style"]


def test_output_and_composite_are_summed(features: list[int]) -> None:
    """Liu et al. 2018, eq. 2 to 4: known pixels count in the output alone."""
    terms = {
        judged: Perceptual(weight=1.0, style_weight=2.0, judged=judged)([REFINED], TARGET, HOLE)
        for judged in ("output", "composite", "both")
    }
    everywhere = (REFINED - TARGET).abs().flatten(1).mean(1)
    torch.testing.assert_close(terms["output"]["perceptual"], (1 + 2) * everywhere)
    for name in ("perceptual", "style"):
        total = terms["output"][name] + terms["composite"][name]
        torch.testing.assert_close(terms["both"][name], total)


def test_weights_that_mean_nothing(features: list[int]) -> None:
    for make in (
        lambda: Pixels(0.0),
        lambda: TotalVariation(-1.0),
        lambda: Perceptual(0.0, 0.0),
        lambda: Perceptual(-1.0, 2.0),
        lambda: Perceptual(2.0, -1.0),
    ):
        with pytest.raises(InputError, match="weight"):
            make()


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (None, "returned NoneType"),
        (torch.ones(2), r"returned \[2\]"),
        ({"own": 0.5}, "'own': float"),
        ({"l1": torch.ones(2), "own": None}, "'own': NoneType"),
        ({"own": torch.ones(3, 8, 8)}, r"'own': \[3, 8, 8\]"),
        ({"own": torch.ones(2, 1, 8, 8)}, r"'own': \[2, 1, 8, 8\]"),
        ({"own": torch.ones(8)}, r"'own': \[8\]"),
        ({1: torch.ones(2)}, r"1: \[2\]"),
    ],
)
def test_what_is_no_number_for_each_image_is_refused(terms: object, said: str) -> None:
    kind = r"task\.loss\.mine restore\.loss\.content\.Pixels"
    with pytest.raises(InputError, match=rf"{kind} .*{said}.* tensors of shape \[2\], as"):
        check_terms("mine", Pixels(), terms, 2)


def test_a_number_for_each_image_or_for_all_stands() -> None:
    terms = {"l1": torch.ones(2), "kl": torch.tensor(0.5)}
    assert check_terms("mine", Pixels(), terms, 2) is terms


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (torch.nn.L1Loss(), r"task\.loss is torch.*L1Loss, .* set task\.loss\.NAME\._target_"),
        ({"mine": None}, "task.loss is empty"),
        ({"mine": torch.nn.L1Loss()}, r"task\.loss\.mine torch.*L1Loss is not called with stages"),
        ({"mine": lambda stages, target: {}}, "is not called with stages, target and hole"),
    ],
)
def test_losses_that_no_training_could_call_are_refused(losses: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        checked_losses(losses)


def test_losses_that_are_switched_off_are_left_out() -> None:
    pixels = Pixels()
    assert checked_losses({"pixels": pixels, "mine": None}) == {"pixels": pixels}
