import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from restore.image import lab_from_rgb
from restore.network.colorization import ColorClassUNet, ColorizationUNet, recombine
from restore.stream import Stream
from restore.types import InputError


def on_meta(image_size: int | None) -> ColorizationUNet:
    with torch.device("meta"):
        return ColorizationUNet(image_size)


def sides(network: ColorizationUNet, size: int) -> list[int]:
    """Height after every level, down and up."""
    seen: list[int] = []
    for level in [*network.trunk.encoders, *network.trunk.decoders, network.head]:
        level.register_forward_hook(lambda _, __, output: seen.append(output.shape[-2]))
    assert network(torch.zeros(1, 1, size, size, device="meta")).shape == (1, 2, size, size)
    return seen


def test_eight_encoders_seven_decoders_and_a_final_layer() -> None:
    network = on_meta(256)
    assert len(network.trunk.encoders) == 8 and len(network.trunk.decoders) == 7
    down = [128, 64, 32, 16, 8, 4, 2, 1]
    assert sides(network, 256) == [*down, *down[-2::-1], 256]


@pytest.mark.parametrize(("image_size", "num_levels"), [(64, 6), (28, 4), (8, 3), (None, 8)])
def test_levels_are_capped_by_the_patch(image_size: int | None, num_levels: int) -> None:
    network = on_meta(image_size)
    assert len(network.trunk.encoders) == num_levels
    assert len(network.trunk.decoders) == num_levels - 1


def test_each_decoder_takes_its_predecessor_and_the_encoder_of_its_size() -> None:
    seen: list[Tensor] = []
    network = ColorizationUNet(8, widths=[2, 3, 5])
    network.trunk.decoders[1].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    lightness = torch.rand(1, 1, 8, 8)
    network(lightness)
    first = network.trunk.encoders[0](lightness)
    second = network.trunk.encoders[1](first)
    below = network.trunk.decoders[0](network.trunk.encoders[2](second))
    torch.testing.assert_close(seen[0], torch.cat([below, second], dim=1))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 8), (13, 30)])
def test_any_size(height: int, width: int) -> None:
    torch.manual_seed(0)
    network = ColorizationUNet(8, widths=[4, 8, 8])
    lightness = torch.rand(2, 1, height, width) * 2 - 1
    ab = network(lightness)
    assert ab.shape == (2, 2, height, width) and ab.abs().max() <= 1
    torch.testing.assert_close(ab[:1], network(lightness[:1]))  # samples do not mix


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    network = ColorizationUNet(8, widths=[4, 8, 8])
    network(torch.randn(2, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


PHOTO = Stream(torch.arange(2)).uniform(3, 12, 10, low=-0.9, high=0.9)


def test_recombination_with_the_true_colour_is_the_image() -> None:
    lab = lab_from_rgb(PHOTO)
    torch.testing.assert_close(recombine(lab[:, :1], lab[:, 1:]), PHOTO, atol=1e-3, rtol=0)


def test_lightness_stays_full_size_under_small_colour() -> None:
    lightness = lab_from_rgb(PHOTO)[:, :1] * 0.5
    ab = torch.tensor([0.05, -0.08]).view(1, 2, 1, 1).expand(2, 2, 3, 4)
    rgb = recombine(lightness, ab)
    expected = torch.cat([lightness, ab[..., :1, :1].expand(2, 2, 12, 10)], dim=1)
    torch.testing.assert_close(lab_from_rgb(rgb), expected, atol=2e-3, rtol=0)


def test_small_colour_grows_by_a_cubic_kernel() -> None:
    lightness = lab_from_rgb(PHOTO)[:, :1]
    small = 0.2 * Stream(torch.arange(2)).normal(2, 3, 4)
    grown = F.interpolate(small, (12, 10), mode="bicubic", align_corners=False)
    assert torch.equal(recombine(lightness, small), recombine(lightness, grown))


def test_colour_beyond_its_range_is_that_of_the_end() -> None:
    """A cubic kernel overshoots, and 1.4 times the most of a is no more of it."""
    lightness = lab_from_rgb(PHOTO)[:, :1]
    beyond = torch.tensor([1.4, -0.2]).view(1, 2, 1, 1).expand(2, 2, 12, 10)
    assert torch.equal(recombine(lightness, beyond), recombine(lightness, beyond.clamp(-1, 1)))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 10), (9, 5)])
def test_classes_of_colour_cover_every_pixel(height: int, width: int) -> None:
    """At half size, an odd row or column at the end included."""
    network = ColorClassUNet(image_size=8, widths=(4, 4))
    logits, ab = network(torch.zeros(1, 1, height, width))
    assert logits.shape == (1, len(network.bins), (height + 1) // 2, (width + 1) // 2)
    assert ab.shape == (1, 2, height, width)


def test_classes_of_colour_lie_where_their_features_do() -> None:
    network = ColorClassUNet(image_size=8, widths=(4, 4))
    features = torch.rand(1, network.trunk.out_channels, 4, 4)
    network.trunk.forward = lambda lightness: features  # type: ignore[method-assign]
    with torch.no_grad():
        network.head.bias.zero_()
        network.head.weight.zero_()[:, 0, 1, 1] = 1
    logits, _ = network(torch.zeros(1, 1, 8, 8))
    assert torch.equal(logits[:, 0], features[:, 0])


def test_refuses_images_that_cannot_be_halved() -> None:
    with pytest.raises(InputError, match="1 px"):
        ColorizationUNet(1)


def test_starts_near_grey() -> None:
    torch.manual_seed(0)
    ab = ColorizationUNet(32, (8, 8, 8))(torch.rand(1, 1, 32, 32) * 2 - 1)
    assert ab.abs().mean() < 0.05
