"""The networks that are there to be read, by their definitions."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from restore.network.plain import Plain
from restore.network.unet_classic import ClassicUNet, Pair
from restore.types import InputError


def image(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def pair(layer: Pair, x: Tensor, time: Tensor) -> Tensor:
    """Convolution, ReLU, time, convolution, ReLU."""
    first = layer.first(x).clamp(min=0) + layer.time(time)[:, :, None, None]
    return layer.second(first).clamp(min=0)


def test_the_classic_unet_is_that_of_figure_1() -> None:
    """Each level at half the size by the largest of 2x2 pixels; copies come before what grows."""
    torch.manual_seed(0)
    network, x, t = ClassicUNet(2, 3, widths=(4, 6, 8), embedding=5), image(2, 2, 8, 12), image(2)
    first, _, second = network.embed_time
    time = second(first(t[:, None]).clamp(min=0))
    shallow = pair(network.down[0], x, time)
    middle = pair(network.down[1], F.max_pool2d(shallow, 2), time)
    deep = pair(network.down[2], F.max_pool2d(middle, 2), time)
    up = pair(network.up[0], torch.cat([middle, network.grow[0](deep)], 1), time)
    up = pair(network.up[1], torch.cat([shallow, network.grow[1](up)], 1), time)
    torch.testing.assert_close(network(x, t), network.last(up))
    assert network.factor == 4 and network(image(1, 2, 7, 5), t[:1]).shape == (1, 3, 7, 5)
    with pytest.raises(InputError, match="widths and embedding"):
        ClassicUNet(1, 1, widths=())


def test_the_plain_network_is_four_convolutions_and_a_time() -> None:
    torch.manual_seed(0)
    network, x, t = Plain(2, 3, width=4), image(2, 2, 6, 5), image(2)
    hidden = x
    for convolution in network.convolutions:
        hidden = convolution(hidden).clamp(min=0)
    time = t[:, None] * network.embed_time.weight[:, 0] + network.embed_time.bias
    expected = network.last(hidden + time[:, :, None, None])
    assert len(network.convolutions) == 3
    torch.testing.assert_close(network(x, t), expected)
