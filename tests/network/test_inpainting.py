from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restore.network.gated import GatedConv2d, GatedUpConv2d
from restore.network.inpainting import Attention, InpaintingGenerator, composite
from restore.network.push_pull import push_pull
from restore.types import InputError

CHOICES: list[dict[str, Any]] = [
    {},
    {"attention": "contextual"},
    {"upsampling": "transposed"},
    {"initial_fill": "push_pull"},
]


def on_meta() -> InpaintingGenerator:
    with torch.device("meta"):
        return InpaintingGenerator(3)


def gated(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, GatedConv2d | GatedUpConv2d)]


def sides(layers: list[nn.Module], network: nn.Module, size: int) -> list[int]:
    """Height of each layer's output at images of `size` px."""
    seen: list[int] = []
    for layer in layers:
        layer.register_forward_hook(lambda _, __, output: seen.append(output.shape[-2]))
    with next(network.parameters()).device:
        network(torch.zeros(1, 3, size, size), torch.zeros(1, 1, size, size))
    return seen


def test_coarse_stage() -> None:
    network = on_meta()
    layers = gated(network.coarse)
    assert len(layers) == 16 and len(network.coarse) == 17
    output = network.coarse[-1]
    assert type(output) is nn.Conv2d and output.out_channels == 3
    dilations = [layer.conv.dilation[0] for layer in layers]
    assert [d for d in dilations if d > 1] == [2, 4, 8, 16]
    assert sum(isinstance(layer, GatedUpConv2d) for layer in layers) == 2
    assert layers[0].conv.in_channels == 4


def test_coarse_sizes() -> None:
    network = on_meta()
    expected = [256] + 2 * [128] + 9 * [64] + 2 * [128] + 2 * [256]
    assert sides(gated(network.coarse), network, 256) == expected


@pytest.mark.parametrize("attention", ["self", "contextual"])
def test_refinement_stage(attention: Attention) -> None:
    network = InpaintingGenerator(3, width=2, attention=attention)
    layers = gated(network.refinement)
    assert len(layers) == 9
    assert type(network.refinement.decoder[-1]) is nn.Conv2d
    assert sides([network.refinement.attention, *layers], network, 64) == [
        *(64, 32, 32, 16, 16),
        16,  # attention, at a quarter
        *(16, 32, 32, 64),
    ]


@pytest.mark.parametrize("choice", CHOICES)
def test_any_size_and_samples_do_not_mix(choice: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = InpaintingGenerator(3, width=2, **choice)
    masked, hole = torch.rand(2, 3, 21, 34) * 2 - 1, (torch.rand(2, 1, 21, 34) > 0.5).float()
    with torch.no_grad():
        together, alone = network(masked, hole), network(masked[1:], hole[1:])
    for stage, single in zip(together, alone, strict=True):
        assert stage.shape == masked.shape
        assert stage.abs().max() <= 1 or "initial_fill" in choice  # its stages are no tanh
        torch.testing.assert_close(stage[1:], single)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_parameter_learns_from_the_refined_stage(choice: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = InpaintingGenerator(1, width=4, **choice)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):  # zero keeps gradients from the attention's weights
            nn.init.ones_(parameter)
    hole = (torch.rand(1, 1, 16, 16) > 0.5).float()
    _, refined = network(torch.rand(1, 1, 16, 16), hole)
    refined.square().sum().backward()
    for name, parameter in network.named_parameters():
        # a constant added to every key leaves the softmax as it is
        learns = parameter.grad is not None and parameter.grad.abs().sum() > 0
        assert learns or name.endswith("key.bias"), name


def test_refinement_sees_coarse_only_inside_the_hole() -> None:
    torch.manual_seed(0)
    network = InpaintingGenerator(1, width=2)
    seen: list[Tensor] = []
    network.refinement.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    masked, hole = torch.rand(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    hole[..., 4:9, 4:9] = 1
    coarse, _ = network(masked * (1 - hole), hole)
    assert torch.equal(seen[0][:, :1], torch.where(hole > 0, coarse, masked))
    assert torch.equal(seen[0][:, 1:], hole)


def test_attention_takes_no_texture_from_a_cell_with_any_hole() -> None:
    network = InpaintingGenerator(1, width=2, attention="contextual")
    seen: list[Tensor] = []
    network.refinement.attention.register_forward_pre_hook(lambda _, x: seen.append(x[1]))
    hole = torch.zeros(1, 1, 16, 16)
    hole[..., 5, 10] = 1
    network(torch.rand(1, 1, 16, 16) * (1 - hole), hole)
    assert seen[0].nonzero().tolist() == [[0, 0, 1, 2]]


def test_initial_fill_starts_from_push_pull_and_has_the_layers_of_the_paper() -> None:
    torch.manual_seed(0)
    network = InpaintingGenerator(3, width=2, initial_fill="push_pull")
    masked, hole = torch.rand(2, 3, 24, 24) * 2 - 1, torch.zeros(2, 1, 24, 24)
    hole[..., 4:15, 6:17] = 1
    start = push_pull(masked * (1 - hole), hole)
    for stage in network(masked * (1 - hole), hole):
        torch.testing.assert_close(stage, start, atol=0.05, rtol=0)
    assert [tuple(p.shape) for p in network.parameters()] == [
        tuple(p.shape) for p in InpaintingGenerator(3, width=2).parameters()
    ]


def test_known_pixels_are_bit_equal_whatever_was_predicted() -> None:
    image, hole = torch.randn(2, 3, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
    filled = torch.full_like(image, torch.nan)
    known = hole.expand_as(image) == 0
    result = composite(image, filled, hole)
    assert torch.equal(result[known], image[known]) and result[~known].isnan().all()


def test_refuses_bad_settings() -> None:
    with pytest.raises(InputError, match="width=3"):
        InpaintingGenerator(3, width=3)
    with pytest.raises(InputError, match="attention=none"):
        InpaintingGenerator(3, attention="none")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="initial_fill=mean"):
        InpaintingGenerator(3, initial_fill="mean")  # type: ignore[arg-type]
