from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restore.metric import distribution
from restore.metric.distribution import DistributionMetric
from restore.metric.fid import FID, frechet_distance
from restore.metric.kid import KID
from restore.types import InputError


class Pixels(nn.Module):
    """Features are the pixels themselves: every statistic has a closed form."""

    def __init__(self, num_features: int = 4) -> None:
        super().__init__()
        self.num_features = num_features
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += len(images)
        return images.flatten(1)


def images(count: int, seed: int, mean: float = 0.5, std: float = 0.1) -> Tensor:
    """8-bit grey [count, 1, 2, 2] in [0, 1], correlated pixels."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.tensor([[1, 0.5, 0, 0], [0, 1, 0.5, 0], [0, 0, 1, 0.5], [0.2, 0, 0, 1]])
    pixels = mean + std * torch.randn(count, 4, generator=generator) @ mixing
    return ((pixels.clamp(0, 1) * 255).round() / 255).view(count, 1, 2, 2)


def test_fid_is_the_frechet_distance_of_sample_moments() -> None:
    restored, target = images(500, 0, mean=0.4), images(700, 1)
    metric = FID(Pixels())
    metric.update(restored, target[:500])
    metric.update(restored[:2], target[500:])
    both = torch.cat([restored, restored[:2]])
    moments = []
    for sample in (both, target):
        pixels = sample.flatten(1).double().numpy()
        moments += [torch.from_numpy(pixels.mean(0)), torch.from_numpy(np.cov(pixels.T))]
    assert metric.compute() == pytest.approx(frechet_distance(*moments), abs=1e-10)


def test_fid_of_identical_sets_is_zero_even_below_full_rank() -> None:
    metric = FID(Pixels(64))
    few = torch.rand(5, 1, 8, 8)
    metric.update(few, few)
    assert 0 <= metric.compute() < 1e-6


def test_moments_take_the_same_memory_however_many_images() -> None:
    metric = FID(Pixels())
    sizes = []
    for seed in range(3):
        metric.update(images(100, seed), images(100, seed))
        sizes.append(sum(value.numel() for value in metric.state().values()))
    assert sizes[0] == sizes[2]


def test_kid_is_unbiased_at_zero_and_sees_a_shift() -> None:
    same, shifted = [], []
    for seed in range(40):
        for values, mean in ((same, 0.5), (shifted, 0.4)):
            metric = KID(Pixels())
            metric.update(images(50, 2 * seed, mean), images(50, 2 * seed + 1))
            values.append(metric.compute())
    error = np.std(same) / np.sqrt(len(same))
    assert abs(np.mean(same)) < 4 * error
    assert min(same) < 0 < np.mean(shifted) - 10 * error


def test_kid_subsets_average_to_the_whole() -> None:
    restored, target = images(400, 0, mean=0.3), images(400, 1)
    whole, parts = KID(Pixels()), KID(Pixels(), subset_size=100, num_subsets=200)
    for metric in (whole, parts):
        metric.update(restored, target)
    assert parts.compute() == pytest.approx(whole.compute(), rel=0.05)
    assert parts.compute() != whole.compute()


@pytest.fixture(params=["fid", "kid"])
def make_metric(request: pytest.FixtureRequest) -> type[DistributionMetric]:
    def make() -> DistributionMetric:
        if request.param == "fid":
            return FID(Pixels())
        return KID(Pixels(), subset_size=20, num_subsets=5)

    return make  # type: ignore[return-value]


def test_does_not_depend_on_batches_order_or_processes(make_metric: type) -> None:
    restored, target = images(60, 0, mean=0.4), images(60, 1)
    whole = make_metric()
    whole.update(restored, target)
    pieces = make_metric()
    for i in torch.randperm(60).split(7):
        pieces.update(restored[i], target[i])
    ranks = [make_metric(), make_metric()]
    for rank, metric in enumerate(ranks):
        metric.update(restored[rank::2], target[rank::2])
    ranks[0].merge(ranks[1].state())
    assert pieces.compute() == pytest.approx(whole.compute(), rel=1e-9)
    assert ranks[0].compute() == pytest.approx(whole.compute(), rel=1e-9)
    assert ranks[0].num_images == 60


def test_an_idle_process_adds_nothing(make_metric: type) -> None:
    metric = make_metric()
    metric.update(images(30, 0), images(30, 1))
    expected = metric.compute()
    metric.merge(make_metric().state())
    assert metric.compute() == expected


def test_samples_count_as_images(make_metric: type) -> None:
    samples, target = images(60, 0).view(30, 2, 1, 2, 2), images(30, 1)
    stacked, flat = make_metric(), make_metric()
    stacked.update(samples, target)
    flat.update(samples.flatten(0, 1), target)
    assert stacked.compute() == flat.compute()
    assert stacked.num_images == 30


def test_reset_forgets(make_metric: type) -> None:
    metric = make_metric()
    metric.update(images(30, 0), images(30, 1))
    metric.reset()
    assert metric.num_images == 0


def test_values_are_rounded_to_eight_bits(make_metric: type) -> None:
    restored, target = images(30, 0), images(30, 1)
    plain, jittered = make_metric(), make_metric()
    plain.update(restored, target)
    jittered.update(restored + 0.4 / 255, target)
    assert jittered.compute() == plain.compute()


def test_refuses_one_image_and_labels_small_sets(make_metric: type) -> None:
    metric = make_metric()
    metric.update(images(1, 0), images(1, 1))
    with pytest.raises(InputError, match="2 images or more, got 1"):
        metric.compute()
    metric.update(images(2046, 0), images(2046, 1))
    assert not metric.comparable
    metric.update(images(1, 2), images(1, 3))
    assert metric.comparable and metric.num_images == 2048


def test_definition_names_extractor_weights_and_subsets() -> None:
    torch.manual_seed(0)

    class Linear(nn.Linear):
        num_features = 4

    one, other = FID(Linear(4, 4)), FID(Linear(4, 4))
    assert one.definition.startswith("fid/Linear-") and one.definition != other.definition
    assert KID(Pixels()).definition != KID(Pixels(), seed=1).definition
    assert FID(Pixels()).name == "fid_pixels"
    with pytest.raises(InputError, match="num_features"):
        FID(nn.Linear(4, 4))


def test_extractor_is_in_evaluation_mode() -> None:
    assert not FID(Pixels()).extractor.training


def test_extractor_is_part_of_no_state_dict() -> None:
    class Owner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.metric = FID(Pixels())

    assert not Owner().state_dict() and not list(Owner().modules())[1:]


@pytest.mark.parametrize("setting", [{"subset_size": 1}, {"num_subsets": 0}])
def test_kid_refuses_impossible_subsets(setting: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(setting))):
        KID(Pixels(), **setting)


class TestCache:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("RESTORE_CACHE", str(tmp_path))
        return tmp_path

    def run(self, make: type, target: Tensor, key: str = "flowers") -> tuple[float, int]:
        """The distance, and how many images went through the feature network."""
        metric = make()
        metric.use_cache(key)
        for i in range(0, len(target), 10):
            metric.update(images(10, i), target[i : i + 10])
        return metric.compute(), metric.extractor.calls

    def test_spares_the_targets_and_changes_nothing(self, make_metric: type) -> None:
        target = images(30, 1)
        first, second = self.run(make_metric, target), self.run(make_metric, target.flip(0))
        assert second[0] == pytest.approx(first[0], rel=1e-12)
        assert (first[1], second[1]) == (60, 30)

    def test_is_kept_by_key_and_by_definition(self, make_metric: type, folder: Path) -> None:
        self.run(make_metric, images(30, 1))
        assert self.run(make_metric, images(30, 2), key="digits")[1] == 60
        assert len(list(folder.rglob("*.safetensors"))) == len(list(folder.rglob("*.*"))) == 2

    def test_refuses_statistics_of_other_images(self, make_metric: type) -> None:
        self.run(make_metric, images(30, 1))
        with pytest.raises(InputError, match="other target images"):
            self.run(make_metric, images(30, 2))
        with pytest.raises(InputError, match="other target images"):
            self.run(make_metric, images(30, 1)[:20])

    def test_survives_processes(self, make_metric: type) -> None:
        target = images(30, 1)
        expected = self.run(make_metric, target)[0]
        ranks = [make_metric(), make_metric()]
        for rank, metric in enumerate(ranks):
            metric.use_cache("flowers")
            for i in range(10 * rank, 30, 20):
                metric.update(images(10, i), target[i : i + 10])
        ranks[0].merge(ranks[1].state())
        assert ranks[0].compute() == pytest.approx(expected, rel=1e-9)

    def test_is_off_by_default(self, make_metric: type, folder: Path) -> None:
        metric = make_metric()
        metric.update(images(10, 0), images(10, 1))
        metric.compute()
        assert not list(folder.iterdir())


def test_digest_ignores_order_and_sees_every_level() -> None:
    batch = images(5, 0)
    total = distribution._digest(batch)
    assert total == distribution._digest(batch.flip(0))
    batch[3, 0, 1, 1] = 1 - batch[3, 0, 1, 1]
    assert total != distribution._digest(batch)
