import pytest
import torch
from torch.nn import functional as F

from restore.metric import extractor as extractor_module
from restore.metric.extractor import SqueezeNetExtractor, load_extractor
from restore.metric.squeezenet import SqueezeNetDistance
from restore.network.squeezenet1_0 import load_squeezenet
from restore.types import Batch


def batch(target: torch.Tensor) -> Batch:
    count = len(target)
    return Batch(input=target, target=target, index=torch.arange(count), name=["x"] * count)


def test_distance_by_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = ((torch.rand(2, 3, 40, 33, generator=generator) * 255).round() / 255 for _ in "ab")
    network, total = load_squeezenet(), 0.0
    for name, one in network.features(a[1:]).items():
        x, y = one[0].double().numpy(), network.features(b[1:])[name][0].double().numpy()
        cells = [(i, j) for i in range(x.shape[1]) for j in range(x.shape[2])]
        for i, j in cells:
            cosine = (x[:, i, j] @ y[:, i, j]) / (
                (x[:, i, j] @ x[:, i, j]) ** 0.5 * (y[:, i, j] @ y[:, i, j]) ** 0.5
            )
            total += (2 - 2 * cosine) / len(cells) / 8
    found = SqueezeNetDistance()(a, b, batch(b))
    torch.testing.assert_close(float(found[1]), total, rtol=1e-5, atol=1e-7)
    assert SqueezeNetDistance()(a, a, batch(a)).tolist() == [0, 0]


def test_extractor_names_its_weights_and_takes_grey() -> None:
    extractor, definition = load_extractor("squeezenet1_0")
    assert isinstance(extractor, SqueezeNetExtractor)
    assert definition == "squeezenet1_0-24f442a8/bicubic227"
    grey = torch.rand(2, 1, 227, 227)
    features = extractor(grey)
    expected = load_squeezenet().features(grey.expand(-1, 3, -1, -1))["fire9"].mean(dim=(2, 3))
    assert features.shape == (2, 512)
    torch.testing.assert_close(features, expected)


def test_extractor_sees_no_more_than_images_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cubic kernel overshoots at edges: values beyond black and white are clipped."""
    extractor, seen = SqueezeNetExtractor(), list[torch.Tensor]()
    features = extractor.network.features

    def watched(image: torch.Tensor, names: list[str]) -> dict[str, torch.Tensor]:
        seen.append(image)
        return features(image, names)

    monkeypatch.setattr(extractor.network, "features", watched)
    edge = torch.zeros(1, 3, 40, 40)
    edge[..., 20:] = 1
    extractor(edge)
    assert seen[0].aminmax() == (0, 1)


def test_extractor_resizes_by_a_cubic_kernel() -> None:
    small = torch.rand(1, 3, 60, 50, generator=torch.Generator().manual_seed(0))
    grown = F.interpolate(small, (227, 227), mode="bicubic", antialias=True).clamp(0, 1)
    extractor = SqueezeNetExtractor()
    torch.testing.assert_close(extractor(small), extractor(grown))


def test_distance_is_of_eight_bits() -> None:
    image = (torch.rand(1, 3, 40, 33) * 255).round() / 255
    assert SqueezeNetDistance()(image + 0.4 / 255, image, batch(image)).tolist() == [0]


def test_inception_sees_images_of_299_px_around_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pytorch-fid shows them: picked by a linear kernel that blurs nothing, from -1 to 1."""

    class Seeing(torch.nn.Module):
        def features(self, image: torch.Tensor) -> torch.Tensor:
            return image

    monkeypatch.setattr(extractor_module, "load_published", lambda network: Seeing())
    grey = torch.rand(1, 1, 400, 350)
    seen = extractor_module.InceptionExtractor()(grey)
    expected = 2 * F.interpolate(grey, (299, 299), mode="bilinear", align_corners=False) - 1
    torch.testing.assert_close(seen, expected.expand(1, 3, 299, 299))
