import numpy as np
import pytest
import torch

from restore.network.bf_cnn import BFCNN
from restore.network.dncnn import DnCNN
from restore.network.drunet import DRUNet
from restore.network.ffdnet import FFDNet
from restore.network.published_denoiser import PublishedDenoiser, restore_any_size
from restore.types import InputError

TINY = {
    "dncnn": lambda: DnCNN(3, width=4, depth=3),
    "ffdnet": lambda: FFDNet(3, width=4, depth=3),
    "drunet": lambda: DRUNet(3, width=2, num_blocks=1),
}


def on_meta(network: type[PublishedDenoiser], *arguments: int) -> PublishedDenoiser:
    with torch.device("meta"):
        return network(*arguments)


@pytest.mark.parametrize(
    ("network", "arguments", "count"),
    [
        (DnCNN, (1, 64, 17), 555_137),
        (DnCNN, (1, 64, 20), 665_921),
        (DnCNN, (3, 64, 20), 668_227),
        (FFDNet, (1, 64, 15), 485_316),
        (FFDNet, (3, 96, 12), 852_108),
        (DRUNet, (3, 64, 4), 32_640_960),
        (DRUNet, (1, 64, 4), 32_638_656),
    ],
)
def test_published_sizes(
    network: type[PublishedDenoiser], arguments: tuple[int, ...], count: int
) -> None:
    assert sum(p.numel() for p in on_meta(network, *arguments).parameters()) == count


def test_plain_layout_numbers_convolutions_by_two() -> None:
    shapes = {k: tuple(v.shape) for k, v in on_meta(DnCNN, 1, 64, 17).state_dict().items()}
    assert set(shapes) == {f"model.{2 * i}.{p}" for i in range(17) for p in ("weight", "bias")}
    assert shapes["model.0.weight"] == (64, 1, 3, 3)
    assert shapes["model.32.weight"] == (1, 64, 3, 3)


def test_ffdnet_layout() -> None:
    shapes = {k: tuple(v.shape) for k, v in on_meta(FFDNet, 3, 96, 12).state_dict().items()}
    assert set(shapes) == {f"model.{2 * i}.{p}" for i in range(12) for p in ("weight", "bias")}
    # four sub-images of three channels and the noise map
    assert shapes["model.0.weight"] == (96, 13, 3, 3)
    assert shapes["model.22.bias"] == (12,)


def test_drunet_layout() -> None:
    shapes = {k: tuple(v.shape) for k, v in on_meta(DRUNet, 3, 64, 4).state_dict().items()}
    assert not any("bias" in key for key in shapes)
    assert len(shapes) == 7 * 4 * 2 + 6 + 2  # blocks of two, six changes of scale, head and tail
    expected = {
        "m_head.weight": (64, 4, 3, 3),
        "m_down1.0.res.0.weight": (64, 64, 3, 3),
        "m_down1.3.res.2.weight": (64, 64, 3, 3),
        "m_down1.4.weight": (128, 64, 2, 2),
        "m_down3.4.weight": (512, 256, 2, 2),
        "m_body.3.res.2.weight": (512, 512, 3, 3),
        "m_up3.0.weight": (512, 256, 2, 2),
        "m_up1.0.weight": (128, 64, 2, 2),
        "m_up1.4.res.0.weight": (64, 64, 3, 3),
        "m_tail.weight": (3, 64, 3, 3),
    }
    assert {key: shapes[key] for key in expected} == expected


@pytest.mark.parametrize("name", TINY)
def test_zero_weights_give_the_residual_form(name: str) -> None:
    network = TINY[name]()
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    image, sigma = torch.rand(2, 3, 16, 24), torch.rand(2)
    expected = image if name == "dncnn" else torch.zeros_like(image)  # the noise, or the image
    assert torch.equal(network(image, sigma), expected)


