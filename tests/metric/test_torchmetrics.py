"""Metrics of torchmetrics, named by the paths of their classes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchmetrics
from entry import ROOT
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from torchmetrics import Metric
from torchmetrics.functional import image as peer

from restore import build
from restore.metric.base import measure_all
from restore.metric.psnr import PSNR
from restore.metric.torchmetrics import TorchMetric
from restore.types import Batch, InputError

MakeBatch = Callable[..., Batch]
UQI = "torchmetrics.image.UniversalImageQualityIndex"
VIF = "torchmetrics.image.VisualInformationFidelity"
TV = "torchmetrics.image.TotalVariation"


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Two smooth photos and their noisy versions [2, 3, 48, 44], 8-bit values in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(2, 3, 56, 52, generator=generator)
    clean = torch.nn.functional.avg_pool2d(rough, 9, 1)
    noisy = clean + 0.03 * torch.randn(clean.shape, generator=generator)
    return tuple((v.clamp(0, 1) * 255).round() / 255 for v in (noisy, clean))  # type: ignore[return-value]


def test_gives_torchmetrics_own_number_for_each_image(pair: Any, make_batch: MakeBatch) -> None:
    restored, target = pair
    values = TorchMetric(UQI)(restored, target, make_batch(target))
    ranged = TorchMetric(VIF, low=0, high=255)(restored, target, make_batch(target))
    for i in range(2):
        one, clean = restored[i : i + 1], target[i : i + 1]
        expected = peer.universal_image_quality_index(one, clean).item()
        assert values[i].item() == pytest.approx(expected, rel=1e-4)
        expected = peer.visual_information_fidelity(one * 255, clean * 255).item()
        assert ranged[i].item() == pytest.approx(expected, rel=1e-4)
        unscaled = peer.visual_information_fidelity(one, clean).item()
        assert unscaled != pytest.approx(expected, rel=1e-2)
    assert values[0] != values[1] and values.dtype == torch.float64


class Ranged(Metric):
    """Of images in [-1, 1]: others are refused."""

    higher_is_better = False

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.add_state("total", torch.zeros(()))

    def update(self, preds: torch.Tensor, target: torch.Tensor) -> None:
        assert -1 <= preds.min() < -0.5 < 0.5 < preds.max() <= 1
        self.total = (preds - target).abs().mean()

    def compute(self) -> torch.Tensor:
        return self.total


def test_what_is_tried_before_work_lies_in_the_range_of_the_metric(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torchmetrics.image, "Ranged", Ranged, raising=False)
    TorchMetric("torchmetrics.image.Ranged", low=-1, high=1).check(3, 16, 16)


def test_settings_reach_the_class_and_the_definition(pair: Any, make_batch: MakeBatch) -> None:
    restored, target = pair
    plain, wide = TorchMetric(UQI), TorchMetric(UQI, {"kernel_size": [5, 5]}, name="uqi")
    assert plain.name == "UniversalImageQualityIndex" and wide.name == "uqi"
    definitions = {plain.definition, wide.definition, TorchMetric(UQI, high=255.0).definition}
    assert len(definitions) == 3 and all(UQI in one for one in definitions)
    value = wide(restored[:1], target[:1], make_batch(target[:1])).item()
    expected = peer.universal_image_quality_index(restored[:1], target[:1], kernel_size=[5, 5])
    assert value == pytest.approx(expected.item(), rel=1e-4)


def test_beside_our_own_and_of_the_restored_image_alone(pair: Any, make_batch: MakeBatch) -> None:
    restored, target = pair
    variation = TorchMetric(TV, name="tv")
    assert not variation.higher_is_better
    assert TorchMetric(TV, higher_is_better=True).higher_is_better  # as it is told
    measured = measure_all([PSNR(), variation], restored[:, None], target, make_batch(target))
    expected = peer.total_variation(restored, reduction="none")
    assert measured["tv"].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_processes_and_images_do_not_mix(pair: Any, make_batch: MakeBatch) -> None:
    """Each value is of one image of one process: every image once is the evaluator's work."""
    restored, target = pair
    metric = TorchMetric(UQI)
    assert not metric.metric.sync_on_compute
    together = metric(restored, target, make_batch(target))
    again = metric(restored[1:], target[1:], make_batch(target[1:]))
    assert torch.equal(together[1:], again)


