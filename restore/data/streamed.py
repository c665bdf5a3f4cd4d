"""A process's part of a streamed epoch, as the loader reads it."""

from collections.abc import Iterator

from torch.utils.data import IterableDataset, get_worker_info

from restore.data.augmentation import Augmentation
from restore.data.framing import Framing
from restore.data.item import checked
from restore.data.source import Item
from restore.data.split import Raw, one
from restore.data.streaming import ShardReader, Streaming, seed_of


class StreamedSamples(IterableDataset[Raw]):
    """A process's share of a streamed epoch, framed and augmented: the same number in each.

    Worker w of W makes every W-th batch. Sample p of process r has the index p * world + r.
    """

    def __init__(
        self,
        source: Streaming,
        framing: Framing,
        augmentation: Augmentation,
        seed: int,
        batch_size: int,
    ) -> None:
        self.source, self.framing, self.augmentation = source, framing, augmentation
        self.seed, self.batch_size = seed, batch_size
        self.go_to(ShardReader())

    def go_to(self, reader: ShardReader, epoch: int = 0, start: int = 0) -> None:
        """Lets a process begin in that epoch, behind its first `start` samples."""
        self.reader, self.epoch, self.start = reader, epoch, start
        self.batches = len(self.source) // reader.world // self.batch_size

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[Raw]:
        """The next epoch: every worker counts for itself, since it lives as long as the run."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        epoch, begun = self.epoch, self.start // self.batch_size
        self.epoch, self.start = epoch + 1, 0
        # A loader asks its first worker first, whatever batch the epoch goes on with.
        own = range(begun + worker, self.batches, workers)
        number = (begun + worker) % workers
        reader = self.reader._replace(worker=number, workers=workers)
        skipped = self.batch_size * len(range(number, begun, workers))
        items = self.source.items(self.seed, epoch, reader, skipped)
        for batch in own:
            for k in range(self.batch_size):
                index = (batch * self.batch_size + k) * reader.world + reader.rank
                yield self._framed(next(items), index, seed_of(self.seed, epoch, index))

    def _framed(self, item: Item, index: int, seed: int) -> Raw:
        image = self.framing(checked(item, self.source).image, seed)
        image = self.augmentation(image, seed)
        return one(item._replace(image=image), index, seed)
