"""A split as the loader reads it: framed and, in training, augmented; nothing is degraded yet."""

from collections.abc import Iterator
from itertools import islice
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from restore.data.augmentation import Augmentation
from restore.data.cache import PhotoCache
from restore.data.framing import Framing
from restore.data.image_file import ImageError
from restore.data.item import checked, read_item
from restore.data.source import Item, Source
from restore.data.streaming import ShardReader, Streaming
from restore.types import InputError


class Raw(TypedDict):
    """A batch as the loader hands it over, or one sample of it without the first axis."""

    image: Tensor  # [B, C, H, W] uint8
    label: Tensor | None  # [B] int64
    index: Tensor  # [B] int64
    seed: Tensor  # [B] int64
    name: list[str]


class SplitDataset(Dataset[Raw]):
    """A split as batches of one, by (index, seed); sample i is photo i // repeat.

    cache: may keep photos between samples; the samples are the same with any and without.
    """

    def __init__(
        self,
        source: Source,
        framing: Framing,
        num_photos: int,
        repeat: int,
        augmentation: Augmentation | None = None,
        cache: PhotoCache | None = None,
    ) -> None:
        self.source, self.framing, self.augmentation = source, framing, augmentation
        self.cache = PhotoCache(0) if cache is None else cache
        self.num_photos, self.repeat = num_photos, repeat

    def __len__(self) -> int:
        return self.num_photos * self.repeat

    def __getitem__(self, key: tuple[int, int] | int) -> Raw:
        # Lightning's overfit_batches puts plain indices in the place of our order.
        index, seed = (key, key) if isinstance(key, int) else key
        item = self.cache(index // self.repeat, self._photo)
        image = item.image if self.framing.fixed else self.framing(item.image, seed)
        if self.augmentation is not None:
            image = self.augmentation(image, seed)
        return one(item._replace(image=image), index, seed)

    def spread(self, count: int) -> Iterator[Raw]:
        """So many samples, or all where there are fewer, spread evenly; of a stream the first."""
        count = min(count, len(self))
        if not isinstance(self.source, Streaming):
            yield from (self[k * len(self) // count, 0] for k in range(count))
            return
        for k, item in enumerate(islice(self.source.items(0, 0, ShardReader()), count)):
            image = self.framing(checked(item, self.source).image, 0)
            yield one(item._replace(image=image), k, 0)

    def photo(self, index: int) -> Item:
        """A photo as its source gives it; InputError where it cannot be read."""
        try:
            return read_item(self.source, index)
        except ImageError as error:
            raise InputError(
                f"{error}: remove it, or leave out whatever cannot be read with data.on_error=skip "
                "(of a benchmark: benchmark.NAME.data.on_error=skip)"
            ) from error

    def _photo(self, index: int) -> Item:
        """A photo, framed already where the framing depends on no seed."""
        item = self.photo(index)
        if not self.framing.fixed:
            return item
        return item._replace(image=self.framing(item.image, 0).contiguous())


def one(item: Item, index: int, seed: int) -> Raw:
    """A sample of a framed photo."""
    return Raw(
        image=item.image[None],
        label=None if item.label is None else torch.tensor([item.label]),
        index=torch.tensor([index]),
        seed=torch.tensor([seed]),
        name=[item.name],
    )


def collate(samples: list[Raw]) -> Raw:
    sizes = sorted({tuple(sample["image"].shape[-2:]) for sample in samples})
    if len(sizes) > 1:
        raise InputError(
            f"images of different sizes in one batch ({sizes[0]} and {sizes[-1]}): "
            "set batch_size=1 (data.batch_size=1 in training) or a framing of fixed size"
        )
    labels = [sample["label"] for sample in samples if sample["label"] is not None]
    return Raw(
        image=torch.cat([sample["image"] for sample in samples]),
        label=torch.cat(labels) if labels else None,
        index=torch.cat([sample["index"] for sample in samples]),
        seed=torch.cat([sample["seed"] for sample in samples]),
        name=[name for sample in samples for name in sample["name"]],
    )
