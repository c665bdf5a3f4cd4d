import pytest
import torch

from restore.network.classifier import Classifier
from restore.types import InputError


@pytest.mark.parametrize("size", [8, 28, 33, 64])
def test_shapes_at_every_size(size: int) -> None:
    network = Classifier(in_channels=3, num_classes=5, width=8).eval()
    images = torch.rand(2, 3, size, size)
    assert network(images).shape == (2, 5)
    assert network.features(images).shape == (2, network.num_features) == (2, 32)


def test_logits_are_the_head_of_features_and_samples_do_not_mix() -> None:
    network = Classifier(in_channels=1, num_classes=10, width=4).eval()
    images = torch.rand(3, 1, 16, 16)
    together = network(images)
    assert torch.allclose(together, network.head(network.features(images)))
    assert torch.allclose(together[1:2], network(images[1:2]), atol=1e-6)


def test_features_are_means_over_positions() -> None:
    network, maps = Classifier(in_channels=1, num_classes=2, width=4).eval(), list[torch.Tensor]()
    network.stages[-1].register_forward_hook(lambda _, __, made: maps.append(made))
    features = network.features(torch.rand(3, 1, 16, 16))
    pooled = maps[0].unflatten(3, (2, 2)).unflatten(2, (2, 2)).amax((3, 5))
    torch.testing.assert_close(features, pooled.mean((2, 3)))


def test_default_width_fits_two_megabytes_of_float32() -> None:
    network = Classifier(in_channels=3, num_classes=10)
    assert sum(value.numel() * 4 for value in network.state_dict().values()) < 2_000_000


def test_every_parameter_learns() -> None:
    network = Classifier(in_channels=1, num_classes=2, width=4)
    network(torch.rand(4, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_refuses_nothing() -> None:
    with pytest.raises(InputError, match="width=0"):
        Classifier(in_channels=1, num_classes=2, width=0)
