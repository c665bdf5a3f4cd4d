import pytest
import torch
from torch import nn

from restore.network.bias_free import BiasFreeUNet
from restore.network.denoising import DenoisingUNet
from restore.network.drunet import BiasFreeResidualBlock
from restore.types import InputError


def on_meta(image_size: int | None) -> DenoisingUNet:
    with torch.device("meta"):
        return DenoisingUNet(3, image_size)


def test_seven_encoders_a_bottleneck_and_six_up_blocks() -> None:
    network, seen = on_meta(256), []
    bottleneck, *inner = network.trunk.decoders
    up = [*inner, network.last]
    assert len(network.trunk.encoders) == 7 and len(up) == 6
    assert isinstance(bottleneck[0], nn.ConvTranspose2d)
    for level in [*network.trunk.encoders, bottleneck, *up, network.head]:
        level.register_forward_hook(lambda _, __, output: seen.append(output.shape[-2]))
    network(torch.zeros(1, 3, 256, 256, device="meta"))
    assert seen == [128, 64, 32, 16, 8, 4, 2, 4, 8, 16, 32, 64, 128, 256, 256]


@pytest.mark.parametrize(("image_size", "num_levels"), [(64, 5), (28, 3), (4, 1), (None, 7)])
def test_levels_are_capped_at_two_pixels(image_size: int | None, num_levels: int) -> None:
    network = on_meta(image_size)
    assert len(network.trunk.encoders) == num_levels
    assert network.factor == 2**num_levels


def test_last_layer_sees_the_input() -> None:
    network = DenoisingUNet(1, 8, widths=[4, 4])
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(network.head.weight[:, :1, 1, 1], 1.0)
    image = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(network(image), torch.tanh(image))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 8), (9, 30)])
def test_unet_takes_any_size_and_no_level(height: int, width: int) -> None:
    torch.manual_seed(0)
    network = DenoisingUNet(3, 8, widths=[4, 8])
    image = torch.rand(2, 3, height, width) * 2 - 1
    clean = network(image)
    assert clean.shape == image.shape and clean.abs().max() <= 1
    assert torch.equal(clean, network(image, torch.tensor([0.1, 0.5])))
    torch.testing.assert_close(clean[:1], network(image[:1]))


def test_without_switches_it_is_the_network_it_was() -> None:
    """Weights by hand: 4x4 layers down and up, GroupNorm with scale and shift, a 3x3 head."""
    widths, count = [4, 6, 8], 0
    for depth, (before, width) in enumerate(zip([3, 4, 6], widths, strict=True)):
        count += (16 * before + 1) * width + (2 * width if depth == 1 else 0)
    for before, width in ((8, 6), (12, 4), (8, 4)):  # skips double the input of the later ones
        count += (16 * before + 1) * width + 2 * width
    count += (9 * (3 + 4) + 1) * 3
    assert sum(p.numel() for p in DenoisingUNet(3, 16, widths).parameters()) == count


@pytest.mark.parametrize("num_blocks", [0, 2])
def test_residual_starts_as_the_identity_and_is_not_bounded(num_blocks: int) -> None:
    torch.manual_seed(0)
    network = DenoisingUNet(3, 8, [4, 8], residual=True, num_blocks=num_blocks)
    image = 3 * torch.randn(2, 3, 9, 30)
    torch.testing.assert_close(network(image), image, atol=0.1, rtol=0)


def test_full_size_blocks_stand_before_and_after_the_trunk() -> None:
    network = DenoisingUNet(3, 16, [4, 8], num_blocks=2)
    seen: list[int] = []
    assert network.before is not None and network.after is not None
    blocks = [*network.before[1:], *network.after[1:]]
    assert len(blocks) == 4 and all(isinstance(block, BiasFreeResidualBlock) for block in blocks)
    for layer in [*network.before[1:], network.trunk.encoders[0], *network.after[1:]]:
        layer.register_forward_hook(lambda _, __, output: seen.append(output.shape[-1]))
    network(torch.zeros(1, 3, 16, 16))
    assert seen == [16, 16, 8, 16, 16]


