"""The one LightningDataModule: a source, framed in the loader, degraded on the device."""

from collections.abc import Callable
from typing import Literal, TypedDict, cast

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from restore.data.framing import Framing
from restore.data.order import EvalOrder, TrainOrder
from restore.data.source import Source, Split, data_root
from restore.degradation.contract import Degradation
from restore.image import from_uint8
from restore.stream import Stream, fold
from restore.types import Batch, Facts, InputError

_FLIP = -4
_SPLITS: dict[str | None, tuple[Split, ...]] = {
    None: ("train", "val", "test"),
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("test",),
}


class Raw(TypedDict):
    """A batch as the loader hands it over, or one sample of it without the first axis."""

    image: Tensor  # [B, C, H, W] uint8
    label: Tensor | None  # [B] int64
    index: Tensor  # [B] int64
    seed: Tensor  # [B] int64
    name: list[str]


class Samples(Dataset[Raw]):
    """A split as batches of one, by (index, seed); sample i is photo i // repeat."""

    def __init__(
        self, source: Source, framing: Framing, num_photos: int, repeat: int, flip: bool
    ) -> None:
        self.source, self.framing = source, framing
        self.num_photos, self.repeat, self.flip = num_photos, repeat, flip

    def __len__(self) -> int:
        return self.num_photos * self.repeat

    def __getitem__(self, key: tuple[int, int] | int) -> Raw:
        # Lightning's overfit_batches puts plain indices in the place of our order.
        index, seed = (key, key) if isinstance(key, int) else key
        item = self.source[index // self.repeat]
        seeds = torch.tensor([seed])
        image = self.framing(item.image, seed)
        if self.flip and Stream(fold(seeds, _FLIP)).integers(0, 2):
            image = image.flip(-1)
        return Raw(
            image=image[None],
            label=None if item.label is None else torch.tensor([item.label]),
            index=torch.tensor([index]),
            seed=seeds,
            name=[item.name],
        )


class DataModule(LightningDataModule):
    """Batches of any source under any degradation.

    Training seeds are fold(seed, epoch, index); those of validation and test depend on seed and
    index alone, so that their corruptions are frozen for ever. Per process: `batch_size` and
    `num_workers`. `limit` keeps the first photos of validation and test. Every photo gives
    `repeat` samples there and `train_repeat` samples per epoch of training. The trainer must run
    with use_distributed_sampler=False.
    """

    def __init__(
        self,
        source: Callable[..., Source],
        degradation: Degradation,
        train_framing: Framing,
        eval_framing: Framing,
        batch_size: int,
        num_workers: int = 0,
        root: str | None = None,
        seed: int = 0,
        limit: int | None = None,
        repeat: int = 1,
        train_repeat: int = 1,
        flip: bool = False,
    ) -> None:
        super().__init__()
        _check_least(1, batch_size=batch_size, repeat=repeat, train_repeat=train_repeat)
        _check_least(1, limit=1 if limit is None else limit)
        _check_least(0, num_workers=num_workers, seed=seed)
        if seed >= 2**31:
            raise InputError(f"data.seed must be below 2^31, got {seed}")
        self.source, self.degradation = source, degradation
        self.train_framing, self.eval_framing = train_framing, eval_framing
        self.batch_size, self.num_workers = batch_size, num_workers
        self.root, self.seed, self.limit = root, seed, limit
        self.repeat, self.train_repeat, self.flip = repeat, train_repeat, flip
        self._sources: dict[Split, Source] = {}

    @property
    def facts(self) -> Facts:
        """What networks need to know; reads no file."""
        source = self.source(root=data_root(self.root), split="train")
        return Facts(
            image_channels=source.channels,
            input_channels=self.degradation.input_channels(source.channels),
            image_size=self.train_framing.size,
            num_classes=source.num_classes,
        )

    @property
    def num_test(self) -> int:
        return len(self.samples("test"))

    def samples(self, split: Split) -> Samples:
        """The samples of a split; InputError where its files are missing or broken."""
        if split not in self._sources:
            self._sources[split] = self.source(root=data_root(self.root), split=split)
        source = self._sources[split]
        num_photos = len(source)
        if num_photos == 0:
            raise InputError(f"the {split} split of the data is empty")
        if split == "train":
            return Samples(source, self.train_framing, num_photos, self.train_repeat, self.flip)
        if self.limit is not None:
            num_photos = min(num_photos, self.limit)
        return Samples(source, self.eval_framing, num_photos, self.repeat, flip=False)

    def setup(self, stage: str | None = None) -> None:
        for split in _SPLITS[stage]:
            self.samples(split)

    def check(self, *splits: Split) -> None:
        """Read, frame and degrade one sample of each split: InputError now rather than later."""
        for split in splits:
            samples = self.samples(split)
            if split == "train":
                self._check_batch(len(samples))
            self.first(split)

    def first(self, split: Split) -> Batch:
        """The first sample of a split, as validation and test see it."""
        return self.to_batch(self.samples(split)[0, self.seed * 2**32])

    def train_dataloader(self) -> DataLoader[Raw]:
        samples = self.samples("train")
        rank, world = self._process()
        self._check_batch(len(samples) // world)
        order = TrainOrder(len(samples), self.seed, rank=rank, world=world)
        return self._loader(samples, order, drop_last=True)

    def val_dataloader(self) -> DataLoader[Raw]:
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Raw]:
        return self._eval_loader("test")

    def to_batch(self, raw: Raw) -> Batch:
        """Scale to [-1, 1] and degrade, on the device of `raw`."""
        degraded = self.degradation(from_uint8(raw["image"]), raw["seed"])
        batch = cast(Batch, {**degraded, "index": raw["index"], "name": raw["name"]})
        if raw["label"] is not None:
            batch["label"] = raw["label"]
        return batch

    def on_after_batch_transfer(self, batch: Raw, dataloader_idx: int) -> Batch:
        return self.to_batch(batch)

    def _eval_loader(self, split: Literal["val", "test"]) -> DataLoader[Raw]:
        samples = self.samples(split)
        rank, world = self._process()
        order = EvalOrder(len(samples), self.seed, rank=rank, world=world)
        return self._loader(samples, order, drop_last=False)

    def _loader(
        self, samples: Samples, order: Sampler[tuple[int, int]], drop_last: bool
    ) -> DataLoader[Raw]:
        return DataLoader(
            samples,
            batch_size=self.batch_size,
            sampler=order,
            num_workers=self.num_workers,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
            drop_last=drop_last,
            persistent_workers=self.num_workers > 0,
            # Without one of its own the loader draws from the global generator at every epoch.
            generator=torch.Generator(),
        )

    def _process(self) -> tuple[int, int]:
        """Rank of this process and their number."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _check_batch(self, num_samples: int) -> None:
        if num_samples < self.batch_size:
            raise InputError(
                f"data.batch_size={self.batch_size} is more than the {num_samples} training "
                "samples of a process: lower it, or raise data.train_repeat"
            )


def _collate(samples: list[Raw]) -> Raw:
    sizes = sorted({tuple(sample["image"].shape[-2:]) for sample in samples})
    if len(sizes) > 1:
        raise InputError(
            f"images of different sizes in one batch ({sizes[0]} and {sizes[-1]}): "
            "set data.batch_size=1 or a framing of fixed size"
        )
    labels = [sample["label"] for sample in samples if sample["label"] is not None]
    return Raw(
        image=torch.cat([sample["image"] for sample in samples]),
        label=torch.cat(labels) if labels else None,
        index=torch.cat([sample["index"] for sample in samples]),
        seed=torch.cat([sample["seed"] for sample in samples]),
        name=[name for sample in samples for name in sample["name"]],
    )


def _check_least(least: int, **settings: int) -> None:
    for name, value in settings.items():
        if value < least:
            raise InputError(f"data.{name} must be at least {least}, got {value}")
