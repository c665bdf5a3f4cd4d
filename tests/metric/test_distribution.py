import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restore.metric import distribution
from restore.metric.distribution import DistributionMetric, update_all
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


class Halves(Pixels):
    """Another network."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) / 2


def images(count: int, seed: int, mean: float = 0.5, std: float = 0.1) -> Tensor:
    """8-bit grey [count, 1, 2, 2] in [0, 1], correlated pixels."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.tensor([[1, 0.5, 0, 0], [0, 1, 0.5, 0], [0, 0, 1, 0.5], [0.2, 0, 0, 1]])
    pixels = mean + std * torch.randn(count, 4, generator=generator) @ mixing
    return ((pixels.clamp(0, 1) * 255).round() / 255).view(count, 1, 2, 2)


def feed(
    metric: DistributionMetric, restored: Tensor, target: Tensor, index: Tensor | None = None
) -> None:
    """Update with indices that go on behind those of earlier images."""
    first = metric.target.count
    given = torch.arange(first, first + len(target)) if index is None else index
    metric.update(restored, target, given)


def test_fid_is_the_frechet_distance_of_sample_moments() -> None:
    restored, target = images(500, 0, mean=0.4), images(700, 1)
    metric = FID(Pixels())
    feed(metric, restored, target[:500])
    feed(metric, restored[:200], target[500:])
    both = torch.cat([restored, restored[:200]])
    moments = []
    for sample in (both, target):
        pixels = sample.flatten(1).double().numpy()
        moments += [torch.from_numpy(pixels.mean(0)), torch.from_numpy(np.cov(pixels.T))]
    assert metric.compute() == pytest.approx(frechet_distance(*moments), abs=1e-10)


def test_fid_of_identical_sets_is_zero_even_below_full_rank() -> None:
    metric = FID(Pixels(64))
    few = torch.rand(5, 1, 8, 8)
    feed(metric, few, few)
    assert 0 <= metric.compute() < 1e-6


def test_moments_take_the_same_memory_however_many_images() -> None:
    metric = FID(Pixels())
    sizes = []
    for seed in range(3):
        feed(metric, images(100, seed), images(100, seed))
        sizes.append(sum(value.numel() for value in metric.state().values()))
    assert sizes[0] == sizes[2]


def test_kid_is_unbiased_at_zero_and_sees_a_shift() -> None:
    same, shifted = [], []
    for seed in range(40):
        for values, mean in ((same, 0.5), (shifted, 0.4)):
            metric = KID(Pixels())
            feed(metric, images(50, 2 * seed, mean), images(50, 2 * seed + 1))
            values.append(metric.compute())
    error = np.std(same) / np.sqrt(len(same))
    assert abs(np.mean(same)) < 4 * error
    assert min(same) < 0 < np.mean(shifted) - 10 * error


def by_hand(restored: np.ndarray, target: np.ndarray) -> float:
    """KID of paired sets [n, D] pair by pair: eq. 4 of Gretton et al. 2012, without i = j."""
    n, size = restored.shape

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / size + 1) ** 3)

    total = 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                total += kernel(restored[i], restored[j]) + kernel(target[i], target[j])
                total -= kernel(restored[i], target[j]) + kernel(restored[j], target[i])
    return total / (n * (n - 1))


def pixels(sample: Tensor) -> np.ndarray:
    return sample.flatten(1).double().numpy()


def test_kid_of_pairs_against_a_loop() -> None:
    target = images(12, 1)
    restored = ((target + 0.1 * images(12, 0)).clamp(0, 1) * 255).round() / 255
    metric = KID(Pixels())
    for i in torch.randperm(12).split(5):
        feed(metric, restored[i], target[i], i + 7)
    expected = by_hand(pixels(restored), pixels(target))
    assert metric.compute() == pytest.approx(expected, rel=1e-6)


def test_kid_of_identical_sets_is_zero() -> None:
    target = images(368, 0)
    for metric in (KID(Pixels()), KID(Pixels(), subset_size=50, num_subsets=4)):
        feed(metric, target, target)
        assert abs(metric.compute()) < 1e-12


def test_kid_of_nearly_perfect_restorations_is_unbiased() -> None:
    """Pairs are strongly dependent, and both sets are draws of one distribution."""
    values = []
    for seed in range(60):
        target = images(40, seed)
        restored = target + 0.02 * (images(40, seed + 99) - 0.5)
        metric = KID(Pixels(), subset_size=20, num_subsets=3)
        feed(metric, restored.clamp(0, 1), target)
        values.append(metric.compute())
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values)) + 1e-4


def test_kid_draws_the_same_images_of_both_sets_without_replacement() -> None:
    """Subsets by NumPy's own generator and the loop by hand."""
    restored, target = images(30, 0, mean=0.4), images(30, 1)
    metric = KID(Pixels(), subset_size=8, num_subsets=3, seed=5)
    feed(metric, restored, target)
    generator = np.random.default_rng(5)
    draws = [generator.permutation(30)[:8] for _ in range(3)]
    assert all(len(set(draw)) == 8 for draw in draws)
    expected = [by_hand(pixels(restored)[draw], pixels(target)[draw]) for draw in draws]
    assert metric.compute() == pytest.approx(np.mean(expected), rel=1e-6)


