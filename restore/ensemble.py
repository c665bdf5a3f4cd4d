"""The geometric self-ensemble: eight views of one image through one network, and their mean."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from restore.tiling import Tiled, is_map

VIEWS = 8  # symmetries of the square: four turns, each as it is and mirrored


class SelfEnsemble(nn.Module):
    """A network whose output is the mean over views of its input, each turned back.

    Timofte et al. 2016 (Seven ways to improve example-based single image super resolution, enhanced
    prediction), Lim et al. 2017 (geometric self-ensemble). Errors that depend on how an image is
    turned average out. It costs a call for each view: those of `seen`, as `views` names them, or
    all eight. Arguments that are [B, C, H, W] of the size of the first are turned with it, others
    are handed on. Of several outputs the last is kept. A `Tiled` network sees the tiles of each
    view: views of tiles would end in other places than the image.
    """

    def __init__(
        self, network: Callable[..., Any], seen: Sequence[tuple[int, bool]] | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.seen = [*views()] if seen is None else [*seen]
        self.factor = int(getattr(network, "factor", 1))

    def forward(self, image: Tensor, *others: Any) -> Any:
        size, several = image.shape[-2:], False
        total: Tensor | None = None
        for turns, mirrored in self.seen:
            turn = partial(turned, turns=turns, mirrored=mirrored)
            network = self.network
            if isinstance(network, Tiled):
                network = network.seen_through(turn)
            made = network(*(turn(one) if is_map(one, size) else one for one in (image, *others)))
            several = isinstance(made, tuple)
            seen = turned_back(made[-1] if several else made, turns, mirrored).float()
            total = seen if total is None else total + seen
        assert total is not None
        mean = total / len(self.seen)
        return (mean,) if several else mean


def views() -> Iterator[tuple[int, bool]]:
    """Quarter turns, and whether the image is mirrored before them."""
    yield from ((turns, mirrored) for turns in range(4) for mirrored in (False, True))


def turned(image: Tensor, turns: int, mirrored: bool) -> Tensor:
    """[B, C, H, W], mirrored where asked and then turned by so many quarters."""
    return torch.rot90(image.flip(-1) if mirrored else image, turns, (-2, -1))


def turned_back(made: Tensor, turns: int, mirrored: bool) -> Tensor:
    """The inverse of `turned`."""
    back = torch.rot90(made, -turns, (-2, -1))
    return back.flip(-1) if mirrored else back