@pytest.mark.parametrize(
    "network",
    [
        DenoisingUNet(1, 8, [4, 8]),
        DenoisingUNet(1, 8, [4, 8], "none", residual=True, num_blocks=1),
        BiasFreeUNet(1, 8, [4, 8], 1),
    ],
)
def test_every_parameter_learns(network: nn.Module) -> None:
    network(torch.randn(2, 1, 8, 8), torch.ones(2)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_bias_free_size_by_hand() -> None:
    network = BiasFreeUNet(3)
    block = 2 * 9  # two 3x3 convolutions
    blocks = block * (4 * 64**2 + 4 * 96**2 + 2 * 128**2)
    changes = 2 * 4 * (64 * 96 + 96 * 128)
    expected = blocks + changes + 9 * 64 * (12 + 1) + 9 * 64 * 12
    assert sum(p.numel() for p in network.parameters()) == expected == 1_710_144
    assert not any("bias" in name for name, _ in network.named_parameters())
    assert not list(network.buffers())


def tiny(**settings: bool) -> BiasFreeUNet:
    torch.manual_seed(0)
    return BiasFreeUNet(3, widths=[4, 6, 8], num_blocks=1, **settings)


@pytest.mark.parametrize("factor", [0.0, 0.25, 8.0])
def test_output_scales_with_image_and_level(factor: float) -> None:
    network, image, sigma = tiny(), torch.randn(2, 3, 19, 24), torch.tensor([0.1, 0.4])
    with torch.no_grad():  # powers of two: exact in floating point
        assert torch.equal(network(factor * image, factor * sigma), factor * network(image, sigma))


def test_scales_with_the_image_alone_only_without_the_map() -> None:
    image, sigma = torch.randn(1, 3, 16, 16), torch.tensor([0.4])
    with torch.no_grad():
        blind, told = tiny(noise_map=False), tiny()
        assert torch.equal(blind(2 * image), 2 * blind(image))
        assert not torch.allclose(told(2 * image, sigma), 2 * told(image, sigma))


def test_no_weights_is_the_identity() -> None:
    network, image = tiny(), torch.randn(1, 3, 11, 8)
    nn.init.zeros_(network.conv_out.weight)
    assert torch.equal(network(image, torch.ones(1)), image)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 30), (16, 8)])
def test_bias_free_takes_any_size_and_each_sample_its_own_level(height: int, width: int) -> None:
    network, image = tiny(), torch.randn(1, 3, height, width)
    with torch.no_grad():
        both = network(image.expand(2, -1, -1, -1), torch.tensor([0.1, 0.9]))
        alone = network(image, torch.tensor([0.9]))
    assert both.shape == (2, 3, height, width) and not torch.allclose(both[0], both[1])
    torch.testing.assert_close(both[1:], alone)


def test_channels_last_is_kept_and_changes_nothing() -> None:
    network, image, sigma = tiny(), torch.randn(2, 3, 16, 16), torch.tensor([0.1, 0.5])
    with torch.no_grad():
        expected = network(image, sigma)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        clean = network(image.to(memory_format=torch.channels_last), sigma)
    assert clean.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(clean, expected)


def test_bias_free_levels_are_capped() -> None:
    assert len(BiasFreeUNet(1, 64).down) == 3
    network = BiasFreeUNet(1, 4)
    assert len(network.down) == 2 and network.factor == 4


def test_refuses_a_missing_level_and_no_blocks() -> None:
    with pytest.raises(InputError, match="noise_map=false"):
        tiny()(torch.zeros(1, 3, 8, 8))
    with pytest.raises(InputError, match="num_blocks=0"):
        BiasFreeUNet(3, num_blocks=0)


def test_the_bias_free_network_is_a_unet_of_added_skips() -> None:
    """Zhang et al. 2021 (DRUNet), figure 2: what comes up is added to what went down there."""
    network, image, sigma = tiny(), torch.randn(2, 3, 16, 24), torch.tensor([0.1, 0.4])
    level = sigma.view(2, 1, 1, 1).expand(2, 1, 8, 12)
    first = network.down[0](torch.cat([nn.functional.pixel_unshuffle(image, 2), level], dim=1))
    second = network.down[1](first)
    up = network.up[0](network.doubling[0](network.down[2](second)) + second)
    up = network.up[1](network.doubling[1](up) + first)
    noise = nn.functional.pixel_shuffle(network.conv_out(up), 2)
    torch.testing.assert_close(network(image, sigma), image - noise)


def test_starts_near_the_tanh_of_its_input() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    started = DenoisingUNet(3, 32, (8, 8, 8))(image)
    assert (started - image.tanh()).abs().mean() < 0.1


def test_what_is_negative_in_an_encoder_leaks_a_fifth() -> None:
    """Isola et al. 2017, section 6.1.1: the first encoder is not normalised."""
    encoder, x = DenoisingUNet(1, 8).trunk.encoders[0], torch.randn(1, 1, 8, 8)
    first = encoder[0](x)
    assert (first < 0).any()
    torch.testing.assert_close(encoder(x), torch.where(first > 0, first, first / 5))


def test_what_is_negative_in_a_decoder_is_nothing() -> None:
    """Isola et al. 2017, section 6.1.1: the ReLUs of the decoder are not leaky."""
    decoder, x = DenoisingUNet(1, 8).trunk.decoders[0], torch.randn(2, 128, 2, 2)
    grown, norm = decoder[0](x), nn.GroupNorm(32, 64)
    torch.testing.assert_close(decoder(x), norm(grown).clamp(min=0))


def test_activation_of_the_encoders() -> None:
    leaky = {type(m) for block in DenoisingUNet(1, 8).trunk.encoders for m in block}
    rectified = {
        type(m) for block in DenoisingUNet(1, 8, activation="relu").trunk.encoders for m in block
    }
    assert nn.LeakyReLU in leaky and nn.ReLU not in leaky
    assert nn.ReLU in rectified and nn.LeakyReLU not in rectified
    with pytest.raises(InputError, match="activation=tanh"):
        DenoisingUNet(1, 8, activation="tanh")  # type: ignore[arg-type]
