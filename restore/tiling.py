"""Large images through a network in overlapped tiles: bounded memory, no seams.

A tile reads more than it writes. Its outer margin, where the network missed what lies beyond, is
thrown away; then neighbours fade into each other.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from restore.types import Observation

SIDE = 512  # px that a network sees at once
MARGIN = 48  # px of a tile that are thrown away at each inner edge
BLEND = 32  # px in which two neighbours fade into each other
CONTEXT = 64  # px, the least that is shown around a hole of a large image


@dataclass(frozen=True)
class Span:
    """One tile along one axis."""

    start: int  # what it reads
    stop: int
    low: int  # what it writes, the two cross-fades included
    high: int
    fade: int  # where the cross-fade with the tile before it ends; `low` for the first
    cut: int  # the middle of that cross-fade

    def times(self, factor: int) -> "Span":
        """The same tile of an axis that is `factor` times as long."""
        return Span(*(factor * place for place in astuple(self)))


def spans(
    length: int, side: int = SIDE, margin: int = MARGIN, blend: int = BLEND, factor: int = 1
) -> list[Span]:
    """Tiles of about `side` px that cover an axis; starts are multiples of the network's `factor`.

    They are longer than `side` only where the margins leave nothing to write.
    """
    half = blend // 2
    reach = -(-(margin + half) // factor) * factor
    if length <= side:
        return [Span(0, length, 0, length, 0, 0)]
    core = max((side - 2 * reach) // factor, -(-max(2 * half, 1) // factor)) * factor
    step = -(-math.ceil(length / math.ceil(length / core)) // factor) * factor
    cuts = range(0, length, step)
    return [
        Span(
            start=max(cut - reach, 0),
            stop=min(cut + step + reach, length),
            low=max(cut - half, 0) if cut else 0,
            high=min(cut + step + half, length),
            fade=min(cut + half, length) if cut else 0,
            cut=cut,
        )
        for cut in cuts
    ]


def weights(span: Span, device: torch.device | None = None) -> Tensor:
    """The weights of a tile in its cross-fade [low, fade); the tile before has one minus them."""
    place = torch.arange(span.low, span.fade, device=device)
    width = max(2 * (span.cut - span.low), 1)
    return (place - span.low + 0.5) / width


class Tiled(nn.Module):
    """A network as it is, that sees large images tile by tile; images up to `side` px in one go.

    Arguments that are [B, C, H, W] of the size of the first are cut, others are handed on. Of
    several outputs the last is kept. Equal to the whole image, up to rounding, where no output
    pixel depends on inputs farther away than `margin`; an identity comes back bit for bit. needed
    [B, 1, H, W]: tiles that write nothing where it is positive are left out, and are zero.

    shrinks, grows: how many times as large an input or output is as the grid in which side, margin
    and blend are told: an encoder shrinks its image, a decoder grows its latents.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        side: int = SIDE,
        margin: int = MARGIN,
        blend: int = BLEND,
        needed: Tensor | None = None,
        shrinks: int = 1,
        grows: int = 1,
    ) -> None:
        super().__init__()
        self.network = network
        self.side, self.margin, self.blend = side, margin, blend
        # on the CPU, since a network that is recorded on a GPU must ask nothing of it
        self.needed = None if needed is None else needed.cpu()
        self.shrinks, self.grows = shrinks, grows
        self.factor = int(getattr(network, "factor", 1))

    def forward(self, image: Tensor, *others: Any) -> Any:
        height, width = (length // self.shrinks for length in image.shape[-2:])
        if max(height, width) <= self.side:
            return self.network(image, *others)
        rows, columns = self._spans(height), self._spans(width)
        made, several = self._made(rows, columns, (image, *others))
        return (made,) if several else made

    def seen_through(self, turn: Callable[[Tensor], Tensor]) -> "Tiled":
        """The tiles of an image that `turn` has turned."""
        needed = None if self.needed is None else turn(self.needed)
        sizes = self.side, self.margin, self.blend
        return Tiled(self.network, *sizes, needed, self.shrinks, self.grows)

    def _spans(self, length: int) -> list[Span]:
        return spans(length, self.side, self.margin, self.blend, self.factor)

    def _made(
        self, rows: list[Span], columns: list[Span], given: tuple[Any, ...]
    ) -> tuple[Tensor, bool]:
        """The blended output, and whether the network had several."""
        height, width = (length // self.shrinks for length in given[0].shape[-2:])
        whole, several = None, False
        for row in rows:
            strip = None
            for column in columns:
                is_last = row is rows[-1] and column is columns[-1]
                nothing_yet = whole is None and strip is None
                if not self._is_needed(row, column) and not (is_last and nothing_yet):
                    continue
                output = self.network(*self._cut(given, row, column))
                several = isinstance(output, tuple)
                piece = output[-1] if several else output
                if strip is None:
                    strip = piece.new_zeros(*piece.shape[:-1], width * self.grows)
                _place(strip, piece, column.times(self.grows), -1)
            if strip is not None:
                if whole is None:
                    size = height * self.grows, width * self.grows
                    whole = strip.new_zeros(*strip.shape[:-2], *size)
                _place(whole, strip, row.times(self.grows), -2)
        assert whole is not None
        return whole, several

    def _cut(self, given: tuple[Any, ...], row: Span, column: Span) -> Iterator[Any]:
        """A tile of those that have the size of the first; others as they are."""
        down, right, size = row.times(self.shrinks), column.times(self.shrinks), given[0].shape[-2:]
        for one in given:
            tile = slice(down.start, down.stop), slice(right.start, right.stop)
            yield one[..., tile[0], tile[1]] if is_map(one, size) else one

    def _is_needed(self, row: Span, column: Span) -> bool:
        if self.needed is None:
            return True
        return bool((self.needed[..., row.low : row.high, column.low : column.high] > 0).any())


def is_map(given: Any, size: torch.Size) -> bool:
    """Whether it is a tensor [B, C, H, W] of that height and width."""
    return isinstance(given, Tensor) and given.ndim == 4 and given.shape[-2:] == size


def _place(canvas: Tensor, piece: Tensor, span: Span, dim: int) -> None:
    """Writes a tile's part of an axis; equal values are blended to themselves, bit for bit."""
    fading = span.fade - span.low
    if fading:
        old = canvas.narrow(dim, span.low, fading)
        new = piece.narrow(dim, span.low - span.start, fading)
        share = weights(span, piece.device).to(piece.dtype)
        share = share if dim == -1 else share[:, None]
        old.add_(share * (new - old))
    rest = span.high - span.fade
    canvas.narrow(dim, span.fade, rest).copy_(piece.narrow(dim, span.fade - span.start, rest))


def around(hole: Tensor, side: int) -> tuple[slice, slice]:
    """Rows and columns of all that is to fill in hole [B, 1, H, W], some of it, with its context.

    They have `side` px, or more where the hole needs it, or fewer where the image ends.
    """
    rows, columns = (hole.amax((0, 1, dim)) > 0 for dim in (3, 2))
    return _window(rows, side), _window(columns, side)


def _window(filled: Tensor, least: int) -> slice:
    places = filled.nonzero().flatten()
    low, high = int(places[0]), int(places[-1]) + 1
    length = min(max(high - low + 2 * CONTEXT, least), len(filled))
    start = min(max((low + high - length) // 2, 0), len(filled) - length)
    return slice(start, start + length)


def crop(
    observation: Observation, window: tuple[slice, slice], device: torch.device
) -> Observation:
    """The rows and columns `window` of an observation, on the device."""
    cropped: dict[str, Any] = dict(observation)
    for key, value in observation.items():
        if isinstance(value, Tensor):
            seen = value[..., window[0], window[1]] if value.ndim == 4 else value
            cropped[key] = seen.to(device)
    return cast(Observation, cropped)


def in_whole(
    callback: Callable[[Any], None], image: Tensor, num_samples: int, window: tuple[slice, slice]
) -> Callable[[Any], None]:
    """callback, shown the rows and columns `window` that a sampler works on inside of the image."""

    def placed(made: Tensor) -> Tensor:
        whole = image.repeat_interleave(num_samples, 0).expand(-1, made.shape[1], -1, -1).clone()
        whole[..., window[0], window[1]] = made.to(whole)
        return whole

    return lambda step: callback(replace(step, x=placed(step.x), x0=placed(step.x0)))
