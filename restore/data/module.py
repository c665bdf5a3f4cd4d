"""The one LightningDataModule: a source, framed in the loader, degraded on the device."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from restore.data.augmentation import Augmentation
from restore.data.cache import PhotoCache
from restore.data.framing import Framing
from restore.data.item import count
from restore.data.loader import check_batch, loader
from restore.data.order import EvalOrder, TrainOrder
from restore.data.probe import check_task
from restore.data.source import Source, Split, check_least
from restore.data.sources import Sources
from restore.data.split import Raw, SplitDataset
from restore.data.streamed import StreamedSamples
from restore.data.streaming import ShardReader, Streaming
from restore.data.survey import header_sizes
from restore.degradation.composition import Curriculum
from restore.degradation.contract import Degradation, Degraded, checked, makes_holes
from restore.image import from_uint8
from restore.types import Batch, Facts, InputError

_SPLITS: dict[str | None, tuple[Split, ...]] = {
    None: ("train", "val", "test"),
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("test",),
}


class DataModule(LightningDataModule):
    """Batches of any source under any degradation.

    Training seeds are fold(seed, epoch, index); those of validation and test depend on seed and
    index alone, so that their corruptions are frozen for ever. Per process: `batch_size` and
    `num_workers`. `limit` keeps the first photos of validation and test. Every photo gives
    `repeat` samples there and `train_repeat` samples per epoch of training, where alone `flip`,
    `rotate`, `brightness` and `augment` act (see Augmentation). on_error=skip decodes every image
    before the first batch (streams aside) and leaves out what cannot be read; with error, a broken
    file ends the pass that meets it, by its name. cache_gb: memory of a process for decoded photos,
    shared by its workers; samples are the same with any. The trainer must run with
    use_distributed_sampler=False.
    """

    def __init__(
        self,
        source: Callable[..., Source],
        degradation: Degradation | None,
        train_framing: Framing,
        eval_framing: Framing,
        batch_size: int,
        num_workers: int | Literal["auto"] = 0,
        root: str | None = None,
        seed: int = 0,
        limit: int | None = None,
        repeat: int = 1,
        train_repeat: int = 1,
        flip: bool = False,
        rotate: bool = False,
        brightness: float = 0.0,
        on_error: Literal["error", "skip"] = "error",
        cache_gb: float = 1.0,
        augment: list[str | dict[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        check_least(1, batch_size=batch_size, repeat=repeat, train_repeat=train_repeat)
        check_least(1, limit=1 if limit is None else limit)
        if num_workers == "auto":  # a preview; trainings and evaluations come with a number
            num_workers = 0
        check_least(0, num_workers=num_workers, seed=seed)
        if seed >= 2**31:
            raise InputError(f"data.seed must be below 2^31, got {seed}")
        if rotate and train_framing.size is None:
            raise InputError("data.rotate=true needs square images: set a data.train_framing.size")
        self.degradation = checked(degradation)
        self.train_framing, self.eval_framing = train_framing, eval_framing
        self.batch_size, self.num_workers = batch_size, num_workers
        self.root, self.seed, self.limit = root, seed, limit
        self.repeat, self.train_repeat = repeat, train_repeat
        self.augmentation = Augmentation(flip, rotate, brightness, augment or [])
        if not 0 <= cache_gb < float("inf"):
            raise InputError(f"data.cache_gb={cache_gb} must be at least 0")
        self.cache_gb = cache_gb
        self._sources = Sources(source, root, on_error)
        self._caches: dict[Split, PhotoCache] = {}
        self._probed: set[Split] = set()
        self._epoch = self._start = 0

    @property
    def facts(self) -> Facts:
        """What networks need to know; reads no file."""
        source = self._sources.make("train")
        return Facts(
            image_channels=source.channels,
            input_channels=self.degradation.input_channels(source.channels),
            image_size=self.train_framing.size,
            num_classes=source.num_classes,
            has_hole=makes_holes(self.degradation),
        )

    @property
    def num_test(self) -> int:
        return len(self.samples("test"))

    def samples(self, split: Split) -> SplitDataset:
        """The samples of a split; InputError where its files are missing or broken."""
        source = self._sources[split]
        num_photos = count(source)
        if num_photos == 0:
            raise InputError(f"the {split} split of the data is empty")
        if split not in self._caches:
            share = self.cache_gb * 2**30 / max(1, self.num_workers)
            self._caches[split] = self._sources.cache(split, share)
        cache = self._caches[split]
        if split == "train":
            if self.train_repeat > 1 and isinstance(source, Streaming):
                raise InputError(
                    f"data.train_repeat={self.train_repeat}: an epoch of a stream has "
                    "data.source.samples_per_epoch samples: raise that in its place"
                )
            frame, augment = self.train_framing, self.augmentation
            return SplitDataset(source, frame, num_photos, self.train_repeat, augment, cache)
        if self.limit is not None:
            num_photos = min(num_photos, self.limit)
        return SplitDataset(source, self.eval_framing, num_photos, self.repeat, cache=cache)

    def sizes(self, split: Split) -> Iterator[tuple[str, int, int]]:
        """Name, height and width of the photos of a split whose size stays as it is, by their
        headers; nothing of photos that are framed, or that lie in no file."""
        samples = self.samples(split)
        if samples.framing.size is None:
            yield from header_sizes(samples.source, samples.num_photos)

    def summary(self, *splits: Split) -> dict[str, Any]:
        """What these splits hold, in plain values: see `restore.data.survey.summary`."""
        return self._sources.summary(*splits, limit=self.limit)

    def setup(self, stage: str | None = None) -> None:
        for split in _SPLITS[stage]:
            self.samples(split)

    def check(self, *splits: Split) -> None:
        """Read, frame and degrade one sample of each split: InputError now rather than later."""
        _ = self.facts  # a degradation that does not fit the channels says so
        for split in splits:
            samples = self.samples(split)
            if split == "train":
                check_batch(len(samples), self.batch_size)
            self.first(split)

    def first(self, split: Split) -> Batch:
        """The first sample of a split, as validation and test see it.

        Raises:
            InputError: no hole of the split has a pixel, or all photos to be coloured are grey.
        """
        if split not in self._probed:
            check_task(self.samples(split), self.degradation, self.to_batch, self.seed * 2**32)
            self._probed.add(split)
        return self.to_batch(self.samples(split)[0, self.seed * 2**32])

    def train_dataloader(self) -> DataLoader[Raw]:
        samples = self.samples("train")
        rank, world = self._process()
        check_batch(len(samples) // world, self.batch_size)
        if isinstance(samples.source, Streaming):
            return self._streamed(samples.source, rank, world)
        order = TrainOrder(
            len(samples), self.seed, rank=rank, world=world, epoch=self._epoch, start=self._start
        )
        return self._loader(samples, order, drop_last=True)

    def _streamed(self, source: Streaming, rank: int, world: int) -> DataLoader[Raw]:
        source.check(ShardReader(rank, world, 0, max(self.num_workers, 1)))
        streamed = StreamedSamples(
            source, self.train_framing, self.augmentation, self.seed, self.batch_size
        )
        streamed.go_to(ShardReader(rank, world), self._epoch, self._start)
        return self._loader(streamed, None, drop_last=True)

    def go_to(self, epoch: int, start: int) -> None:
        """Lets training begin in that epoch, behind the first `start` samples of each process."""
        self._epoch, self._start = epoch, start

    def fingerprint(self) -> dict[str, int | str]:
        """Photos per split, and a digest of names and pixels of 16 spread over the training split.

        Differs, with near certainty, where a run would not see the same data again.
        """
        train = self.samples("train")
        digest = hashlib.sha256()
        for k in range(16):
            item = train.photo(k * train.num_photos // 16)
            digest.update(item.name.encode() + item.image.contiguous().numpy().tobytes())
        val = self.samples("val")
        if isinstance(train.source, Streaming):  # its order depends on them
            digest.update(f"{train.source.shards} {self.num_workers}".encode())
        return {"train": train.num_photos, "val": val.num_photos, "digest": digest.hexdigest()}

    def val_dataloader(self) -> DataLoader[Raw]:
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Raw]:
        return self._eval_loader("test")

    def to_batch(self, raw: Raw, updates: int | None = None) -> Batch:
        """Scale to [-1, 1] and degrade, on the device of `raw`.

        updates: of training so far, where a curriculum stands; None means its end.
        """
        degrade: Callable[[Tensor, Tensor], Degraded] = self.degradation
        if updates is not None and isinstance(self.degradation, Curriculum):
            degrade = self.degradation.at(updates)
        degraded = degrade(from_uint8(raw["image"]), raw["seed"])
        batch = cast(Batch, {**degraded, "index": raw["index"], "name": raw["name"]})
        if raw["label"] is not None:
            batch["label"] = raw["label"]
        return batch

    def on_after_batch_transfer(self, batch: Raw, dataloader_idx: int) -> Batch:
        trainer = self.trainer
        if trainer is None or not trainer.training or not isinstance(self.degradation, Curriculum):
            return self.to_batch(batch)
        return self.to_batch(batch, cast(Any, trainer.lightning_module).updates)

    def _eval_loader(self, split: Literal["val", "test"]) -> DataLoader[Raw]:
        samples = self.samples(split)
        rank, world = self._process()
        order = EvalOrder(len(samples), self.seed, rank=rank, world=world)
        return self._loader(samples, order, drop_last=False)

    def _loader(
        self, samples: Dataset[Raw], order: Sampler[tuple[int, int]] | None, drop_last: bool
    ) -> DataLoader[Raw]:
        return loader(samples, order, self.batch_size, self.num_workers, drop_last)

    def _process(self) -> tuple[int, int]:
        """Rank of this process and their number."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size
