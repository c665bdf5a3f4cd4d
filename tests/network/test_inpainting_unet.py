import torch

from restore.network.bias_free import BiasFreeUNet
from restore.network.inpainting_unet import InpaintingUNet
from restore.network.push_pull import push_pull


def sample(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hole = (torch.rand(2, 1, height, width, generator=generator) < 0.4).float()
    return (torch.rand(2, 3, height, width, generator=generator) * 2 - 1) * (1 - hole), hole


def test_starts_as_the_fill_at_any_size() -> None:
    torch.manual_seed(0)
    network = InpaintingUNet(3, widths=(4, 6, 8))
    for size in ((16, 16), (21, 34), (3, 5)):
        masked, hole = sample(*size)
        (filled,) = network(masked, hole)
        torch.testing.assert_close(filled, push_pull(masked, hole), atol=0.05, rtol=0)


def test_samples_do_not_mix_and_every_parameter_learns() -> None:
    torch.manual_seed(0)
    network = InpaintingUNet(3, widths=(4, 6))
    masked, hole = sample(16, 16)
    together, alone = network(masked, hole)[0], network(masked[1:], hole[1:])[0]
    torch.testing.assert_close(together[1:], alone)
    together.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_sees_the_hole() -> None:
    """The same fill behind another hole is corrected differently."""
    torch.manual_seed(0)
    network = InpaintingUNet(1, widths=(4, 6))
    image, none = torch.full((1, 1, 16, 16), 0.5), torch.zeros(1, 1, 16, 16)
    hole = none.clone()
    hole[..., 4:9, 4:9] = 1
    assert torch.equal(push_pull(image, hole), image)
    assert not torch.equal(network(image, hole)[0], network(image, none)[0])


def test_shares_its_trunk_with_the_denoiser() -> None:
    """Their parameters differ in the channels of the first layer alone: the hole for the map."""
    inpainter, denoiser = InpaintingUNet(3).state_dict(), BiasFreeUNet(3, num_blocks=1).state_dict()
    assert inpainter.keys() == denoiser.keys()
    differing = {k for k in inpainter if inpainter[k].shape != denoiser[k].shape}
    assert differing == {"down.0.0.weight"}
    assert inpainter["down.0.0.weight"].shape[1] - denoiser["down.0.0.weight"].shape[1] == 3
