import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from restore.network.unet import (
    ConditionedResidualBlock,
    Level,
    MultiHeadAttention,
    UNet,
    sinusoidal_embedding,
)
from restore.types import InputError


def alive(network: nn.Module) -> None:
    """Random values everywhere: a zero-initialised convolution stops the gradients before it."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


def tiny(**settings: object) -> UNet:
    network = UNet(**{"in_channels": 3, "out_channels": 3, "width": 8, "head_size": 4, **settings})
    alive(network)
    return network


def test_gradient_to_every_parameter() -> None:
    network = tiny(num_classes=5)
    x, t = torch.randn(2, 3, 8, 8), torch.rand(2)
    for label in (torch.tensor([1, 3]), None):
        network(x, t, label).square().sum().backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_starts_as_zero() -> None:
    network = UNet(1, 1, width=8)
    assert not network(torch.randn(2, 1, 8, 8), torch.rand(2)).any()


def test_blocks_and_attention_start_as_the_identity() -> None:
    """Dhariwal & Nichol 2021: the last convolution of every residual is zero."""
    x, told = torch.randn(2, 8, 4, 4), torch.randn(2, 16)
    for added in (False, True):
        block = ConditionedResidualBlock(8, 8, embedding=16, dropout=0.0, added=added)
        assert torch.equal(block(x, told), x)
    assert torch.equal(MultiHeadAttention(8, 4)(x), x)


def test_dropout_draws_while_it_learns_alone() -> None:
    network, x, t = tiny(dropout=0.5), torch.randn(2, 3, 8, 8), torch.rand(2)
    assert not torch.equal(network(x, t), network(x, t))
    assert torch.equal(network.eval()(x, t), network(x, t))


def test_the_embedding_of_time_by_hand() -> None:
    """Two layers with SiLU between and after them, of the sines and cosines of t."""
    network, t = tiny(), torch.tensor([0.1, 0.7])
    first, _, second = network.embed_time
    hidden = F.silu(first(sinusoidal_embedding(t, 8)))
    torch.testing.assert_close(network._embed(t, None, torch.float32), F.silu(second(hidden)))


@pytest.mark.parametrize("channels", [(1, 1), (3, 6), (4, 3), (5, 2)])
@pytest.mark.parametrize("size", [(4, 4), (12, 20), (28, 4)])
def test_any_channels_and_divisible_sizes(channels: tuple[int, int], size: tuple[int, int]) -> None:
    network = tiny(in_channels=channels[0], out_channels=channels[1])
    output = network(torch.randn(2, channels[0], *size), torch.rand(2))
    assert output.shape == (2, channels[1], *size)


@pytest.mark.parametrize("size", [(9, 8), (8, 6)])
def test_indivisible_size_is_named(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]} is not divisible by 4"):
        tiny()(torch.randn(1, 3, *size), torch.rand(1))


@pytest.mark.parametrize(
    "settings", [{"width": 7}, {"width": 0}, {"num_blocks": 0}, {"multipliers": ()}]
)
def test_impossible_settings(settings: dict[str, object]) -> None:
    with pytest.raises(InputError, match="must be positive"):
        tiny(**settings)


@pytest.mark.parametrize(("channels", "heads"), [(16, 1), (96, 3), (40, 1), (112, 2), (160, 5)])
def test_heads_are_equal_and_have_the_asked_channels_or_more(channels: int, heads: int) -> None:
    attention = MultiHeadAttention(channels, 32)
    alive(attention)
    x = torch.randn(2, channels, 3, 3)
    assert attention.num_heads == heads and attention(x).shape == x.shape


def test_sample_does_not_depend_on_its_batch() -> None:
    network = tiny().double()
    x, t = torch.randn(3, 3, 8, 8, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    torch.testing.assert_close(network(x, t)[1:2], network(x[1:2], t[1:2]), rtol=1e-9, atol=1e-12)


def test_label_matters_through_its_row_alone() -> None:
    network = tiny(num_classes=3)
    x, t = torch.randn(1, 3, 8, 8).repeat(4, 1, 1, 1), torch.full((4,), 0.3)
    output = network(x, t, torch.tensor([0, 1, 0, 2]))
    torch.testing.assert_close(output[0], output[2])
    assert (output[0] - output[1]).abs().max() > 1e-4
    assert network.embed_class is not None
    with torch.no_grad():
        network.embed_class.weight[1] = network.embed_class.weight[0]
    equal = network(x, t, torch.tensor([0, 1, 0, 2]))
    torch.testing.assert_close(equal[0], equal[1])
    none = network(x[:1], t[:1], None)
    torch.testing.assert_close(none, network(x[:1], t[:1], torch.tensor([3])))


def test_attention_is_scaled_dot_product_attention() -> None:
    attention = MultiHeadAttention(12, head_size=4)
    alive(attention)
    x = torch.randn(2, 12, 3, 5)
    q, k, v = (
        part.reshape(2, 3, 4, 15).mT for part in attention.qkv(attention.norm(x)).chunk(3, dim=1)
    )
    mixed = F.scaled_dot_product_attention(q, k, v).mT.reshape(2, 12, 3, 5)
    torch.testing.assert_close(attention(x), x + attention.out(mixed))


def test_attention_is_at_the_factors_that_are_named() -> None:
    """The levels are 1, 2 and 4 times smaller than the image; the middle attends always."""
    network = tiny(multipliers=(1, 1, 1), num_blocks=1, attention=(4, 2))
    for modules, order in ((network.down, (1, 2, 4)), (network.up, (4, 4, 2, 2, 1, 1))):
        levels = [one for one in modules if isinstance(one, Level)]
        assert [one.attention is not None for one in levels] == [k in (2, 4) for k in order]
    assert [one.attention is not None for one in network.middle] == [True, False]


def test_time_embedding_in_closed_form() -> None:
    t, width = np.array([0.0, 0.001, 0.37, 1.0]), 8
    angles = 1000 * t[:, None] * np.exp(-math.log(10_000) * np.arange(4) / 4)
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    embedding = sinusoidal_embedding(torch.from_numpy(t).float(), width)
    # float32 angles reach 1000, where the spacing of numbers is 6e-5
    np.testing.assert_allclose(embedding.numpy(), expected, atol=1e-4)


def test_what_time_says_is_added_before_the_second_norm() -> None:
    """The block by hand, in both modulations."""
    x, told = torch.randn(2, 8, 4, 4), torch.randn(2, 6)
    for added in (True, False):
        block = ConditionedResidualBlock(8, 8, 6, 0.0, added)
        alive(block)
        h, said = block.conv1(F.silu(block.norm1(x))), block.embed(told)[..., None, None]
        if added:
            h = F.group_norm(h + said, block.norm2.num_groups, block.norm2.weight, block.norm2.bias)
        else:
            h = block.norm2(h) * (1 + said[:, :8]) + said[:, 8:]
        assert torch.allclose(block(x, told), x + block.conv2(F.silu(h)), atol=1e-6)
    with pytest.raises(InputError, match="modulation=more: use scale_shift or added"):
        UNet(3, 3, 8, modulation="more")  # type: ignore[arg-type]
