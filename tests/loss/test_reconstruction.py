from typing import Literal

import numpy as np
import pytest
import torch

from restore.loss.reconstruction import ReconstructionLoss, total_variation
from restore.types import InputError

Distance = Literal["l1", "l2", "charbonnier"]
DISTANCES: list[Distance] = ["l1", "l2", "charbonnier"]


def pair() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    hole = torch.zeros(3, 1, 6, 5)
    hole[0, :, :2], hole[1, :, 3:, 1:] = 1, 1  # the third is empty
    return torch.randn(3, 3, 6, 5), torch.randn(3, 3, 6, 5), hole


def pixelwise(distance: str, difference: np.ndarray) -> np.ndarray:
    if distance == "l1":
        return np.abs(difference)
    return difference**2 if distance == "l2" else np.sqrt(difference**2 + 1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_weighted_means_of_both_parts(distance: Distance) -> None:
    output, target, hole = pair()
    loss = ReconstructionLoss(distance, hole_weight=6.0, known_weight=0.5)(output, target, hole)
    error = pixelwise(distance, (output.double() - target.double()).numpy())
    for sample in range(3):
        inside = np.broadcast_to(hole[sample].numpy() == 1, error[sample].shape)
        parts = [(6.0, error[sample][inside]), (0.5, error[sample][~inside])]
        expected = sum(weight * part.mean() for weight, part in parts if part.size)
        assert loss[sample].item() == pytest.approx(expected, rel=1e-5)


def test_a_hole_of_one_pixel_counts_in_full() -> None:
    hole = torch.zeros(1, 1, 4, 4)
    hole[..., 3, 2] = 1
    loss = ReconstructionLoss(hole_weight=6.0, known_weight=0.5)(3 * hole, 0 * hole, hole)
    assert loss.item() == 18


def test_over_the_image_a_pixel_of_the_hole_weighs_six_times_a_known_one() -> None:
    """Liu et al. 2018, eq. 1, summed by hand; the gradient of every pixel shows its weight."""
    output, target, hole = pair()
    output.requires_grad_()
    loss = ReconstructionLoss("l1", hole_weight=6.0, over="image")(output, target, hole)
    error = np.abs((output.detach().double() - target.double()).numpy())
    for sample in range(3):
        inside = np.broadcast_to(hole[sample].numpy() == 1, error[sample].shape)
        expected = (6 * error[sample][inside].sum() + error[sample][~inside].sum()) / (3 * 6 * 5)
        assert loss[sample].item() == pytest.approx(expected, rel=1e-5)
    loss.sum().backward()
    assert output.grad is not None
    steepness = output.grad.abs() * 90
    torch.testing.assert_close(steepness, (1 + 5 * hole).expand_as(steepness))


@pytest.mark.parametrize("distance", DISTANCES)
def test_plain_mean_without_a_hole(distance: Distance) -> None:
    output, target, _ = pair()
    error = pixelwise(distance, (output.double() - target.double()).numpy())
    loss = ReconstructionLoss(distance, hole_weight=6.0)(output, target)
    np.testing.assert_allclose(loss, error.mean(axis=(1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_empty_and_full_holes_give_neither_nan_nor_gradient_nan(
    distance: Distance, level: float
) -> None:
    output, target, _ = pair()
    output.requires_grad_()
    hole = torch.full((3, 1, 6, 5), level)
    loss = ReconstructionLoss(distance, hole_weight=level, known_weight=1 - level)
    loss(output, target, hole).sum().backward()
    assert output.grad is not None and output.grad.isfinite().all()
    other = ReconstructionLoss(distance, hole_weight=1 - level, known_weight=level)
    assert torch.equal(other(output, target, hole), torch.zeros(3))


def test_charbonnier_is_smooth_at_zero_and_tends_to_l1() -> None:
    zero = torch.zeros(1, 1, 2, 2, requires_grad=True)
    loss = ReconstructionLoss("charbonnier")(zero, torch.zeros(1, 1, 2, 2))
    loss.sum().backward()
    assert loss.item() == pytest.approx(1e-3)
    assert zero.grad is not None and torch.equal(zero.grad, torch.zeros(1, 1, 2, 2))
    far = ReconstructionLoss("charbonnier")(torch.ones(1, 1, 2, 2), -torch.ones(1, 1, 2, 2))
    assert far.item() == pytest.approx(2, abs=1e-6)


def test_bf16_outputs_are_compared_in_float32() -> None:
    output, target, hole = pair()
    half = output.bfloat16()
    loss = ReconstructionLoss()(half, target, hole)
    assert torch.equal(loss, ReconstructionLoss()(half.float(), target, hole))


def test_refuses_bad_weights() -> None:
    with pytest.raises(InputError, match="hole_weight=-1"):
        ReconstructionLoss(hole_weight=-1.0)
    with pytest.raises(InputError, match="not 0 for both"):
        ReconstructionLoss(hole_weight=0.0, known_weight=0.0)
    with pytest.raises(InputError, match="distance=l3"):
        ReconstructionLoss("l3")  # type: ignore[arg-type]


def test_total_variation_of_a_ramp_is_its_slopes() -> None:
    """54 pixels have 45 neighbours below and 48 on the right."""
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(9.0), indexing="ij")
    image = torch.stack([torch.zeros(6, 9), 2 * rows - 3 * columns])[:, None]
    expected = torch.tensor([0.0, (2 * 45 + 3 * 48) / 54])
    torch.testing.assert_close(total_variation(image), expected)


@pytest.mark.parametrize("with_hole", [False, True])
def test_total_variation_by_definition(with_hole: bool) -> None:
    """Pairs of which both pixels lie in the hole or touch it: Liu et al. 2018, eq. 6."""
    x = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    hole = torch.zeros(2, 1, 6, 7)
    hole[0, :, 2, 3], hole[1, :, :2, :3] = 1, 1
    for b in range(2):
        holes = {(i, j) for i in range(6) for j in range(7) if hole[b, 0, i, j] == 1}
        region = {
            (i, j)
            for i in range(6)
            for j in range(7)
            if not with_hole or any(max(abs(i - k), abs(j - n)) <= 1 for k, n in holes)
        }
        expected = sum(
            float((x[b, :, i, j] - x[b, :, k, n]).abs().sum())
            for i, j in region
            for k, n in ((i + 1, j), (i, j + 1))
            if (k, n) in region
        ) / (3 * 6 * 7)
        found = total_variation(x, hole if with_hole else None)[b].item()
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_total_variation_is_summed_in_float32(dtype: torch.dtype) -> None:
    """400 x 400 pixels that differ by one from each neighbour: a sum of 319200."""
    rows, columns = torch.meshgrid(torch.arange(400), torch.arange(400), indexing="ij")
    board = ((rows + columns) % 2).to(dtype)[None, None]
    assert total_variation(board).item() == pytest.approx(2 * 399 / 400, rel=1e-6)


def test_total_variation_of_one_pixel_is_zero() -> None:
    assert total_variation(torch.ones(2, 3, 1, 1), torch.ones(2, 1, 1, 1)).tolist() == [0, 0]
    assert total_variation(torch.tensor([[[[0.0, 1.0, 3.0]]]])).item() == 1
