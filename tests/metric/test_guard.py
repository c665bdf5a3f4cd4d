"""The guard on ranges: every metric refuses what would give a wrong number in silence."""

from collections.abc import Callable

import pytest
import torch

from restore.metric.base import measure_all
from restore.metric.diversity import Diversity
from restore.metric.fid import FID
from restore.metric.psnr import PSNR
from restore.metric.ssim import SSIM
from restore.types import Batch, InputError

GOOD = torch.linspace(0, 1, 3 * 16 * 16).view(1, 3, 16, 16)
MakeBatch = Callable[..., Batch]


class Flatten(torch.nn.Flatten):
    num_features = 3 * 16 * 16


@pytest.mark.parametrize("metric", [PSNR(), SSIM()], ids=["psnr", "ssim"])
@pytest.mark.parametrize(
    ("target", "match"),
    [
        (GOOD * 2 - 1, r"spans \[-1, 1\]"),
        (GOOD * 255, r"spans \[0, 255\]"),
        ((GOOD * 255).to(torch.uint8), "uint8"),
        (GOOD.masked_fill(GOOD > 0.9, torch.nan), "NaN"),
        (GOOD[0], "shape"),
        (GOOD[:0], "shape"),
        (GOOD[:, :1], "does not fit"),
        (GOOD[..., :-1], "does not fit"),
    ],
)
def test_target_must_be_floats_in_unit_range(
    metric: PSNR, target: torch.Tensor, match: str, make_batch: MakeBatch
) -> None:
    metric(GOOD, GOOD, make_batch(GOOD))
    with pytest.raises(InputError, match=match):
        metric(GOOD, target, make_batch(GOOD))


@pytest.mark.parametrize(
    ("restored", "match"),
    [
        (GOOD * 255, "reaches 255"),
        ((GOOD * 255).to(torch.uint8), "uint8"),
        (GOOD.masked_fill(GOOD > 0.9, torch.inf), "infinity"),
        (GOOD[None], "shape"),
        (GOOD.expand(2, -1, -1, -1), "does not fit"),
    ],
)
def test_prediction_must_be_finite_and_fit(
    restored: torch.Tensor, match: str, make_batch: MakeBatch
) -> None:
    with pytest.raises(InputError, match=match):
        PSNR()(restored, GOOD, make_batch(GOOD))


def test_prediction_may_overshoot(make_batch: MakeBatch) -> None:
    overshot, batch = GOOD * 3 - 1, make_batch(GOOD)
    assert torch.equal(PSNR()(overshot, GOOD, batch), PSNR()(overshot.clamp(0, 1), GOOD, batch))


def test_distributions_are_guarded_too() -> None:
    fid = FID(Flatten())
    with pytest.raises(InputError, match="spans"):
        fid.update(GOOD, GOOD * 2 - 1, torch.arange(2))
    with pytest.raises(InputError, match="reaches 255"):
        fid.update(GOOD * 255, GOOD, torch.arange(2))


def test_all_metrics_at_once_are_each_alone(make_batch: MakeBatch) -> None:
    generator = torch.Generator().manual_seed(0)
    target, *samples = torch.rand(4, 2, 3, 16, 12, generator=generator)
    restored = torch.stack(samples, dim=1)
    metrics = [PSNR(), PSNR(rounding=False), SSIM(), Diversity()]
    metrics[1].name = "psnr_float"
    together = measure_all(metrics, restored, target, make_batch(target))
    for metric in metrics[:3]:
        alone = [metric(one, target, make_batch(target)) for one in samples]
        assert torch.equal(together[metric.name], torch.stack(alone).mean(dim=0))
    diversity = Diversity()(restored, target, make_batch(target))
    assert torch.equal(together["diversity"], diversity)


class InPlace(PSNR):
    """Spoils the images for every metric after it. what: which of them."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.name, self.what, self.takes_levels = "in_place", what, False

    def measure(self, restored: torch.Tensor, target: torch.Tensor, batch: Batch) -> torch.Tensor:
        seen = {"restored": restored, "target": target, "input": batch["input"]}
        return seen[self.what].mul_(2).double().mean(dim=(1, 2, 3))


@pytest.mark.parametrize("what", ["restored", "target", "input"])
def test_a_metric_that_works_in_place_is_refused(what: str, make_batch: MakeBatch) -> None:
    metrics = [InPlace(what), PSNR()]
    with pytest.raises(InputError, match=r"in_place changes its images in place.* on a copy"):
        measure_all(metrics, GOOD.clone()[:, None], GOOD.clone(), make_batch(GOOD))


class Shaped(PSNR):
    """given: what it gives for two images."""

    def __init__(self, given: object) -> None:
        super().__init__()
        self.name, self.given = "shaped", given

    def measure(self, restored: torch.Tensor, target: torch.Tensor, batch: Batch) -> torch.Tensor:
        given: torch.Tensor = self.given  # type: ignore[assignment]
        return given


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.tensor(0.5), r"\[\]"),
        (torch.ones(2, 1), r"\[2, 1\]"),
        (torch.ones(3), r"\[3\]"),
        ([0.5, 0.5], "list"),
        (0.5, "float"),
        (None, "NoneType"),
    ],
)
def test_a_metric_gives_a_number_for_each_image(
    given: object, said: str, make_batch: MakeBatch
) -> None:
    two = GOOD.repeat(2, 1, 1, 1)
    with pytest.raises(InputError, match=rf"shaped gives {said} for 2 images: .* shape \[2\]"):
        measure_all([Shaped(given)], two[:, None], two, make_batch(two))


def test_numbers_of_any_type_become_float64(make_batch: MakeBatch) -> None:
    two = GOOD.repeat(2, 1, 1, 1)
    for given in (torch.tensor([1, 4]), torch.tensor([1.0, 4.0], dtype=torch.float16)):
        made = measure_all([Shaped(given)], two[:, None], two, make_batch(two))["shaped"]
        assert made.dtype == torch.float64 and made.tolist() == [1, 4]


def test_metrics_leave_their_images_alone(make_batch: MakeBatch) -> None:
    """Several works are done in place, on copies; float64 images need a copy, too."""
    restored, target = torch.rand(2, 1, 3, 16, 12, dtype=torch.float64)
    kept = restored.clone(), target.clone()
    measure_all(
        [PSNR(), PSNR(rounding=False), SSIM()], restored[:, None], target, make_batch(target)
    )
    assert torch.equal(restored, kept[0]) and torch.equal(target, kept[1])
