from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restore.ensemble import SelfEnsemble
from restore.network.bias_free import BiasFreeUNet
from restore.network.size import at_any_size, cap_levels, pad_to_multiple
from restore.tiling import Tiled
from restore.types import InputError


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (3, 16), (9, 15), (16, 8)])
def test_pads_as_numpy_reflects(height: int, width: int) -> None:
    image = torch.rand(2, 3, height, width)
    padded = pad_to_multiple(image, 8)
    extra = [(0, 0), (0, 0), (0, -height % 8), (0, -width % 8)]
    np.testing.assert_array_equal(padded, np.pad(image.numpy(), extra, mode="reflect"))
    assert torch.equal(padded[..., :height, :width], image)


@pytest.mark.parametrize(
    ("num_levels", "image_size", "smallest", "capped"),
    [
        (8, 256, 1, 8),
        (8, 512, 1, 8),
        (8, 64, 1, 6),
        (8, 28, 1, 4),
        (7, 256, 2, 7),
        (7, 64, 2, 5),
        (3, 2, 1, 1),
        (3, 4, 2, 1),
    ],
)
def test_levels_stop_at_the_smallest_map(
    num_levels: int, image_size: int, smallest: int, capped: int
) -> None:
    assert cap_levels(num_levels, image_size, smallest) == capped
    assert cap_levels(num_levels, None, smallest) == num_levels
    assert image_size >> capped >= smallest


def test_refuses_what_cannot_be_halved() -> None:
    with pytest.raises(InputError, match="1 px"):
        cap_levels(3, 1)
    with pytest.raises(InputError, match="at least one level"):
        cap_levels(0, 64)


class Halves(nn.Module):
    """Adds what it sees at half the size, which an odd one has not."""

    def forward(self, image: Tensor) -> Tensor:
        small = nn.functional.avg_pool2d(image, 2)
        return image + nn.functional.interpolate(small, scale_factor=2.0)


class Cuts(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image[..., : image.shape[-2] // 4 * 4, : image.shape[-1] // 4 * 4]


@pytest.mark.parametrize(
    ("network", "said"),
    [(Halves(), "fails: The size of tensor a"), (Cuts(), "makes 32x32 px of them")],
)
@pytest.mark.parametrize("within", [lambda one: one, Tiled, SelfEnsemble])
def test_a_network_that_takes_some_sizes_alone_is_told_how_to_take_any(
    network: Any, said: str, within: Any
) -> None:
    kind = rf"{__name__}\.{type(network).__name__} does not take images of"
    even, odd = torch.ones(1, 3, 32, 32), torch.ones(1, 3, 33, 35)
    assert at_any_size(within(network), even, lambda: network(even)).shape == even.shape
    with pytest.raises(InputError, match=rf"{kind} 35x33 px \({said}.*by pad_to_multiple"):
        at_any_size(within(network), odd, lambda: network(odd))


@pytest.mark.parametrize("kind", [ValueError, AssertionError])
def test_a_network_may_refuse_a_size_by_itself(kind: type[Exception]) -> None:
    def restore() -> Tensor:
        raise kind("height: a size of 4k alone")

    with pytest.raises(InputError, match="Halves does not take images of 35x33 px"):
        at_any_size(Halves(), torch.ones(1, 3, 33, 35), restore)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("broken"), torch.OutOfMemoryError("size"), InputError("sizes of the data")],
)
def test_what_is_no_matter_of_size_stays_what_it_is(error: Exception) -> None:
    def restore() -> Tensor:
        raise error

    with pytest.raises(type(error)) as raised:
        at_any_size(Halves(), torch.ones(1, 3, 33, 35), restore)
    assert raised.value is error


def test_a_fault_of_our_own_networks_stays_one() -> None:
    def restore() -> Tensor:
        raise RuntimeError("The size of tensor a must match")

    with pytest.raises(RuntimeError, match="must match"):
        at_any_size(BiasFreeUNet(3, widths=(4,)), torch.ones(1, 3, 33, 35), restore)