@pytest.mark.parametrize("name", ["ffdnet", "drunet"])
def test_each_sample_is_told_its_own_level(name: str) -> None:
    torch.manual_seed(0)
    network, image = TINY[name](), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        both = network(image.expand(2, -1, -1, -1), torch.tensor([0.1, 0.5]))
        alone = network(image, torch.tensor([0.5]))
    assert not torch.allclose(both[0], both[1])
    torch.testing.assert_close(both[1:], alone)


def test_bf_cnn_subtracts_noise_of_either_sign() -> None:
    """Mohan et al. 2020: ReLUs between convolutions, and none behind the last."""
    torch.manual_seed(0)
    network, image = BFCNN(1, 3, 3), torch.rand(2, 1, 6, 5)
    noise = network.conv2(network.conv1(network.conv0(image).clamp(min=0)).clamp(min=0))
    assert (noise < 0).any() and (noise > 0).any()
    torch.testing.assert_close(network(image, torch.zeros(2)), image - noise)


def test_ffdnet_sees_sub_images_beside_their_level() -> None:
    """Zhang et al. 2018 (FFDNet), figure 1; the level in units of [0, 1], as in the release."""
    torch.manual_seed(0)
    network, image, sigma = FFDNet(1, 4, 3), torch.rand(2, 1, 8, 6), torch.tensor([0.1, 0.3])
    parts = [image[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]
    clean = network.model(torch.cat([*parts, sigma.view(2, 1, 1, 1).expand(2, 1, 4, 3)], dim=1))
    found = network(image, sigma)
    for place, part in enumerate(clean.unbind(1)):
        torch.testing.assert_close(found[:, 0, place // 2 :: 2, place % 2 :: 2], part)


def test_drunet_adds_what_went_down_to_what_comes_up() -> None:
    """Zhang et al. 2021, figure 2: at all four scales, the coarsest around the body."""
    torch.manual_seed(0)
    network, image, sigma = DRUNet(3, 2, 1), torch.rand(2, 3, 16, 24), torch.tensor([0.1, 0.3])
    level = sigma.view(2, 1, 1, 1).expand(2, 1, 16, 24)
    one = network.m_head(torch.cat([image, level], dim=1))
    two = network.m_down1(one)
    three = network.m_down2(two)
    four = network.m_down3(three)
    up = network.m_up3(network.m_body(four) + four) + three
    up = network.m_up1(network.m_up2(up) + two) + one
    torch.testing.assert_close(network(image, sigma), network.m_tail(up))


def test_drunet_scales_with_image_and_level() -> None:
    """Without biases and with ReLU the network is homogeneous of degree one."""
    torch.manual_seed(0)
    network, image, sigma = TINY["drunet"](), torch.rand(1, 3, 16, 16), torch.tensor([0.2])
    with torch.no_grad():
        torch.testing.assert_close(network(3 * image, 3 * sigma), 3 * network(image, sigma))


def test_ffdnet_with_an_identity_network_returns_the_image() -> None:
    """Sub-images go back to where they came from."""
    network = FFDNet(1, width=5, depth=2)
    first, last = network.model[0], network.model[2]
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        first.weight[range(5), range(5), 1, 1] = 1
        last.weight[range(4), range(4), 1, 1] = 1
    image = torch.rand(2, 1, 6, 8)
    assert torch.equal(network(image, torch.zeros(2)), image)


def test_sides_grow_to_multiples_by_repeating_the_last_pixel() -> None:
    seen: list[torch.Tensor] = []

    class Watching:
        factor = 4

        def __call__(self, image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            seen.append(image)
            return image

    image = torch.rand(1, 1, 5, 6) * 2 - 1
    torch.testing.assert_close(restore_any_size(Watching(), image, torch.zeros(1)), image)
    padded = np.pad((image.numpy() + 1) / 2, ((0, 0), (0, 0), (0, 3), (0, 2)), mode="edge")
    np.testing.assert_allclose(seen[0], padded, rtol=1e-6)


def test_refuses_what_no_release_has() -> None:
    with pytest.raises(InputError, match="image_channels=2"):
        DnCNN(2)
    with pytest.raises(InputError, match="depth=1"):
        FFDNet(3, depth=1)