@pytest.mark.parametrize("leaf", ["torchmetrics", "uqi", "vif", "scc"])
def test_leaf_in_a_benchmark(leaf: str, pair: Any, make_batch: MakeBatch) -> None:
    GlobalHydra.instance().clear()
    named = f"+metric@benchmark.photos_masks.metric.mine={leaf}"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("evaluate", ["benchmark=[photos_masks]", named])
    node = OmegaConf.to_container(config.benchmark.photos_masks.metric.mine, resolve=True)
    metric = build.build(node, "metric")
    restored, target = pair
    metric.check(3, 48, 44)
    good = metric(target, target, make_batch(target))
    bad = metric(restored, target, make_batch(target))
    assert ((good > bad) == metric.higher_is_better).all()


@pytest.mark.parametrize(
    "arguments,named",
    [
        ({"metric": "os.path.join"}, "name a class of torchmetrics.image"),
        ({"metric": "torchmetrics.image.Nothing"}, "does not exist"),
        ({"metric": "torchmetrics.image.vif.rank_zero_warn"}, "name a class"),
        ({"metric": "torchmetrics.image.vif"}, "no metric"),
        ({"metric": "torchmetrics.image.MemorizationInformedFrechetInceptionDistance"}, "of sets"),
        ({"metric": UQI, "settings": {"sigmas": 1}}, "sigmas"),
        ({"metric": UQI, "low": 1.0, "high": 0.0}, "low=1.0"),
    ],
)
def test_refusals_before_work(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        TorchMetric(**arguments)


def test_sizes_that_it_does_not_take_are_refused_in_one_line() -> None:
    for path, size in (
        ("MultiScaleStructuralSimilarityIndexMeasure", (3, 64, 64)),
        ("SpectralAngleMapper", (1, 64, 64)),
        ("VisualInformationFidelity", (3, 20, 20)),
    ):
        metric = TorchMetric(f"torchmetrics.image.{path}")
        with pytest.raises(InputError, match=path) as refusal:
            metric.check(*size)
        assert "\n" not in str(refusal.value)


def test_a_package_that_is_missing_at_the_first_image_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metric = TorchMetric(UQI)

    def lacking(*images: torch.Tensor) -> None:
        raise ModuleNotFoundError("No module named 'transformers'")

    monkeypatch.setattr(metric.metric, "update", lacking)
    with pytest.raises(InputError, match="No module named 'transformers'"):
        metric.check(3, 64, 64)


def test_both_images_are_in_the_range_that_the_metric_takes() -> None:
    """Squared errors grow with the square of the range, and so does the peak."""
    generator = torch.Generator().manual_seed(0)
    restored, target = (torch.rand(2, 2, 3, 16, 16, generator=generator) * 255).round() / 255
    batch = Batch(target=target, input=target, index=torch.arange(2), name=["a", "b"])
    path = "torchmetrics.image.PeakSignalNoiseRatio"
    found = [
        TorchMetric(path, {"data_range": high - low}, low=low, high=high)(restored, target, batch)
        for low, high in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
    ]
    for one in found[1:]:
        torch.testing.assert_close(one, found[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize("high", [1.0, 255.0])
def test_the_range_is_the_data_range_of_the_class(
    high: float, pair: Any, make_batch: MakeBatch
) -> None:
    """Not that of each pair of images, which takes low contrast for a large error."""
    restored, target = pair
    path = "torchmetrics.image.StructuralSimilarityIndexMeasure"
    metric = TorchMetric(path, high=high)
    assert f'"data_range": {high}' in metric.definition
    for said, used in (({}, high), ({"data_range": high / 2}, high / 2)):
        found = TorchMetric(path, said, high=high)(restored, target, make_batch(target))
        expected = [
            peer.structural_similarity_index_measure(one[None], clean[None], data_range=used)
            for one, clean in zip(restored * high, target * high, strict=True)
        ]
        assert found.tolist() == pytest.approx([one.item() for one in expected], rel=1e-4)
