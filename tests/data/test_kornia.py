"""Augmentations of kornia: each sample by its own seed, whatever else is drawn."""

import itertools
from functools import partial
from typing import Any

import kornia.augmentation as peer
import pytest
import torch

from restore.data.digits import Digits
from restore.data.framing import CenterSquare
from restore.data.kornia import KorniaAugmentation
from restore.data.module import DataModule
from restore.degradation.mask import Box, Mask
from restore.stream import Stream, fold
from restore.types import InputError

IMAGE = Stream(torch.tensor([0])).integers(0, 256, 3, 16, 16)[0].to(torch.uint8)
STEPS: list[Any] = [
    {"RandomAffine": {"degrees": 30.0, "p": 0.5}},
    {"RandomGaussianNoise": {"std": 0.1, "p": 0.5}},
    {"RandomErasing": {"p": 0.5}},
    "RandomHorizontalFlip",
]


def module(**options: Any) -> DataModule:
    framing = CenterSquare(8)
    source = partial(Digits)
    return DataModule(source, Mask(Box(size=2)), framing, framing, **{"batch_size": 100, **options})


def test_workers_change_nothing() -> None:
    few: dict[str, Any] = {"batch_size": 20}
    one, two = module(augment=STEPS, **few), module(augment=STEPS, num_workers=2, **few)
    plain = module(**few).train_dataloader()
    torch.manual_seed(5)
    changed = 0
    loaders = one.train_dataloader(), two.train_dataloader(), plain
    for a, b, c in itertools.islice(zip(*loaders, strict=True), 3):
        assert torch.equal(a["image"], b["image"]) and torch.equal(a["index"], c["index"])
        changed += int((a["image"] != c["image"]).flatten(1).any(1).sum())
    assert changed > 30


class Process:
    """What a loader asks of a trainer."""

    def __init__(self, rank: int) -> None:
        self.global_rank, self.world_size = rank, 2


def test_two_processes_make_the_batches_of_one() -> None:
    """Whose samples stand in turn in the batches of twice the size, by 0 and by 2 workers each."""
    loaders = []
    for rank, workers in ((0, 0), (1, 2)):
        part = module(augment=STEPS, batch_size=10, num_workers=workers)
        part.trainer = Process(rank)  # type: ignore[assignment]
        loaders.append(part.train_dataloader())
    alone = module(augment=STEPS, batch_size=20).train_dataloader()
    for whole, *parts in itertools.islice(zip(alone, *loaders, strict=True), 2):
        for name in ("image", "index", "seed"):
            joined = torch.stack([part[name] for part in parts], dim=1).flatten(0, 1)
            assert torch.equal(whole[name], joined), name


def test_a_sample_is_a_function_of_its_seed() -> None:
    augment = KorniaAugmentation(STEPS)
    first = [augment(IMAGE, seed) for seed in range(40)]
    torch.manual_seed(9)
    state = torch.random.get_rng_state()
    again = [augment(IMAGE, seed) for seed in reversed(range(40))][::-1]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(torch.stack(first).flatten(1).unique(dim=0)) > 30
    assert first[0].dtype == torch.uint8 and first[0].shape == IMAGE.shape


def test_is_kornias_own_work_in_8_bits() -> None:
    seed = fold(fold(torch.tensor([3]), -16), 0)
    torch.manual_seed(int(seed))
    expected = peer.RandomGaussianNoise(std=0.2, p=1.0)(IMAGE[None] / 255.0)[0].clamp(0, 1)
    got = KorniaAugmentation([{"RandomGaussianNoise": {"std": 0.2, "p": 1.0}}])(IMAGE, 3)
    assert (got.int() - expected * 255).abs().max() < 0.51
    inverted = KorniaAugmentation([{"RandomInvert": {"p": 1.0}}])(IMAGE, 3)
    assert torch.equal(inverted, 255 - IMAGE)


def test_each_step_sees_an_image_between_0_and_1() -> None:
    """White, with 1 taken from it, is black; what is brighter than white would stay so."""
    steps = [{"RandomGaussianNoise": {"mean": mean, "std": 0.0, "p": 1.0}} for mean in (2.0, -1.0)]
    assert KorniaAugmentation(steps)(IMAGE, 3).max() == 0


def test_the_steps_draw_apart() -> None:
    """Two equal steps that both flip or both do not would leave every image as it was."""
    twice = KorniaAugmentation(["RandomHorizontalFlip", "RandomHorizontalFlip"])
    kept = sum(torch.equal(twice(IMAGE, seed), IMAGE) for seed in range(300))
    assert 110 < kept < 190


def test_nothing_to_do_is_nothing_done() -> None:
    assert KorniaAugmentation([])(IMAGE, 1) is IMAGE


@pytest.mark.parametrize(
    "steps,named",
    [
        (["RandomNothing"], "RandomNothing is no kornia.augmentation"),
        (["RandomMixUpV2"], "RandomMixUpV2 is no kornia.augmentation of single images"),
        ([{"RandomSharpness": {"sharp": 1}}], "sharp"),
        ([{"RandomSharpness": 3}], "settings of RandomSharpness are 3"),
        ([{"a": {}, "b": {}}], "not one name"),
    ],
)
def test_refused_before_work(steps: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        module(augment=steps)


@pytest.mark.parametrize(
    "step", [{"CenterCrop": {"size": 4}}, {"RandomPlanckianJitter": {"p": 1.0}}]
)
def test_what_does_not_fit_the_images_is_found_by_the_check(step: Any) -> None:
    """A changed size, and a colour augmentation of grey digits."""
    with pytest.raises(InputError, match=f"data.augment: {next(iter(step))}"):
        module(augment=[step]).check("train")