def test_kid_takes_sets_of_different_images() -> None:
    """Samples of a prior beside photos: other indices, and another number of them."""
    metric = KID(Pixels())
    x, y = images(7, 0), images(9, 1)
    metric.restored.add(x.flatten(1).double(), torch.arange(7))
    metric.target.add(y.flatten(1).double(), torch.arange(100, 109))
    k = [
        [(a @ b / 4 + 1) ** 3 for b in np.vstack([pixels(x), pixels(y)])]
        for a in np.vstack([pixels(x), pixels(y)])
    ]
    k = np.array(k)
    within = [
        (part.sum() - part.trace()) / (len(part) * (len(part) - 1))
        for part in (k[:7, :7], k[7:, 7:])
    ]
    assert metric.compute() == pytest.approx(sum(within) - 2 * k[:7, 7:].mean(), rel=1e-6)


def test_features_lie_in_one_buffer_of_a_kilobyte_an_image() -> None:
    metric = KID(Pixels())
    for i in range(0, 5000, 4):
        metric.restored.add(torch.ones(4, 4, dtype=torch.float64), torch.arange(i, i + 4))
    state = metric.restored.state()
    assert torch.equal(state["index"], torch.arange(5000)) and (state["features"] == 1).all()
    assert state["features"].untyped_storage().nbytes() <= 2 * 5000 * 4 * 8 + 64 * 32


def test_equal_extractors_are_run_once() -> None:
    shared, other = Pixels(), Pixels()
    metrics = [FID(shared), KID(shared), FID(other)]
    restored, target = images(30, 0), images(30, 1)
    update_all(metrics, restored, target, torch.arange(30))
    assert shared.calls == other.calls == 60
    for metric in metrics:
        alone = type(metric)(Pixels())
        feed(alone, restored, target)
        assert alone.compute() == metric.compute()
    named = [FID("digits"), KID("digits")]
    calls = []
    for metric in named:
        metric.extractor.register_forward_hook(lambda *args: calls.append(1))
    update_all(named, restored, target, torch.arange(30))
    assert len(calls) == 2


def test_many_samples_go_through_the_network_in_batches() -> None:
    sizes = []

    class Watched(Pixels):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(len(images))
            return super().forward(images)

    metric = FID(Watched())
    feed(metric, images(100, 0).view(20, 5, 1, 2, 2), images(20, 1))
    assert sizes == [64, 36, 20]


def test_refuses_sets_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="30 restored, 20 target images"):
        update_all([FID(Pixels())], images(30, 0), images(20, 0), torch.arange(20))


def test_kid_subsets_average_to_the_whole() -> None:
    restored, target = images(400, 0, mean=0.3), images(400, 1)
    whole, parts = KID(Pixels()), KID(Pixels(), subset_size=100, num_subsets=200)
    for metric in (whole, parts):
        feed(metric, restored, target)
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
    feed(whole, restored, target)
    pieces = make_metric()
    for i in torch.randperm(60).split(7):
        feed(pieces, restored[i], target[i], i)
    ranks = [make_metric(), make_metric()]
    for rank, metric in enumerate(ranks):
        feed(metric, restored[rank::2], target[rank::2], torch.arange(60)[rank::2])
    ranks[0].merge(ranks[1].state())
    assert pieces.compute() == pytest.approx(whole.compute(), rel=1e-9)
    assert ranks[0].compute() == pytest.approx(whole.compute(), rel=1e-9)
    assert ranks[0].num_images == 60


def test_an_idle_process_adds_nothing(make_metric: type) -> None:
    metric = make_metric()
    feed(metric, images(30, 0), images(30, 1))
    expected = metric.compute()
    metric.merge(make_metric().state())
    assert metric.compute() == expected


def test_samples_count_as_images(make_metric: type) -> None:
    samples, target = images(60, 0).view(30, 2, 1, 2, 2), images(30, 1)
    stacked, flat = make_metric(), make_metric()
    feed(stacked, samples, target)
    flat.update(samples[:, 0], target, torch.arange(30))
    flat.restored.add(samples[:, 1].flatten(1).double(), torch.arange(30))
    assert stacked.restored.count == 60 and stacked.num_images == 30
    assert stacked.compute() == pytest.approx(flat.compute(), rel=1e-9)


def test_reset_forgets(make_metric: type) -> None:
    metric = make_metric()
    feed(metric, images(30, 0), images(30, 1))
    metric.reset()
    assert metric.num_images == 0


def test_values_are_rounded_to_eight_bits(make_metric: type) -> None:
    restored, target = images(30, 0), images(30, 1)
    plain, jittered = make_metric(), make_metric()
    feed(plain, restored, target)
    feed(jittered, restored + 0.4 / 255, target)
    assert jittered.compute() == plain.compute()


