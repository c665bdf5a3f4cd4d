from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from restore.network.gated import _POWER, GatedConv2d, GatedUpConv2d, SpectralConv2d, Upsampling
from restore.types import InputError


def convolve(x: np.ndarray, conv: nn.Conv2d) -> np.ndarray:
    """[C, H, W] by its definition, in float64."""
    weight, bias = conv.weight.detach().double().numpy(), conv.bias.detach().double().numpy()
    stride, dilation, padding = conv.stride[0], conv.dilation[0], conv.padding[0]
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding)])
    reach = dilation * (weight.shape[2] - 1) + 1
    rows = range(0, x.shape[1] - reach + 1, stride)
    columns = range(0, x.shape[2] - reach + 1, stride)
    patches = [
        [x[:, i : i + reach : dilation, j : j + reach : dilation] for j in columns] for i in rows
    ]
    return np.einsum("hwcij,ocij->ohw", np.array(patches), weight) + bias[:, None, None]


def gate(x: np.ndarray) -> np.ndarray:
    features, gates = np.split(x, 2)
    return np.where(features > 0, features, np.expm1(features)) / (1 + np.exp(-gates))


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(3, 1, 1), (5, 2, 1), (3, 1, 4)])
def test_gated_convolution_by_definition(kernel_size: int, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    layer = GatedConv2d(2, 3, kernel_size, stride, dilation)
    nn.init.normal_(layer.conv.bias)
    x = torch.randn(1, 2, 8, 10)
    expected = gate(convolve(x[0].double().numpy(), layer.conv))
    assert expected.shape == (3, 8 // stride, 10 // stride)
    np.testing.assert_allclose(layer(x)[0].detach(), expected, atol=1e-5)


def test_nearest_doubling_is_a_gated_convolution_of_repeated_pixels() -> None:
    torch.manual_seed(0)
    layer, x = GatedUpConv2d(2, 3), torch.randn(1, 2, 4, 5)
    expected = gate(convolve(x[0].double().numpy().repeat(2, 1).repeat(2, 2), layer.conv))
    np.testing.assert_allclose(layer(x)[0].detach(), expected, atol=1e-5)


@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
def test_doubling_keeps_the_scale(upsampling: Upsampling) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 32, 16, 16) * _POWER**0.5
    y = GatedUpConv2d(32, 32, upsampling)(x)
    assert y.shape == (1, 32, 32, 32)
    assert 0.7 < y.square().mean() / _POWER < 1.4


def test_power_of_a_gated_unit_by_quadrature() -> None:
    """A fixed point of the scale: gates see default weights, of variance 1 / (3 fan_in)."""

    def power_after(power: float) -> float:
        z = np.linspace(-9, 9, 20_001)
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        scale = np.sqrt(power / _POWER)
        elu = np.where(z > 0, scale * z, np.expm1(scale * z))
        gates = 1 / (1 + np.exp(-np.sqrt(power / 3) * z))
        return float(np.trapezoid(density * elu**2, z) * np.trapezoid(density * gates**2, z))

    assert power_after(_POWER) == pytest.approx(_POWER, abs=1e-3)
    # and a stable one
    assert power_after(2 * _POWER) < 2 * _POWER and power_after(_POWER / 2) > _POWER / 2


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0])  # images reach no more
def test_sixteen_layers_neither_vanish_nor_explode(scale: float) -> None:
    torch.manual_seed(0)
    x = scale * torch.randn(1, 24, 24, 24)
    with torch.no_grad():
        for _ in range(16):
            x = GatedConv2d(24, 24)(x)
    # varies from place to place, not only from channel to channel: the image still matters
    assert 0.1 < x.var(dim=(2, 3)).mean() / _POWER < 2


def test_largest_singular_value_becomes_one() -> None:
    torch.manual_seed(0)
    layer = SpectralConv2d(3, 8, 5, stride=2, padding=2)
    x = torch.randn(1, 3, 16, 16)
    for _ in range(200):
        layer(x)
    weight = layer.weight.detach().flatten(1).double().numpy()
    assert np.linalg.svd(weight, compute_uv=False)[0] == pytest.approx(1, abs=1e-4)


def test_each_forward_brings_the_largest_singular_value_down_to_one() -> None:
    torch.manual_seed(0)
    layer = SpectralConv2d(6, 16, 3).double()
    norm = layer.parametrizations.weight[0]
    norm._v.copy_(torch.nn.functional.normalize(torch.randn_like(norm._v), dim=0))  # far from it
    found = []
    for _ in range(8):
        layer(torch.zeros(1, 6, 3, 3).double())
        with torch.no_grad():
            weight = layer.eval().weight.flatten(1).numpy()  # read without an iteration
        layer.train()
        found.append(np.linalg.svd(weight, compute_uv=False)[0])
    assert found[0] > 1.1 and found[-1] >= 1 - 1e-12
    assert all(later < earlier for earlier, later in pairwise(found))


def test_accumulated_batches_are_one_large_batch_where_the_spectral_estimate_has_settled() -> None:
    torch.manual_seed(0)
    layer = SpectralConv2d(3, 8, 3).double()
    norm, weight = layer.parametrizations.weight[0], layer.parametrizations.weight.original
    images = torch.randn(4, 3, 8, 8).double()
    gradients = []
    for settled in (False, True):
        if settled:
            left, _, right = torch.linalg.svd(weight.detach().flatten(1))
            norm._u.copy_(left[:, 0])
            norm._v.copy_(right[0])
        for share in (4, 1):
            weight.grad = None
            for batch in images.split(share):
                (layer(batch).square().mean() * share / 4).backward()
            assert weight.grad is not None
            gradients.append(weight.grad)
    assert torch.allclose(gradients[2], gradients[3], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(gradients[0], gradients[1], rtol=1e-9, atol=1e-12)


def test_evaluation_leaves_the_spectral_vectors_alone() -> None:
    layer = SpectralConv2d(3, 8, 3).eval()
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    layer(torch.randn(1, 3, 8, 8))
    assert all(torch.equal(before[key], value) for key, value in layer.state_dict().items())


def test_spectral_convolution_trains_in_bf16() -> None:
    layer = SpectralConv2d(3, 8, 3)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(torch.randn(1, 3, 8, 8))
    y.float().square().sum().backward()
    gradient = layer.parametrizations.weight.original.grad
    assert y.dtype == torch.bfloat16 and gradient.isfinite().all() and gradient.abs().sum() > 0


def test_refuses_other_upsampling() -> None:
    with pytest.raises(InputError, match="upsampling=bicubic"):
        GatedUpConv2d(1, 1, "bicubic")  # type: ignore[arg-type]
