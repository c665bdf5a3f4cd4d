"""Which samples a process sees, in which order and with which seeds, as a function of counters."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from restore.stream import fold

_SHUFFLE = -1


class TrainOrder(Sampler[tuple[int, int]]):
    """Pairs (index, seed) of one process, shuffled anew in each epoch.

    The order is f(seed, epoch) and a sample's seed is fold(seed, epoch, index), whatever the
    number of processes. All processes get equally many: the tail of the order is left out.
    `start` samples of this process are left out of epoch `epoch` alone, to go on within it; the
    length is that of a whole epoch, by which Lightning finds its end.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        epoch: int = 0,
        start: int = 0,
    ) -> None:
        self.length, self.seed = length, seed
        self.rank, self.world = rank, world
        self.epoch, self.start = epoch, start

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def __len__(self) -> int:
        return self.length // self.world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        index = torch.arange(self.length)
        seeds = fold(torch.full_like(index, self.seed), self.epoch, index)
        order = fold(seeds, _SHUFFLE).argsort(stable=True)
        stop = self.length - self.length % self.world
        own: Tensor = order[self.rank : stop : self.world][self.start :]
        yield from zip(own.tolist(), seeds[own].tolist(), strict=True)


class EvalOrder(Sampler[tuple[int, int]]):
    """Pairs (index, seed * 2^32 + index) in order; process r of W takes r, r + W, ..., unpadded.

    With seed 0 a sample's seed is its index, which protocols by index lean on.
    """

    def __init__(self, length: int, seed: int, *, rank: int = 0, world: int = 1) -> None:
        self.seed = seed
        self.index = range(rank, length, world)

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        yield from ((index, self.seed * 2**32 + index) for index in self.index)
