import itertools
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from restore.data.augmentation import Augmentation
from restore.data.digits import Digits
from restore.data.framing import CenterSquare, RandomPatch, Whole
from restore.data.module import DataModule
from restore.data.photos import Photos
from restore.degradation.composition import Curriculum
from restore.degradation.mask import Box, Mask
from restore.stream import Stream
from restore.types import Batch, InputError

IMAGE = Stream(torch.tensor([0])).integers(0, 256, 3, 5, 5)[0].to(torch.uint8)


def module(**options: Any) -> DataModule:
    given = {
        "source": partial(Digits),
        "degradation": Mask(Box(size=2)),
        "train_framing": CenterSquare(8),
        "eval_framing": CenterSquare(8),
        "batch_size": 100,
    }
    return DataModule(**{**given, **options})


def test_flip_and_rotate_are_the_symmetries_of_the_square() -> None:
    augment = Augmentation(flip=True, rotate=True, brightness=0.0)
    seen = [tuple(augment(IMAGE, seed).flatten().tolist()) for seed in range(640)]
    turned = [IMAGE.rot90(turns, (-2, -1)) for turns in range(4)]
    symmetries = {tuple(x.flatten().tolist()) for one in turned for x in (one, one.flip(-1))}
    assert len(symmetries) == 8 and set(seen) == symmetries
    assert all(55 < seen.count(one) < 105 for one in symmetries)


def test_a_flip_is_left_to_right() -> None:
    augment = Augmentation(flip=True, rotate=False, brightness=0.0)
    seen = {tuple(augment(IMAGE, seed).flatten().tolist()) for seed in range(20)}
    assert seen == {tuple(one.flatten().tolist()) for one in (IMAGE, IMAGE.flip(-1))}


def test_nothing_asked_for_is_nothing_done() -> None:
    assert Augmentation(flip=False, rotate=False, brightness=0.0)(IMAGE, 3) is IMAGE


def test_brightness_is_one_factor_per_image() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).repeat(3, 1, 1)
    augment = Augmentation(flip=False, rotate=False, brightness=0.4)
    factors = []
    for seed in range(500):
        bright = augment(ramp, seed)
        assert bright.dtype == torch.uint8 and (bright[0] == bright[1]).all()
        factors.append(float(bright[0, 6, 4]) / 100)
        expected = (ramp.double() * factors[-1]).clamp(max=255)
        assert (bright.double() - expected).abs().max() <= 0.5 + 0.005 * 255
    mean = torch.tensor(factors).mean()
    assert abs(mean - 1) < 0.04 and min(factors) >= 0.595 and max(factors) <= 1.405
    assert min(factors) < 0.63 and max(factors) > 1.37


def test_all_of_it_depends_on_the_seed_alone() -> None:
    augment = Augmentation(flip=True, rotate=True, brightness=0.5)
    first = [augment(IMAGE, seed) for seed in range(9)]
    torch.manual_seed(1)
    assert all(torch.equal(augment(IMAGE, seed), made) for seed, made in enumerate(first))
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(first))


def test_the_draws_are_independent() -> None:
    """Mirroring says nothing of the turn, nor either of the brightness."""
    mark = torch.zeros(1, 2, 2, dtype=torch.uint8)
    mark[0, 0, 0], mark[0, 0, 1] = 200, 100
    augment = Augmentation(flip=True, rotate=True, brightness=0.25)
    places, levels = [], []
    for seed in range(1000):
        image = augment(mark, seed).flatten()
        places.append(int(image.argmax()) * 4 + int(image.argsort()[2]))
        levels.append(float(image.max()))
    level = torch.tensor(levels)
    assert len(set(places)) == 8
    for place in set(places):
        own = level[torch.tensor(places) == place]
        assert len(own) > 90 and abs(own.mean() - level.mean()) < 9


def test_augmentation_is_of_training_only() -> None:
    still, moved = module(), module(flip=True, rotate=True, brightness=0.5)
    for split in ("val", "test"):
        pairs = zip(
            getattr(still, f"{split}_dataloader")(),
            getattr(moved, f"{split}_dataloader")(),
            strict=True,
        )
        assert all(torch.equal(a["image"], b["image"]) for a, b in pairs)
    a, b = (next(iter(one.train_dataloader())) for one in (still, moved))
    assert torch.equal(a["index"], b["index"]) and not torch.equal(a["image"], b["image"])


def test_augmentation_in_workers_and_batches() -> None:
    options = {"rotate": True, "flip": True, "brightness": 0.3}
    one, two = module(**options), module(**options, num_workers=2)
    for a, b in zip(one.train_dataloader(), two.train_dataloader(), strict=True):
        assert torch.equal(a["image"], b["image"])


def test_images_that_vary_in_shape_are_not_turned() -> None:
    with pytest.raises(InputError, match=r"data\.rotate"):
        module(rotate=True, train_framing=Whole())
    module(rotate=True, eval_framing=Whole())


@pytest.mark.parametrize("brightness", [-0.1, 1.5, float("nan")])
def test_brightness_is_checked(brightness: float) -> None:
    with pytest.raises(InputError, match=r"data\.brightness"):
        module(brightness=brightness)


def test_photos_with_patches() -> None:
    options = {"source": partial(Photos), "train_framing": RandomPatch(16), "rotate": True}
    (raw, *_) = module(**options, train_repeat=8, batch_size=8).train_dataloader()
    assert raw["image"].shape == (8, 3, 16, 16)


class Counter(LightningModule):
    """Counts updates and keeps how much of the images was hole."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.updates = 0
        self.holes: dict[str, list[float]] = {"train": [], "val": []}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.holes["train"].append(float(batch["hole"].mean()))
        self.updates += 1
        return self.weight * batch["input"].mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.holes["val"].append(float(batch["hole"].mean()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_curriculum_follows_the_updates_and_evaluation_its_end(tmp_path: Path) -> None:
    curriculum = Curriculum(Mask(Box(size=0)), Mask(Box(fraction=1.0)), updates=20)
    task = Counter()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, datamodule=module(degradation=curriculum))
    assert len(task.holes["train"]) == 30
    for update, share in enumerate(task.holes["train"]):
        # A batch of 100 has a standard deviation of at most 0.05.
        assert abs(share - min(1.0, update / 20)) < 0.2
    assert task.holes["train"][0] == 0 and set(task.holes["train"][20:]) == {1.0}
    assert task.holes["val"] and set(task.holes["val"]) == {1.0}
    first = next(iter(module(degradation=curriculum).val_dataloader()))
    assert (module(degradation=curriculum).to_batch(first)["hole"] == 1).all()