def test_refuses_one_image_and_labels_small_sets(make_metric: type) -> None:
    metric = make_metric()
    feed(metric, images(1, 0), images(1, 1))
    with pytest.raises(InputError, match="2 images or more, got 1"):
        metric.compute()
    feed(metric, images(1, 4), images(1, 5))
    assert np.isfinite(metric.compute())
    feed(metric, images(2045, 0), images(2045, 1))
    assert not metric.comparable
    feed(metric, images(1, 2), images(1, 3))
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

    def run(
        self, make: type, target: Tensor, key: str = "flowers", flip: bool = False
    ) -> tuple[float, int]:
        """The distance, and how many images went through the feature network."""
        index = torch.arange(len(target))
        if flip:
            target, index = target.flip(0), index.flip(0)
        metric = make()
        metric.use_cache(key)
        for i in range(0, len(target), 10):
            feed(metric, images(10, i), target[i : i + 10], index[i : i + 10])
        return metric.compute(), metric.extractor.calls

    def test_spares_the_targets_and_changes_nothing(self, make_metric: type) -> None:
        target = images(30, 1)
        first, second = self.run(make_metric, target), self.run(make_metric, target)
        assert second[0] == pytest.approx(first[0], rel=1e-12)
        assert self.run(make_metric, target, flip=True)[1] == 30
        assert (first[1], second[1]) == (60, 30)

    def test_is_kept_by_key_and_by_definition(self, make_metric: type, folder: Path) -> None:
        self.run(make_metric, images(30, 1))
        assert self.run(make_metric, images(30, 2), key="digits")[1] == 60
        assert len(list(folder.rglob("*.safetensors"))) == len(list(folder.rglob("*.*"))) == 2

    @pytest.mark.parametrize("others", [images(30, 2), images(30, 1)[:20]], ids=["new", "fewer"])
    def test_forgets_statistics_of_other_images(self, make_metric: type, others: Tensor) -> None:
        self.run(make_metric, images(30, 1))
        assert math.isnan(self.run(make_metric, others)[0])
        again = self.run(make_metric, others)
        fresh = self.run(make_metric, others, key="fresh")
        assert again == fresh and not math.isnan(again[0]) and again[1] == 2 * len(others)

    @pytest.mark.parametrize("damage", ["cut", "emptied"])
    def test_a_damaged_file_is_made_anew(
        self, make_metric: type, folder: Path, damage: str
    ) -> None:
        first = self.run(make_metric, images(30, 1))
        [kept] = folder.rglob("*.safetensors")
        whole = kept.read_bytes()
        kept.write_bytes(whole[: {"cut": 100, "emptied": 0}[damage]])
        assert self.run(make_metric, images(30, 1)) == first and kept.read_bytes() == whole

    def test_a_folder_that_cannot_be_written_costs_a_warning(
        self, make_metric: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = self.run(make_metric, images(30, 1))
        (tmp_path / "file").touch()
        monkeypatch.setenv("RESTORE_CACHE", str(tmp_path / "file"))
        with pytest.warns(UserWarning, match="was not written"):
            assert self.run(make_metric, images(30, 1)) == first

    def test_survives_processes(self, make_metric: type) -> None:
        target = images(30, 1)
        expected = self.run(make_metric, target)[0]
        ranks = [make_metric(), make_metric()]
        for rank, metric in enumerate(ranks):
            metric.use_cache("flowers")
            for i in range(10 * rank, 30, 20):
                feed(metric, images(10, i), target[i : i + 10], torch.arange(i, i + 10))
        ranks[0].merge(ranks[1].state())
        assert ranks[0].compute() == pytest.approx(expected, rel=1e-9)

    def test_what_was_kept_can_be_left_aside(self, make_metric: type) -> None:
        target = images(30, 1)
        _, calls = self.run(make_metric, target)
        metric = make_metric()
        metric.use_cache("flowers")
        total = int(distribution._digest(target))
        assert metric.kept == total - 2**64 * (total >= 2**63)
        metric.forget_kept()
        assert metric.kept is None
        feed(metric, images(30, 0), target, torch.arange(30))
        assert metric.extractor.calls == calls

    def test_each_metric_and_network_keeps_statistics_of_its_own(self) -> None:
        """Two networks with as many features are not told apart by what their statistics hold."""
        for make in (lambda: FID(Pixels()), lambda: FID(Halves()), lambda: KID(Pixels())):
            metric = make()
            metric.use_cache("flowers")
            assert not metric.is_cached
            feed(metric, images(10, 0), images(10, 1))
            metric.compute()

    def test_is_off_by_default(self, make_metric: type, folder: Path) -> None:
        metric = make_metric()
        feed(metric, images(10, 0), images(10, 1))
        metric.compute()
        assert not list(folder.iterdir())


def test_digest_ignores_order_and_sees_every_level() -> None:
    batch = images(5, 0)
    total = distribution._digest(batch)
    assert total == distribution._digest(batch.flip(0))
    batch[3, 0, 1, 1] = 1 - batch[3, 0, 1, 1]
    assert total != distribution._digest(batch)
