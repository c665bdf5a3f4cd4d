from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import nn

from restore.network.alexnet import AlexNet
from restore.network.inception import InceptionV3
from restore.network.squeezenet import SqueezeNet
from restore.network.vgg import VGG16, VGG19
from restore.network.weights import PublishedNetwork, find_weights, load_published
from restore.types import InputError


def on_meta(network: type[PublishedNetwork]) -> PublishedNetwork:
    with torch.device("meta"):
        return network().eval()


@pytest.mark.parametrize(
    ("network", "count", "num_classes"),
    [
        (VGG16, 138_357_544, 1000),
        (VGG19, 143_667_240, 1000),
        (AlexNet, 61_100_840, 1000),
        (SqueezeNet, 1_235_496, 1000),
        # torchvision's without its auxiliary head, and 8 more classes of 2048 weights and a bias
        (InceptionV3, 23_834_568 + 8 * 2049, 1008),
    ],
)
def test_published_sizes(network: type[PublishedNetwork], count: int, num_classes: int) -> None:
    built = on_meta(network)
    assert sum(parameter.numel() for parameter in built.parameters()) == count
    assert built(torch.zeros(2, 3, 299, 299, device="meta")).shape == (2, num_classes)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (VGG16, {"features.28.weight": (512, 512, 3, 3), "classifier.6.bias": (1000,)}),
        (VGG19, {"features.34.weight": (512, 512, 3, 3), "classifier.3.weight": (4096, 4096)}),
        (AlexNet, {"features.10.bias": (256,), "classifier.1.weight": (4096, 9216)}),
        (
            SqueezeNet,
            {
                "features.12.expand3x3.weight": (256, 64, 3, 3),
                "features.3.squeeze.bias": (16,),
                "classifier.1.weight": (1000, 512, 1, 1),
            },
        ),
        (
            InceptionV3,
            {
                "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
                "Conv2d_4a_3x3.bn.running_var": (192,),
                "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
                "Mixed_6a.branch3x3dbl_3.conv.weight": (96, 96, 3, 3),
                "Mixed_6d.branch7x7dbl_4.conv.weight": (160, 160, 7, 1),
                "Mixed_6e.branch7x7_2.conv.weight": (192, 192, 1, 7),
                "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
                "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
                "fc.weight": (1008, 2048),
            },
        ),
    ],
)
def test_published_keys(
    network: type[PublishedNetwork], expected: dict[str, tuple[int, ...]]
) -> None:
    state = on_meta(network).state_dict()
    assert {key: tuple(state[key].shape) for key in expected} == expected


def test_number_of_keys_is_the_published_one() -> None:
    counts = {
        network: sum("num_batches" not in key for key in on_meta(network).state_dict())
        for network in (VGG16, VGG19, AlexNet, SqueezeNet, InceptionV3)
    }
    # 94 convolutions with four batch-norm tensors each, and fc
    assert list(counts.values()) == [32, 38, 16, 52, 94 * 5 + 2]


@pytest.mark.parametrize(
    ("network", "sides"),
    [
        (AlexNet, [56, 27, 27, 13, 13, 13, 13, 6]),
        (SqueezeNet, [114, 57, 57, 57, 28, 28, 28, 14, 14, 14, 14, 14]),
        (VGG16, [230] * 2 + [115] * 3 + [57] * 4 + [28] * 4 + [14] * 4 + [7]),
    ],
)
def test_sides_of_every_stage(network: type[PublishedNetwork], sides: list[int]) -> None:
    """Of 230 px, by hand: the files of weights say nothing of strides, padding and rounding."""
    built, seen = on_meta(network), []
    for layer in built.features:
        if not isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda _, __, output: seen.append(output.shape[-1]))
    built(torch.zeros(1, 3, 230, 230, device="meta"))
    assert seen == sides


def test_inception_pools_without_padding_and_with_a_maximum() -> None:
    torch.manual_seed(0)
    network = InceptionV3().eval()
    ones = torch.ones(1, 1280, 3, 3)
    assert torch.equal(network.Mixed_7b.pool(ones), ones)
    ramp = torch.arange(9.0).view(1, 1, 3, 3)
    assert network.Mixed_7c.pool(ramp).flatten().tolist() == [4, 5, 5, 7, 8, 8, 7, 8, 8]
    with torch.no_grad():
        assert network.features(torch.zeros(1, 3, 299, 299)).shape == (1, 2048)


class Tiny(PublishedNetwork):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.norm = nn.BatchNorm1d(1)


class TestFile:
    @pytest.fixture(autouse=True)
    def empty_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        monkeypatch.delenv("RESTORE_WEIGHTS", raising=False)

    def save(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Tiny, Path]:
        network = Tiny()
        folder.mkdir(parents=True)
        path = folder / "tiny.pth"
        torch.save(network.state_dict(), path)
        path = path.rename(folder / f"tiny-{sha256(path.read_bytes()).hexdigest()[:8]}.pth")
        monkeypatch.setattr(Tiny, "weights", path.name, raising=False)
        return network, path

    def test_missing_names_file_places_and_address(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RESTORE_WEIGHTS", str(tmp_path / "mine"))
        with pytest.raises(InputError) as error:
            load_published(VGG16)
        message = str(error.value)
        assert "\n" not in message
        for part in (
            "vgg16-397923af.pth",
            str(tmp_path / "mine"),
            str(tmp_path / "torch/hub/checkpoints"),
            "https://download.pytorch.org/models/vgg16-397923af.pth",
        ):
            assert part in message

    @pytest.mark.parametrize("place", ["mine", "torch/hub/checkpoints"])
    def test_found_in_both_places_frozen_and_exact(
        self, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saved, _ = self.save(tmp_path / place, monkeypatch)
        monkeypatch.setenv("RESTORE_WEIGHTS", str(tmp_path / "mine"))
        loaded = load_published(Tiny)
        for key, value in saved.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value)
        assert not loaded.training
        assert not any(parameter.requires_grad for parameter in loaded.parameters())

    def test_damaged_file_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        _, path = self.save(tmp_path / "mine", monkeypatch)
        monkeypatch.setenv("RESTORE_WEIGHTS", str(tmp_path / "mine"))
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InputError, match="damaged"):
            find_weights(path.name)

    def test_weights_without_batch_counters_load(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The public Inception file is older than num_batches_tracked."""
        network, path = self.save(tmp_path / "mine", monkeypatch)
        state = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
        torch.save(state, path)
        renamed = path.rename(
            path.with_name(f"tiny-{sha256(path.read_bytes()).hexdigest()[:8]}.pth")
        )
        monkeypatch.setattr(Tiny, "weights", renamed.name)
        monkeypatch.setenv("RESTORE_WEIGHTS", str(tmp_path / "mine"))
        assert load_published(Tiny).norm.num_batches_tracked.device.type == "cpu"
