from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restore.network.gated import SpectralConv2d
from restore.network.norm import Norm, normalize
from restore.network.patch_discriminator import PatchDiscriminator, SpectralPatchDiscriminator
from restore.types import InputError


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def on_meta(network: type[PatchDiscriminator], in_channels: int) -> PatchDiscriminator:
    with torch.device("meta"):
        return network(in_channels)


def test_conditional_patchgan() -> None:
    network = on_meta(PatchDiscriminator, 3)
    logits, features = network(torch.zeros(2, 3, 256, 256, device="meta"))
    assert logits.shape == (2, 1, 30, 30)
    assert [f.shape[1] for f in features] == [64, 128, 256, 512]
    assert [c.stride[0] for c in convolutions(network)] == [2, 2, 2, 1, 1]
    assert {c.kernel_size for c in convolutions(network)} == {(4, 4)}
    assert sum(isinstance(m, nn.GroupNorm) for m in network.modules()) == 3  # not in the first


def test_spectral_patchgan() -> None:
    network = on_meta(SpectralPatchDiscriminator, 4)
    logits, features = network(torch.zeros(1, 4, 256, 256, device="meta"))
    assert logits.shape == (1, 1, 16, 16) and len(features) == 6
    found = convolutions(network)
    assert [c.stride[0] for c in found] == [2, 2, 2, 2, 1, 1, 1]
    assert {c.kernel_size for c in found} == {(5, 5)}
    assert all(isinstance(c, SpectralConv2d) for c in found)
    assert not any(isinstance(m, nn.GroupNorm) for m in network.modules())


def receptive_field(network: PatchDiscriminator, size: int) -> tuple[int, int]:
    """Rows and columns of the image that reach the logit in the middle."""
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1)  # positive, so that no path cancels another
    image = torch.ones(1, 1, size, size, requires_grad=True)
    logits, _ = network(image)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    assert image.grad is not None
    reached = image.grad[0, 0] != 0
    return int(reached.any(1).sum()), int(reached.any(0).sum())


def test_receptive_field_of_the_conditional_patchgan_is_70() -> None:
    assert receptive_field(PatchDiscriminator(1, [1, 1, 1, 1], norm="none"), 160) == (70, 70)


def test_receptive_field_of_two_layers_by_hand() -> None:
    # 3x3 at stride 1 on 3x3 at stride 2: two steps of 2, and 3
    assert receptive_field(PatchDiscriminator(1, [1], [2], 3), 32) == (7, 7)


def sides_seen(network: PatchDiscriminator, size: int) -> list[int]:
    """Of what each convolution really gets, and of the logits; empty where one cannot be made."""
    seen: list[int] = []
    hooks = [
        one.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[-1]))
        for one in convolutions(network)
    ]
    try:
        logits, _ = network(torch.zeros(1, 3, size, size, device="meta"))
    except (InputError, ValueError):  # no pixel, or one alone in its group of a normalisation
        return []
    finally:
        for hook in hooks:
            hook.remove()
    return [*seen, logits.shape[-1]]


@pytest.mark.parametrize(
    ("network", "settings"),
    [
        (PatchDiscriminator, {}),
        (PatchDiscriminator, {"widths": [2, 2], "strides": [2, 1], "kernel_size": 3}),
        (PatchDiscriminator, {"widths": [2], "strides": [1], "kernel_size": 5}),
        (SpectralPatchDiscriminator, {"width": 2}),
    ],
)
def test_least_size_is_where_every_layer_sees_more_than_a_pixel(
    network: Callable[..., PatchDiscriminator], settings: dict[str, Any]
) -> None:
    with torch.device("meta"):
        made = network(3, **settings)
    seen = {size: sides_seen(made, size) for size in range(1, 40)}
    enough = [size for size, sides in seen.items() if sides and min(sides[:-1]) > 1]
    assert enough == list(range(made.least_size, 40))


@pytest.mark.parametrize("size", [24, 31, 64])
@pytest.mark.parametrize(
    "network", [PatchDiscriminator(2, [2] * 4), SpectralPatchDiscriminator(2, width=2)]
)
def test_map_size(network: PatchDiscriminator, size: int) -> None:
    logits, _ = network(torch.zeros(1, 2, size, size + 8))
    assert logits.shape[2:] == (network.map_size(size), network.map_size(size + 8))


def test_what_is_negative_leaks_a_fifth() -> None:
    """Isola et al. 2017, section 6.1: the first layer is not normalised."""
    network, images = PatchDiscriminator(1, [4, 4], [2, 1]), torch.randn(2, 1, 16, 16)
    first = network.layers[0][0](images)
    assert (first < 0).any()
    expected = torch.where(first > 0, first, first / 5)
    torch.testing.assert_close(network(images)[1][0], expected)


def test_logits_are_the_head_of_the_last_feature() -> None:
    network = PatchDiscriminator(1, [4, 4], [2, 1])
    logits, features = network(torch.randn(2, 1, 16, 16))
    assert torch.equal(logits, network.head(features[-1]))


@pytest.mark.parametrize("norm", ["none", "group", "instance", "batch"])
def test_only_batch_norm_mixes_samples(norm: Norm) -> None:
    torch.manual_seed(0)
    network, images = PatchDiscriminator(1, [4, 8], [2, 1], norm=norm), torch.randn(2, 1, 16, 16)

    def judge(x: Tensor) -> Tensor:
        logits, _ = network(x)
        return logits

    same = torch.allclose(judge(images)[:1], judge(images[:1]), atol=1e-5)
    assert same == (norm != "batch")


@pytest.mark.parametrize("norm", ["group", "instance", "batch"])
def test_normalised_maps_have_unit_scale(norm: Norm) -> None:
    torch.manual_seed(0)
    y = normalize(norm, 8)(5 + 3 * torch.randn(4, 8, 16, 16))
    assert y.mean().abs() < 1e-5 and (y.std() - 1).abs() < 1e-3


def test_group_norm_takes_a_map_of_one_pixel() -> None:
    for channels in (8, 64):
        layer, x = normalize("group", channels), torch.randn(2, channels, 1, 1)
        assert torch.equal(layer(x)[:1], layer(x[:1]))
    with pytest.raises(InputError, match="norm=layer"):
        normalize("layer", 8)  # type: ignore[arg-type]


def test_every_parameter_learns_with_spectral_norm() -> None:
    network = PatchDiscriminator(1, [4, 8], [2, 1], spectral=True)
    logits, _ = network(torch.randn(2, 1, 16, 16))
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_refuses_what_leaves_no_patch() -> None:
    with pytest.raises(InputError, match="16x40 px are too small"):
        on_meta(PatchDiscriminator, 1)(torch.zeros(1, 1, 16, 40, device="meta"))
    with pytest.raises(InputError, match="equally many"):
        PatchDiscriminator(1, [4, 4], [2])
    with pytest.raises(InputError, match="kernel_size=2"):
        PatchDiscriminator(1, [4], [2], 2)
