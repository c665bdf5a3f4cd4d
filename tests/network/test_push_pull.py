import pytest
import torch
from torch import Tensor

from restore.network.push_pull import push_pull

SIZES = [(1, 1), (1, 7), (16, 16), (21, 34), (64, 64)]


def with_hole(height: int, width: int, share: float = 0.5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * width)
    image = torch.rand(3, 3, height, width, generator=generator) * 2 - 1
    hole = (torch.rand(3, 1, height, width, generator=generator) < share).float()
    return image, hole


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_known_pixels_are_bit_equal_and_all_is_finite(height: int, width: int) -> None:
    image, hole = with_hole(height, width)
    filled = push_pull(image.masked_fill(hole == 1, torch.nan), hole)
    known = hole.expand_as(image) == 0
    assert torch.equal(filled[known], image[known])
    assert filled.isfinite().all() and filled.abs().max() <= 1


@pytest.mark.parametrize("relaxations", [0, 4])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_constant_image_is_filled_exactly(height: int, width: int, relaxations: int) -> None:
    _, hole = with_hole(height, width, share=0.9)
    hole[:, :, 0, 0] = 0
    image = torch.full((3, 3, height, width), 0.3)
    filled = push_pull(image * (1 - hole), hole, relaxations)
    torch.testing.assert_close(filled, image)


def test_an_odd_side_has_its_last_pixel_alone_in_the_coarser_level() -> None:
    """Gortler et al. 1996, by hand: of a..bc the pairs are a., .b and c, and what lies between two
    of their means has a quarter of the farther one."""
    a, b, c = -0.8, 0.4, 1.0
    image = torch.tensor([a, 0, 0, b, c]).view(1, 1, 1, 5)
    hole = torch.tensor([0.0, 1, 1, 0, 0]).view(1, 1, 1, 5)
    expected = torch.tensor([a, 0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b, b, c])
    torch.testing.assert_close(push_pull(image, hole, relaxations=0).flatten(), expected)


def test_a_linear_ramp_comes_close_and_relaxations_bring_it_closer() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(1, 1, 64, 64)
    hole = torch.zeros(1, 1, 64, 64)
    hole[..., 20:41, 24:38] = 1
    errors = [
        (push_pull(ramp * (1 - hole), hole, relaxations) - ramp).abs().max().item()
        for relaxations in (0, 4, 16)
    ]
    across = ramp[0, 0, 0, 37] - ramp[0, 0, 0, 24]
    assert errors[0] < 0.5 * across  # a constant fill has at least half of it
    assert errors[2] < errors[1] < errors[0] and errors[1] < 0.1 * across


def test_relaxed_long_enough_it_is_the_solution_of_laplace() -> None:
    """Zero Laplacian inside the hole, against a dense linear system."""
    image = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(1)).double()
    hole = torch.zeros(1, 1, 9, 9)
    hole[..., 2:6, 3:7] = 1
    cells = [(i, j) for i in range(2, 6) for j in range(3, 7)]
    system = torch.zeros(len(cells), len(cells)).double()
    right = torch.zeros(len(cells)).double()
    for row, (i, j) in enumerate(cells):
        system[row, row] = 4
        for near in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if near in cells:
                system[row, cells.index(near)] = -1
            else:
                right[row] += image[0, 0, near[0], near[1]]
    solution = torch.linalg.solve(system, right).float()
    filled = push_pull(image.float(), hole, relaxations=200)
    torch.testing.assert_close(filled[0, 0, 2:6, 3:7].flatten(), solution, atol=1e-4, rtol=0)


def test_samples_do_not_mix_and_nothing_known_is_middle_grey() -> None:
    image, hole = with_hole(16, 16)
    hole[1] = 1
    together, alone = push_pull(image, hole), push_pull(image[2:], hole[2:])
    torch.testing.assert_close(together[2:], alone)
    assert torch.equal(together[1], torch.zeros_like(image[1]))


def test_without_a_hole_nothing_changes_and_no_gradient_flows() -> None:
    image, hole = with_hole(16, 16, share=0.0)
    image.requires_grad_(True)
    filled = push_pull(image, hole)
    assert torch.equal(filled, image) and not filled.requires_grad


def test_keeps_the_type_and_its_precision_under_autocast() -> None:
    image, hole = with_hole(32, 32)
    plain = push_pull(image, hole)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(push_pull(image, hole), plain)
    double, known = image.double() / 3, hole.expand_as(image) == 0
    assert torch.equal(push_pull(double, hole)[known], double[known])
    half = push_pull(image.bfloat16(), hole.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), plain, atol=0.02, rtol=0)


def test_four_relaxations_are_what_nobody_asks_for() -> None:
    image, hole = with_hole(21, 34)
    assert torch.equal(push_pull(image, hole), push_pull(image, hole, relaxations=4))
    assert not torch.equal(push_pull(image, hole), push_pull(image, hole, relaxations=3))
