from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from restore.image import to_unit
from restore.loss import perceptual
from restore.loss.perceptual import (
    VGGFeatures,
    feature_distance,
    gram_matrix,
    image_features,
    style_distance,
)
from restore.network.squeezenet1_0 import SCALES, load_squeezenet
from restore.network.vgg import VGG, VGG16, VGG19
from restore.types import InputError


def narrow(network: type[VGG]) -> SimpleNamespace:
    """The chain of layers of VGG, four channels wide, frozen and with random weights."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    in_channels = 3
    for num_convolutions in network.stages:
        for _ in range(num_convolutions):
            layers += [nn.Conv2d(in_channels, 4, 3, padding=1), nn.ReLU()]
            in_channels = 4
        layers.append(nn.MaxPool2d(2))
    return SimpleNamespace(features=nn.Sequential(*layers).requires_grad_(False))


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "load_published", narrow)


@pytest.mark.parametrize("network", [VGG16, VGG19])
def test_names_are_those_of_the_published_chain(network: type[VGG]) -> None:
    with torch.device("meta"):
        layers = list(network().features)
    names = perceptual._names(network)
    assert len(names) == len(layers)
    kinds = {"conv": nn.Conv2d, "relu": nn.ReLU, "pool": nn.MaxPool2d}
    assert all(isinstance(m, kinds[n[:4]]) for n, m in zip(names, layers, strict=True))
    deepest = {VGG16: "conv5_3", VGG19: "conv5_4"}[network]
    # the last convolution, torchvision's features.28 and features.34
    assert names.index(deepest) == {VGG16: 28, VGG19: 34}[network]
    assert layers[names.index("conv3_1")].out_channels == 256


def test_before_and_after_activation(weights: None) -> None:
    image = torch.rand(2, 3, 16, 16) * 2 - 1
    before, after, pooled = VGGFeatures("vgg19", ["conv2_2", "relu2_2", "pool2"])(image)
    assert before.min() < 0
    assert torch.equal(after, before.relu())
    assert pooled.shape == (2, 4, 4, 4) and torch.equal(pooled, nn.MaxPool2d(2)(after))


def test_images_are_normalised_as_on_imagenet(weights: None) -> None:
    features = VGGFeatures(layers=["conv1_1"])
    conv = features.layers[0]
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    conv.weight[range(3), range(3), 1, 1] = 1
    image = torch.rand(1, 3, 4, 4) * 2 - 1
    x = to_unit(image)[0].double().numpy()
    mean = np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    std = np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    np.testing.assert_allclose(features(image)[0][0, :3], (x - mean) / std, atol=1e-5)


def test_grey_counts_as_rgb(weights: None) -> None:
    features, grey = VGGFeatures(layers=["relu1_2"]), torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(features(grey), features(grey.repeat(1, 3, 1, 1)))


def test_gradient_reaches_the_image_and_no_weight(weights: None) -> None:
    features = VGGFeatures(layers=["relu1_2", "conv2_2"])
    output = torch.rand(1, 3, 8, 8, requires_grad=True)
    target = features(torch.rand(1, 3, 8, 8))
    assert not any(feature.requires_grad for feature in target)
    feature_distance(features(output), target).sum().backward()
    assert output.grad is not None and output.grad.abs().sum() > 0


def test_task_neither_stores_nor_trains_it(weights: None) -> None:
    task = nn.Module()
    task.features = VGGFeatures()
    assert not task.state_dict() and not list(task.parameters())


def test_gram_matrix_by_definition() -> None:
    features = torch.randn(2, 3, 4, 5)
    x = features.double().numpy().reshape(2, 3, 20)
    expected = np.einsum("bik,bjk->bij", x, x) / (3 * 4 * 5)
    np.testing.assert_allclose(gram_matrix(features), expected, atol=1e-6)


def test_gram_matrix_stays_in_float32_under_autocast() -> None:
    features = torch.randn(1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gram_matrix(features), gram_matrix(features.clone()))
        found = gram_matrix(features)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, gram_matrix(features))


def test_style_forgets_places_and_content_does_not() -> None:
    features = torch.randn(2, 3, 4, 5)
    shuffled = features.flatten(2)[..., torch.randperm(20)].view_as(features)
    assert style_distance([features], [shuffled]).max() < 1e-6
    assert feature_distance([features], [shuffled]).min() > 0.1


def test_distance_is_summed_over_layers_for_each_sample() -> None:
    a, b = [torch.zeros(2, 1, 2, 2), torch.zeros(2, 7, 1, 1)], [torch.ones(2, 1, 2, 2)]
    b.append(torch.tensor([3.0, -5.0]).view(2, 1, 1, 1).expand(2, 7, 1, 1))
    assert feature_distance(a, b).tolist() == [1 + 3, 1 + 5]


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("RESTORE_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match=r"vgg16-397923af\.pth"):
        VGGFeatures()


def test_refuses_unknown_layers() -> None:
    with pytest.raises(InputError, match=r"relu3_4.*vgg16 has conv1_1"):
        VGGFeatures("vgg16", ["relu3_4"])
    with pytest.raises(InputError, match="use one or more"):
        VGGFeatures(layers=[])
    with pytest.raises(InputError, match="network=vgg11"):
        VGGFeatures("vgg11")  # type: ignore[arg-type]


def test_the_network_that_ships_needs_no_weights_of_the_user() -> None:
    features = image_features("squeezenet1_0")
    output = (torch.rand(1, 3, 32, 32) * 2 - 1).requires_grad_()
    found = features(output)
    expected = load_squeezenet().features(to_unit(output))
    names = ["fire2", "fire4", "fire5", "fire8"]
    for one, name in zip(found, names, strict=True):
        torch.testing.assert_close(one, expected[name] / SCALES[name])
    feature_distance(found, features(torch.zeros(1, 1, 32, 32))).sum().backward()
    assert output.grad is not None and output.grad.abs().sum() > 0
    with pytest.raises(InputError, match=r"fire1.*squeezenet1_0 has fire2"):
        image_features("squeezenet1_0", ["fire1"])
