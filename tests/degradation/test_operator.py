"""Operators against their identities, dense matrices and other people's programs, in float64."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import convolve
from torch import Tensor
from torch.nn import functional as F

from restore.degradation.blur import Blur, GaussianBlur, MotionBlur
from restore.degradation.gray import Lightness
from restore.degradation.operator import (
    Downsample,
    IdentityOperator,
    Known,
    LinearOperator,
    Luminance,
)
from restore.degradation.product import Product
from restore.types import InputError

SIDE = 8


def hole() -> Tensor:
    made = torch.zeros(1, 1, SIDE, SIDE)
    made[..., 2:5, 1:7] = 1
    return made


OPERATORS: dict[str, LinearOperator] = {
    "identity": IdentityOperator(),
    "known": Known(hole()),
    "luminance": Luminance(),
    "bicubic x2": Downsample(2),
    "bicubic x4": Downsample(4),
    "box x2": Downsample(2, "box"),
    "box x4": Downsample(4, "box"),
    "gaussian": GaussianBlur(0.8),
    "wide gaussian": GaussianBlur(1.0),
    "motion": MotionBlur(5, 30.0),
    "mean": Blur(torch.ones(3, 5) / 15),
    "one-sided": Blur(torch.tensor([[0.0, 0.7, 0.3], [0.0, 0.1, 0.0], [0.2, 0.0, 0.0]])),
    "gray of a hole": Product([Known(hole()), Luminance()]),
    "small and blurred": Product([GaussianBlur(0.6), Downsample(2)]),
    "all": Product([Luminance(), GaussianBlur(0.6), Downsample(2, "box"), IdentityOperator()]),
}
operators = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())


def image(count: int = 2, seed: int = 0, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, SIDE, SIDE, generator=generator, dtype=torch.float64) * 2 - 1


def dense(operator: LinearOperator) -> Tensor:
    """The matrix of an operator, column by column."""
    basis = torch.eye(3 * SIDE * SIDE, dtype=torch.float64).view(-1, 3, SIDE, SIDE)
    return operator.forward(basis).flatten(1).T


@operators
def test_what_is_measured_is_not_rounded_where_a_network_is(operator: LinearOperator) -> None:
    """By autocast a network computes in bf16, and with it whatever multiplies matrices there."""
    x = image().float()
    y = operator.forward(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(operator.measured(x), y if not operator.keeps_size else x)
        assert torch.equal(operator.forward(x), y)
        back = operator.adjoint(y, SIDE, SIDE), operator.inverse(y, SIDE, SIDE)
    assert torch.equal(back[0], operator.adjoint(y, SIDE, SIDE))
    assert torch.equal(back[1], operator.inverse(y, SIDE, SIDE))


@operators
def test_transpose_and_pseudo_inverse_are_those_of_the_dense_matrix(
    operator: LinearOperator,
) -> None:
    matrix = dense(operator)
    x, y = image(), operator.forward(image(seed=1)) + 0.1
    size = operator.size(SIDE, SIDE)
    assert y.shape == (2, operator.channels(3), *size)
    torch.testing.assert_close(operator.forward(x).flatten(1), x.flatten(1) @ matrix.T)
    transposed = operator.adjoint(y, SIDE, SIDE).flatten(1)
    torch.testing.assert_close(transposed, y.flatten(1) @ matrix)
    inverted = operator.inverse(y, SIDE, SIDE).flatten(1)
    expected = y.flatten(1) @ torch.linalg.pinv(matrix, rtol=1e-6).T
    torch.testing.assert_close(inverted, expected, rtol=1e-6, atol=1e-6)


@operators
def test_identities_of_moore_and_penrose(operator: LinearOperator) -> None:
    x = image()
    y = operator.forward(image(seed=1)) + 0.1

    def back(measured: Tensor) -> Tensor:
        return operator.inverse(measured, SIDE, SIDE)

    ax, inverted = operator.forward(x), back(y)
    torch.testing.assert_close(operator.forward(back(ax)), ax, rtol=1e-7, atol=1e-7)  # A A+ A = A
    torch.testing.assert_close(back(operator.forward(inverted)), inverted, rtol=1e-7, atol=1e-7)
    inner = (ax * y).sum(), (x * operator.adjoint(y, SIDE, SIDE)).sum()  # <A x, y> = <x, A^T y>
    torch.testing.assert_close(*inner)


@operators
@pytest.mark.parametrize("ridge", [0.3, torch.tensor([0.01, 2.0]).double().view(2, 1, 1, 1)])
def test_ridge_is_tikhonov(operator: LinearOperator, ridge: float | Tensor) -> None:
    """(A^T A + ridge) z = A^T y, and of the nearest image z - x = A^T (y - A z) / ridge."""
    x, y = image(seed=1), operator.forward(image()) + 0.1
    z = operator.inverse(y, SIDE, SIDE, ridge)
    normal = operator.adjoint(operator.forward(z), SIDE, SIDE) + ridge * z
    torch.testing.assert_close(normal, operator.adjoint(y, SIDE, SIDE), rtol=1e-7, atol=1e-7)
    near = operator.nearest(x, y, ridge)
    pull = operator.adjoint(y - operator.forward(near), SIDE, SIDE)
    torch.testing.assert_close(ridge * (near - x), pull, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("ridge", [0.3, 2.0])
def test_a_product_stays_at_its_solution_and_stops_there(ridge: float) -> None:
    """Of float32, whose rounding is soon all that is left."""
    calls: list[Tensor] = []

    class Counted(IdentityOperator):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(x)
            return x

    operator = Product([Counted(), GaussianBlur(1.0), Downsample(2)])
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(2, 3, 32, 32, generator=generator)
    z = operator.inverse(y, 64, 64, ridge)
    assert len(calls) < 40
    normal = operator.adjoint(operator.forward(z), 64, 64) + ridge * z
    torch.testing.assert_close(normal, operator.adjoint(y, 64, 64), rtol=0, atol=1e-5)


def test_a_sample_that_is_solved_waits_for_the_others_of_its_batch() -> None:
    """The second is, after five steps: from then on conjugate gradients would climb."""
    operator = Product([GaussianBlur(1.0), Downsample(2)])
    y = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    both = operator.inverse(y, 64, 64, torch.tensor([1e-5, 2.0]).view(2, 1, 1, 1))
    torch.testing.assert_close(both[1:], operator.inverse(y[1:], 64, 64, 2.0), rtol=0, atol=1e-5)


@operators
def test_nearest_image_is_consistent_and_moves_least(operator: LinearOperator) -> None:
    x, y = image(), operator.forward(image(seed=1))
    z = operator.nearest(x, y)
    torch.testing.assert_close(operator.forward(z), y, rtol=1e-7, atol=1e-7)
    other = operator.nearest(image(seed=2), y)  # also consistent, and no closer
    assert ((z - x).square().sum() <= (1 + 1e-9) * (other - x).square().sum()).all()
    torch.testing.assert_close(operator.nearest(z, y), z, rtol=1e-7, atol=1e-7)


@operators
def test_nothing_is_lost_where_the_measurement_is_shown(operator: LinearOperator) -> None:
    y = operator.forward(image())
    shown = operator.shown(y, SIDE, SIDE)
    assert shown.shape[-2:] == (SIDE, SIDE)
    torch.testing.assert_close(operator.measured(shown), y, rtol=1e-7, atol=1e-7)


def test_known_pixels_are_bit_equal() -> None:
    x, y = image().float(), OPERATORS["known"].forward(image(seed=1).float())
    x[:, :, 0] = torch.nan  # what is known does not ask the prior
    known = hole().expand_as(x) == 0
    assert torch.equal(OPERATORS["known"].nearest(x, y)[known], y[known])


@pytest.mark.parametrize("factor", [2, 4])
def test_bicubic_is_that_of_torch_and_of_pillow(factor: int) -> None:
    x = torch.rand(1, 1, 32, 48, dtype=torch.float64) * 2 - 1
    y = Downsample(factor).forward(x)
    size = (32 // factor, 48 // factor)
    torch.testing.assert_close(y, F.interpolate(x, size, mode="bicubic", antialias=True))
    pillow = Image.fromarray(x[0, 0].float().numpy()).resize(size[::-1], Image.Resampling.BICUBIC)
    np.testing.assert_allclose(y[0, 0].numpy(), np.asarray(pillow), atol=1e-5)


def test_box_is_the_mean() -> None:
    torch.testing.assert_close(Downsample(4, "box").forward(image()), F.avg_pool2d(image(), 4))
    one = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)  # A+ repeats
    assert torch.allclose(Downsample(4, "box").inverse(one, 8, 8), one.new_tensor(0.5))


def test_blur_is_a_convolution_that_goes_around_the_borders() -> None:
    kernel = torch.rand(3, 5, dtype=torch.float64)
    blurred = Blur(kernel).forward(image(1, channels=1))
    expected = convolve(image(1, channels=1)[0, 0].numpy(), kernel.numpy(), mode="wrap")
    np.testing.assert_allclose(blurred[0, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("operator", [GaussianBlur(1.0), MotionBlur(5), Downsample(4)])
def test_a_flat_image_stays_flat(operator: LinearOperator) -> None:
    flat = torch.full((1, 3, SIDE, SIDE), 0.25, dtype=torch.float64)
    assert torch.allclose(operator.forward(flat), flat.new_tensor(0.25), atol=1e-6)


def test_the_narrowest_and_the_widest_blur() -> None:
    """Kernels reach to 3 deviations, at least to the next pixel."""
    for std, side in ((0.3, 3), (1.0, 7), (100.0, 601)):
        assert GaussianBlur(std).kernel.shape == (side, side)
    for std in (0.29, 100.1):
        with pytest.raises(InputError, match=f"blur std={std}"):
            GaussianBlur(std)


def test_a_product_mixes_pixels_where_one_of_its_operators_does() -> None:
    for operators, mixes, keeps in (
        ([Luminance()], False, True),
        ([Downsample(2), Luminance()], True, False),
        ([Luminance(), Blur(torch.ones(1, 3))], True, True),
    ):
        made = Product(list(operators))
        assert (made.mixes_pixels, made.keeps_size) == (mixes, keeps)


@pytest.mark.parametrize(("kept", "comes_back"), [(1e-3, True), (5e-5, False)])
def test_what_keeps_a_ten_thousandth_comes_back(kept: float, comes_back: bool) -> None:
    """The fastest wave, of which the kernel (a, 1 - 2 a, a) keeps 1 - 4 a."""
    side = (1 - kept) / 4
    blur = Blur(torch.tensor([[side, 1 - 2 * side, side]], dtype=torch.float64))
    wave = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(4).expand(1, 1, 8, 8)
    found = blur.inverse(blur.forward(wave), 8, 8)
    torch.testing.assert_close(found, wave if comes_back else 0 * wave, atol=1e-9, rtol=0)


def test_luminance_is_that_of_pillow() -> None:
    """ITU-R 601, in whole levels."""
    levels = torch.randint(0, 256, (3, 9, 7), generator=torch.Generator().manual_seed(0))
    grey = Image.fromarray(levels.permute(1, 2, 0).numpy().astype(np.uint8)).convert("L")
    found = Luminance().forward(levels[None].double())[0, 0]
    np.testing.assert_allclose(found, np.array(grey), atol=0.51)


def test_lightness_is_replaced_and_colour_stays() -> None:
    operator = Lightness()
    x, y = image().float() * 0.3, operator.forward(image(seed=1).float() * 0.3)
    torch.testing.assert_close(operator.nearest(x, operator.forward(x)), x, atol=1e-4, rtol=0)
    assert (operator.forward(operator.nearest(x, y)) - y).abs().median() < 1e-5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Downsample(1), "at least 2"),
        (lambda: Downsample(4).forward(torch.zeros(1, 3, 10, 8)), "multiples"),
        (lambda: Blur(torch.ones(2, 3)), "two odd sides"),
        (lambda: Blur(torch.ones(9, 9)).forward(torch.zeros(1, 1, 8, 8)), "does not fit"),
        (lambda: GaussianBlur(0.0), "0.3"),
        (lambda: MotionBlur(4), "odd"),
        (lambda: Luminance([0.0, 0.0]), "all 0"),
        (lambda: Luminance().channels(1), "3 weights"),
        (lambda: Lightness().channels(1), "3 channels"),
        (lambda: Product([]), "got none"),
        (lambda: Product([Lightness()]), "not linear"),
    ],
)
def test_refusals(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(InputError, match=words):
        make()
