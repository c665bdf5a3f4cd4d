"""The fast gradient of group normalisation is that of PyTorch's own, and of the formula."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.norm import GroupNorm, normalize

SIZES = [(32, 32), (32, 96), (8, 32), (1, 4), (4, 4)]


def seeded(*size: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator, dtype=dtype)


def gradients(layer: nn.GroupNorm, x: Tensor, dy: Tensor) -> list[Tensor]:
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    y.backward(dy)
    assert x.grad is not None and layer.weight.grad is not None and layer.bias.grad is not None
    found = [y.detach(), x.grad, layer.weight.grad.clone(), layer.bias.grad.clone()]
    layer.zero_grad()
    return found


def layer_of(num_groups: int, channels: int) -> GroupNorm:
    layer = GroupNorm(num_groups, channels)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


def doubled(layer: nn.GroupNorm) -> nn.GroupNorm:
    """PyTorch's own layer of the same weights in double precision."""
    twin = nn.GroupNorm(layer.num_groups, layer.num_channels).double()
    twin.load_state_dict(layer.state_dict())
    return twin


@pytest.mark.parametrize(("num_groups", "channels"), SIZES)
def test_gradient_is_that_of_double_precision(num_groups: int, channels: int) -> None:
    layer = layer_of(num_groups, channels)
    x = 3 * seeded(2, channels, 5, 7, seed=1) + 2
    dy = seeded(2, channels, 5, 7, seed=2)
    exact = gradients(doubled(layer), x.double(), dy.double())
    for order in (torch.channels_last, torch.contiguous_format):
        fast = gradients(layer, x.contiguous(memory_format=order), dy)
        for found, wanted in zip(fast, exact, strict=True):
            torch.testing.assert_close(found.double(), wanted, rtol=2e-5, atol=2e-5)


def test_gradient_in_bfloat16_is_as_close_as_the_native_one() -> None:
    layer = layer_of(8, 32)
    x, dy = (seeded(2, 32, 16, 16, seed=seed).bfloat16() for seed in (1, 2))
    exact = gradients(doubled(layer), x.double(), dy.double())
    half = x.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        fast = gradients(layer, half, dy.to(memory_format=torch.channels_last))
    assert fast[1].dtype == torch.bfloat16 and fast[2].dtype == torch.float32
    for found, wanted in zip(fast, exact, strict=True):
        assert (found.double() - wanted).norm() / wanted.norm() < 2**-7


def test_gradient_in_bfloat16_outlives_a_mean_that_is_not_zero() -> None:
    """The gradient of the weights is a difference of two large sums."""
    layer = layer_of(8, 32)
    x = (seeded(2, 32, 64, 64, seed=1) + 3).bfloat16()
    dy = (seeded(2, 32, 64, 64, seed=2) + 0.5).bfloat16()
    exact = gradients(doubled(layer), x.double(), dy.double())
    with torch.autocast("cpu", torch.bfloat16):
        last = torch.channels_last
        fast = gradients(layer, x.to(memory_format=last), dy.to(memory_format=last))
    assert (fast[2].double() - exact[2]).norm() / exact[2].norm() < 2**-5


def test_gradient_of_the_gradient() -> None:
    """A penalty on the discriminator's gradient needs it."""
    weight, bias = (seeded(4, seed=seed, dtype=torch.float64).requires_grad_() for seed in (1, 2))
    layer = GroupNorm(2, 4).double()
    x = seeded(2, 4, 3, 3, seed=3, dtype=torch.float64).to(memory_format=torch.channels_last)

    def normed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))
        return F.silu(y)

    given = (x.requires_grad_(), weight, bias)
    assert torch.autograd.gradcheck(normed, given)
    assert torch.autograd.gradgradcheck(normed, given)


def test_gradient_of_the_gradient_where_weights_are_frozen() -> None:
    layer = layer_of(2, 4).double().requires_grad_(False)
    x = seeded(1, 4, 3, 3, seed=3, dtype=torch.float64).to(memory_format=torch.channels_last)

    def penalty(x: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(F.silu(layer(x)).sum(), x, create_graph=True)
        return slope.square().sum()

    assert torch.autograd.gradcheck(penalty, (x.requires_grad_(),))


@pytest.mark.parametrize(("channels", "side"), [(32, 5), (512, 5), (32, 32)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_without_a_gradient_it_is_the_layer_too(
    channels: int, side: int, dtype: torch.dtype
) -> None:
    layer = layer_of(32, channels)
    x = (3 * seeded(2, channels, side, side, seed=1) + 2).to(dtype)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        y = layer(x.to(memory_format=torch.channels_last))
    assert y.dtype == dtype and y.is_contiguous(memory_format=torch.channels_last)
    exact = doubled(layer)(x.double())
    error = 2**-8 if dtype == torch.bfloat16 else 2e-5  # half a step of the result's own grid
    torch.testing.assert_close(y.double(), exact, rtol=error, atol=error)


def test_channels_last_stays_channels_last() -> None:
    x = torch.ones(2, 4, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    y = GroupNorm(2, 4)(x)
    y.sum().backward()
    assert x.grad is not None
    for one in (y, x.grad):
        assert one.is_contiguous(memory_format=torch.channels_last)


def test_networks_take_the_fast_layer() -> None:
    assert isinstance(normalize("group", 48), GroupNorm)
    assert normalize("group", 48).num_groups == 16
