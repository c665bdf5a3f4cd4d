"""Per-sample random streams: counter-based, so that no state is kept and no order matters.

The numbers of a sample depend on its seed and on how many draws came before, never on the
other samples of the batch, the worker, the process or the device.
"""

import math

import torch
from torch import Tensor

from restore.types import InputError

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_LARGEST, _DOUBLE_WORD, _WORD = 2**63 - 1, 2**64 - 1, 2**32 - 1
_AHEAD = 8  # draws whose keys are made at once


def _mix64(x: Tensor) -> Tensor:
    """The finalizer of SplitMix64 (Steele et al. 2014), a bijection of 64-bit integers."""
    x = (x ^ (x >> 30 & 0x3FFFFFFFF)) * (0xBF58476D1CE4E5B9 - 2**64)
    x = (x ^ (x >> 27 & 0x1FFFFFFFFF)) * (0x94D049BB133111EB - 2**64)
    return x ^ (x >> 31 & 0x1FFFFFFFF)


def _mix32_(x: Tensor) -> Tensor:
    """Wellons' lowbias32, a bijection of 32-bit integers, in place: this one runs per pixel."""
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    x *= 0x7FEB352D
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= 0x846CA68B - 2**32
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    return x


def check_seed(seed: int, named: str = "seed=") -> None:
    """Raises InputError for no whole number, or for one of more than 64 bits; `named` stands before
    it there."""
    if not hasattr(seed, "__index__") or not -(2**63) <= seed < 2**64:
        raise InputError(f"{named}{seed} must be a whole number of at most 64 bits")


def fold(seeds: Tensor, *keys: int | Tensor) -> Tensor:
    """New seeds [B] int64 >= 0 from seeds [B] and keys (ints, or tensors [B]), in order.

    Raises InputError for an int of more than 64 bits.
    """
    for key in keys:
        if isinstance(key, int):
            check_seed(key)
        seeds = _mix64(_mix64(seeds + _GOLDEN) + key)
    return seeds & _LARGEST


class Stream:
    """Successive random draws for seeds [B] int64. Equal seeds give equal numbers.

    A draw has shape [B, *shape]; the numbers of sample b depend on seeds[b], on the number of
    earlier draws and on shape alone.
    """

    def __init__(self, seeds: Tensor) -> None:
        self.seeds = seeds
        self.draws = 0
        self._mixed = _mix64(seeds + _GOLDEN)[:, None]  # where `fold` of all draws begins
        self._keys = self._mixed

    def __len__(self) -> int:
        return len(self.seeds)

    def _key(self) -> Tensor:
        """fold(seeds, n) [B, 1] for the n-th draw; several at once, since a small tensor costs as
        much as a smaller one."""
        place = self.draws % _AHEAD
        if place == 0:
            number = torch.arange(1, _AHEAD + 1, device=self.seeds.device) + self.draws
            self._keys = _mix64(self._mixed + number) & _LARGEST
        self.draws += 1
        return self._keys[:, place : place + 1]

    def _bits(self, count: int) -> Tensor:
        """Random 32-bit integers [B, count], as int32."""
        key = self._key()
        counter = torch.arange(count, device=key.device, dtype=torch.int32) * (0x9E3779B1 - 2**32)
        bits = _mix32_(counter + key.to(torch.int32))
        bits += (key >> 32).to(torch.int32)
        return _mix32_(bits)

    def _unit(self, count: int) -> Tensor:
        """Multiples of 2^-24 in [0, 1), float32 [B, count]."""
        return (self._bits(count) >> 8).bitwise_and_(0xFFFFFF).float().mul_(2.0**-24)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Float32 in [low, high) with 24 random bits."""
        unit = self._unit(math.prod(shape))
        return (low + (high - low) * unit).view(len(self), *shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32 by Box and Muller (1958)."""
        count = math.prod(shape)
        half = (count + 1) // 2
        unit = self._unit(2 * half)
        radius = (1 - unit[:, :half]).log_().mul_(-2).sqrt_()
        angle = unit[:, half:] * (2 * math.pi)
        both = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
        return both[:, :count].reshape(len(self), *shape)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Int64 in [low, high)."""
        unit = (self._bits(math.prod(shape)).double() + 2.0**31) * 2.0**-32
        return (low + (unit * (high - low)).long()).view(len(self), *shape)


class SampleStream:
    """The `Stream` of one seed in Python's integers: equal numbers, a tenth of the time.

    Workers draw a few numbers for each photo, where a tensor costs more than what it holds.
    """

    def __init__(self, seed: int, *keys: int) -> None:
        """The stream of fold(seed, *keys)."""
        self.seed = _folded(seed, *keys)
        self.draws = 0

    def _bits(self, count: int) -> list[int]:
        """Random 32-bit words, from 0 on."""
        self.draws += 1
        key = _folded(self.seed, self.draws)
        low, high = key & _WORD, key >> 32
        mixed = (_mixed32((place * 0x9E3779B1 + low) & _WORD) for place in range(count))
        return [_mixed32((word + high) & _WORD) for word in mixed]

    def uniform(self, count: int = 1) -> list[float]:
        """Multiples of 2^-24 in [0, 1)."""
        return [(word >> 8) * 2.0**-24 for word in self._bits(count)]

    def integer(self, low: int, high: int) -> int:
        """In [low, high)."""
        (word,) = self._bits(1)
        signed = word - ((word & 0x80000000) << 1)
        return low + int((signed + 2.0**31) * 2.0**-32 * (high - low))


def _folded(seed: int, *keys: int) -> int:
    for key in keys:
        seed = _mixed64((_mixed64((seed + _GOLDEN) & _DOUBLE_WORD) + key) & _DOUBLE_WORD)
    return seed & _LARGEST


def _mixed64(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _DOUBLE_WORD
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _DOUBLE_WORD
    return x ^ (x >> 31)


def _mixed32(x: int) -> int:
    x = (x ^ (x >> 16)) * 0x7FEB352D & _WORD
    x = (x ^ (x >> 15)) * 0x846CA68B & _WORD
    return x ^ (x >> 16)
